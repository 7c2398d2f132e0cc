//! Statements whose answers must be the same wherever they run: those of the documentation, and what
//! else the language has.

use super::root;

/// What is asked of any tables. Where the order of rows is not said it is not compared.
const STATEMENTS: [&str; 65] = [
    "select count(*) as n, sum(quantity) as q, min(price) as lo, max(price) as hi from orders",
    "select sym, sum(quantity) as q from orders group by sym",
    "select event_type, count(*) as n from orders group by event_type",
    "select sym, event_type, count(*) as n, sum(price * quantity) as value from orders group by sym, event_type",
    "select sum(price * quantity) / sum(quantity) as vwap, sym from orders where event_type = 'filled' group by sym",
    "select trader, count(*) as hits from hits group by trader order by hits desc, trader limit 20",
    "select seq, time, trader, price, quantity from orders where sym = 'SYM1' order by seq desc limit 100",
    "select count(*) as n from orders where trader = 'Trader1' and event_type = 'cancelled'",
    "select * from orders where sym = 'SYM0' and trader = 'Trader1' order by seq",
    "select * from orders order by seq limit 50 offset 17",
    "select * from hits order by seq, hit_id",
    "select * from alerts order by seq, alert_id",
    "select * from traders",
    "select sym, count(*) as executions, sum(quantity) as quantity from executions group by sym order by sym",
    "select seq, line, reason, raw from dead_letters order by seq",
    "select * from \"order\" limit 200",
    "select * from orderAlerts",
    "select date, count(*) as n, sum(quantity) as q from orders group by date order by date",
    "select date_bin(interval '1 minute', time) as bar, count(*) as n from orders group by bar order by bar",
    "select date_trunc('hour', time) as hour, sym, max(price) - min(price) as range from orders group by 1, 2 order by 1, 2",
    "select extract(minute from time) as minute, count(*) as n from orders group by 1 order by 1",
    "select count(distinct trader) as traders, count(distinct order_id) as orders from orders",
    "select sym, count(*) filter (where side = 'B') as buys, count(*) filter (where side = 'S') as sells from orders group by sym",
    "select sym, approx_distinct(trader) > 0 as some from orders group by sym order by sym",
    "select sym, avg(price) as mean, stddev(cast(price as double)) > 0 as moves from orders group by sym order by sym",
    "select sym, array_length(array_agg(seq order by seq)) as n from orders group by sym order by sym",
    "select trader, string_agg(distinct sym, ' ' order by sym) as syms from orders group by trader order by trader",
    "select sym, min_by, max_by from (select sym, first_value(price order by seq) as min_by, last_value(price order by seq) as max_by from orders group by sym) order by sym",
    "select sym, trader, count(*) as n, grouping(trader) as g from orders group by rollup(sym, trader) order by sym, trader, n",
    "select sym, count(*) as n from orders group by sym having count(*) > 10 order by n desc, sym",
    "select median(price) as m from orders",
    "select distinct sym, side from orders order by sym, side",
    "select o.seq, o.order_id, h.seq as hit from orders o left join hits h on h.seq = o.seq order by o.seq",
    "select o.seq, h.hit_id from orders o right join hits h on h.seq = o.seq order by o.seq, h.hit_id",
    "select a.sym, count(*) as n from orders a join orders b on a.order_id = b.order_id and a.seq < b.seq group by a.sym order by a.sym",
    "select o.seq from orders o full join dead_letters d on o.seq = d.seq order by o.seq nulls last limit 100",
    "select count(*) as n from orders where order_id in (select order_id from hits)",
    "select count(*) as n from orders where order_id not in (select order_id from hits)",
    "select count(*) as n from orders o where exists (select 1 from hits h where h.seq = o.seq)",
    "select count(*) as n from orders o where not exists (select 1 from hits h where h.trader = o.trader)",
    "select seq from orders where price = (select max(price) from orders) order by seq",
    "select seq, (select count(*) from hits) as hits from orders order by seq limit 5",
    "select h.hit_id, count(o.seq) as before from hits h left join orders o on o.sym = h.sym and o.seq <= h.seq and o.seq > h.seq - 20 group by h.hit_id order by h.hit_id",
    "select d.seq, count(*) as n from dead_letters d left join hits h on h.seq > d.seq + 100 group by d.seq order by d.seq",
    "select a.s, b.s as t from (select distinct sym as s from orders) a cross join (select distinct side as s from orders) b order by 1, 2",
    "select seq, sum(quantity) over (partition by sym order by seq) as so_far from orders order by seq limit 300",
    "select seq, row_number() over (order by seq desc) as back, lag(price) over (partition by sym order by seq) as last from orders order by seq limit 300",
    "select sym, seq, rank from (select sym, seq, rank() over (partition by sym order by quantity desc, seq) as rank from orders) where rank <= 3 order by sym, rank",
    "select sym, avg(quantity) over (partition by sym order by seq rows between 5 preceding and current row) as mean, seq from orders order by seq limit 200",
    "select sym from orders union select trader from hits order by sym",
    "select sym, side from orders intersect select sym, side from hits order by sym, side",
    "select trader from orders except select trader from hits order by trader",
    "select count(*) as n from (select seq from orders union all select seq from hits union all select seq from dead_letters)",
    "with big as (select * from orders where quantity > 1000), few as (select sym, count(*) as n from big group by sym) select * from few order by sym",
    "with recursive r as (select 1 as n union all select n + 1 from r where n < 5) select n, (select count(*) from orders where sym = 'SYM1') as orders from r order by n",
    "select o.* from orders o join (select unnest(evidence) as seq from alerts) e on o.seq = e.seq order by o.seq, o.order_id limit 500",
    "select seq, measure(measures, 'cancel_count') as cancels, threshold(measures, 'cancel_count') as allowed, severity(measures) as s, kdb_timespan(lookback_ns) as l from hits order by seq, hit_id",
    "select case when quantity > 1000 then 'large' else 'small' end as size, count(*) as n from orders group by 1 order by 1",
    "select upper(trader) as t, length(order_id) as l, price::double / 3 as third from orders where order_id like '%1' order by seq limit 50",
    "select regexp_replace(sym, 'SYM', 'S') as s, count(*) as n from orders where time >= '2024-01-05T00:00:00' and date < '2030-01-01' group by 1 order by 1",
    "select * from (values (1, 'SYM1'), (2, 'SYM0')) v(n, s) join (select sym, count(*) as c from orders group by sym) o on o.sym = v.s order by n",
    "select count(*) as n, count(account) as known from orders_as_of(1)",
    "select sym, count(*) as n from hits_as_of(1) group by sym order by sym",
    "select 1 as one",
    "select table_name from information_schema.tables order by table_name",
];

/// All of them; of the documentation those of its pages that CI runs.
pub(crate) fn statements() -> Vec<String> {
    let mut all: Vec<String> = STATEMENTS.iter().map(ToString::to_string).collect();
    let page = std::fs::read_to_string(root().join("docs/use/sql.md")).unwrap();
    for line in page
        .lines()
        .filter(|line| line.starts_with("tapewatch sql "))
    {
        for quote in ['"', '\''] {
            let mut parts = line.splitn(3, quote);
            let inside = parts.nth(1).filter(|text| text.contains(' '));
            let fails = line.contains("test $?");
            if let Some(text) = inside.filter(|_| !fails && !line.contains("--data")) {
                all.push(text.to_owned());
                break;
            }
        }
    }
    all
}
