//! Queries and what becomes of them.

use proptest::prelude::*;

use super::*;
use crate::kdb::value::Atom;

/// The SQL with short names for the tables.
fn sql(query: &str) -> String {
    let select = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let source = |table| source::Source::find(table).unwrap().sql;
    let sql = select.sql.replace(source("order"), "ORDER");
    sql.replace(source("orderAlerts"), "ALERTS")
}

/// What is shown and from where, of a query with few columns.
fn check(query: &str, expected: &str) {
    assert_eq!(sql(query), expected, "{query}");
}

#[test]
fn phrases_become_sql() {
    check(
        "select sym,price from order where sym=`SNDL",
        r#"SELECT t."sym" AS "sym", t."price" AS "price" FROM ORDER AS t WHERE (t."sym" = 'SNDL') ORDER BY t._seq"#,
    );
    check(
        "select n:count i,last price,quantity wavg price by sym from order where sym in `A`B, side=`S",
        r#"SELECT t."sym" AS "sym", count(*) AS "n", last_value(t."price" ORDER BY t._seq) AS "price", (sum(t."quantity" * t."price") / sum(t."quantity")) AS "price1" FROM ORDER AS t WHERE (t."sym" IN ('A', 'B')) AND (t."side" = 'S') GROUP BY t."sym" ORDER BY t."sym""#,
    );
    check(
        "exec max price from order where date=2015.04.17, time within 2015.04.17D12:00 2015.04.17D13:00",
        r#"SELECT max(t."price") AS "price" FROM ORDER AS t WHERE (t."date" = DATE '2015-04-17') AND (t."time" BETWEEN arrow_cast('2015-04-17T12:00:00.000000000Z', 'Timestamp(Nanosecond, Some("UTC"))') AND arrow_cast('2015-04-17T13:00:00.000000000Z', 'Timestamp(Nanosecond, Some("UTC"))'))"#,
    );
    check(
        "exec distinct sym from order",
        r#"SELECT t."sym" AS "sym" FROM ORDER AS t GROUP BY t."sym" ORDER BY min(t._seq)"#,
    );
    check(
        "select[-2] sym from order where i<10",
        r#"SELECT "sym" FROM (SELECT t."sym" AS "sym", t._seq AS _0 FROM (SELECT * FROM ORDER AS r ORDER BY _seq LIMIT 10) AS t ORDER BY t._seq DESC LIMIT 2) AS t ORDER BY _0"#,
    );
    check(
        "select[3;>price] sym from order where trader like \"Sp*_\", not side=`B",
        r#"SELECT t."sym" AS "sym" FROM ORDER AS t WHERE (t."trader" LIKE 'Sp%\_' ESCAPE '\') AND (NOT (t."side" = 'B')) ORDER BY t."price" DESC, t._seq LIMIT 3"#,
    );
    check(
        "select sum quantity by 0D00:00:05 xbar time from order where (price>1)&quantity<2e3",
        r#"SELECT date_bin(INTERVAL '5000000000 nanoseconds', t."time", arrow_cast('2000-01-01T00:00:00.000000000Z', 'Timestamp(Nanosecond, Some("UTC"))')) AS "time", COALESCE(sum(t."quantity"), 0) AS "quantity" FROM ORDER AS t WHERE ((t."price" > 1) AND (t."quantity" < CAST('2e3' AS DOUBLE))) GROUP BY date_bin(INTERVAL '5000000000 nanoseconds', t."time", arrow_cast('2000-01-01T00:00:00.000000000Z', 'Timestamp(Nanosecond, Some("UTC"))')) ORDER BY date_bin(INTERVAL '5000000000 nanoseconds', t."time", arrow_cast('2000-01-01T00:00:00.000000000Z', 'Timestamp(Nanosecond, Some("UTC"))'))"#,
    );
    check(
        "select sym from order where i within 2 3",
        r#"SELECT t."sym" AS "sym" FROM (SELECT *, CAST(row_number() OVER (ORDER BY _seq) AS BIGINT) - 1 AS i FROM ORDER AS s) AS t WHERE (t."i" BETWEEN 2 AND 3) ORDER BY t._seq"#,
    );
    check(
        "count select sym from orderAlerts where totalCancelCount>3",
        r#"SELECT count(*) AS x FROM (SELECT t."sym" AS "sym" FROM ALERTS AS t WHERE (t."totalCancelCount" > 3) ORDER BY t._seq) AS t"#,
    );
}

#[test]
fn whole_tables_and_their_parts() {
    let all = parse("order").unwrap();
    assert_eq!(
        (all.columns.len(), all.keys, all.shape),
        (8, 0, Shape::Table)
    );
    for query in [
        "select from order",
        "select from `order",
        "`order".trim_matches('`'),
    ] {
        assert_eq!(parse(query).unwrap(), all, "{query}");
    }
    for query in [
        "5#order",
        "5 sublist order",
        "select[5] from order",
        "5#select from order",
    ] {
        assert_eq!(
            parse(query).unwrap().sql,
            format!("{} LIMIT 5", all.sql),
            "{query}"
        );
    }
    assert_eq!(
        parse("-5#order").unwrap(),
        parse("-5 sublist order").unwrap()
    );
    let numbered = parse("update alertID:1+til count i from orderAlerts").unwrap();
    assert_eq!(numbered.columns.len(), 15);
    assert_eq!(
        numbered.columns[14],
        ("alertID".to_owned(), ColumnKind::Long)
    );
    let last = parse("select by sym from order").unwrap();
    assert_eq!((last.columns.len(), last.keys), (8, 1));
    assert_eq!(last.columns[0].0, "sym");
    assert_eq!(parse("0!select by sym from order").unwrap().keys, 0);
    let names = |query| {
        let columns = parse(query).unwrap().columns;
        columns
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("select count i,sum side=`S,max price,max price,count distinct trader from order"),
        ["x", "side", "price", "price1", "trader"]
    );
    assert_eq!(
        names("select count sym,sum side=`S by sym,side from order"),
        ["sym", "side", "sym1", "side1"]
    );
}

#[test]
fn what_is_beyond_is_named() {
    for (query, error) in [
        ("system \"ls\"", "not a query"),
        ("{x+y}[1;2]", "not a query"),
        ("foo", "not a query"),
        ("delete from order", "not a query"),
        ("select from nothing", "no table \"nothing\""),
        (
            "select from order where foo=1",
            "no column or function \"foo\"",
        ),
        (
            "select from order where sym",
            "where with other than comparisons of columns and values",
        ),
        ("select from order where sym=1", "Symbol = Long"),
        (
            "select from order where sym=`a`b",
            "a list stands behind `in` or `within` only",
        ),
        (
            "select from order where trader=\"a\"",
            "= of texts, which q compares character by character: use `like`",
        ),
        (
            "select from order where sym=`A & price>1",
            "q reads from the right: set comparisons beside `and` or `or` in brackets, or part them by commas",
        ),
        (
            "select price by sym from order",
            "columns of lists: beside `by`, show count, last, sum and the like",
        ),
        (
            "select sym,max price from order",
            "aggregates beside columns without `by`",
        ),
        (
            "select from order where price=max price",
            "where with other than comparisons of columns and values",
        ),
        (
            "select from (select from order)",
            "from other than a table's name",
        ),
        (
            "select from order lj foo",
            "lj at character 19, wanted the end",
        ),
        (
            "select from order where date=2015.02.30",
            "2015.02.30 at character 30",
        ),
        (
            "select sum max price from order",
            "sum of what is one value already",
        ),
        (
            "select sum distinct price from order",
            "sum of distinct values",
        ),
        (
            "select from order where price<",
            "the query ends where a column or a value was wanted",
        ),
        (
            "update price:0 from order",
            "update other than of the rows' numbers",
        ),
        ("5#5#order", "a part of a part"),
        (
            "select from order where sym like \"[AB]\"",
            "like with [ or \\",
        ),
    ] {
        let found = parse(query).unwrap_err().to_string();
        assert!(found.starts_with(error), "{query}: {found}");
    }
    let deep = format!("select from order where {}1", "(".repeat(5_000));
    assert!(parse(&deep).is_err());
    assert!(parse(&"5#".repeat(8_000)).is_err());
    assert!(
        parse(&format!(
            "select from order where {}1b",
            "not ".repeat(4_000)
        ))
        .is_err()
    );
}

#[test]
fn texts_cannot_leave_their_quotes() {
    let text = sql(r#"select sym from order where trader like "a'); DROP TABLE orders --""#);
    assert!(
        text.contains(r"'a''); DROP TABLE orders --' ESCAPE"),
        "{text}"
    );
    assert!(parse("select sym from order where sym=`a'b").is_err());
    assert!(parse("select \"a\":1 from order").is_err());
}

#[test]
fn answers_have_the_shape_of_the_query() {
    let symbols = |texts: &[&str]| Items::Symbol(texts.iter().collect());
    let answer = |query: &str, columns| parse(query).unwrap().answer(columns).unwrap();
    let longs = || Items::Long(vec![3, 4]);
    assert_eq!(
        answer("exec sym from order", vec![symbols(&["a", "b"])]),
        Value::List(symbols(&["a", "b"]).into())
    );
    assert_eq!(
        answer("exec count i from order", vec![Items::Long(vec![7])]),
        Value::Atom(Atom::Long(7))
    );
    assert_eq!(
        answer("count select from order", vec![Items::Long(vec![7])]),
        Value::Atom(Atom::Long(7))
    );
    let keyed = answer(
        "select count i by sym from order",
        vec![symbols(&["a", "b"]), longs()],
    );
    let Value::Dict(keyed) = keyed else {
        panic!("{keyed:?}")
    };
    assert!(matches!(
        (keyed.keys(), keyed.values()),
        (Value::Table(_), Value::Table(_))
    ));
    let by = answer(
        "exec count i by sym from order",
        vec![symbols(&["a", "b"]), longs()],
    );
    let Value::Dict(by) = by else {
        panic!("{by:?}")
    };
    assert_eq!(by.values(), &Value::List(longs().into()));
    let row = answer(
        "exec n:count i,m:max price from order",
        vec![Items::Long(vec![1]), Items::Float(vec![2.0])],
    );
    let Value::Dict(row) = row else {
        panic!("{row:?}")
    };
    assert_eq!(
        row.values(),
        &Value::mixed(vec![
            Value::Atom(Atom::Long(1)),
            Value::Atom(Atom::Float(2.0))
        ])
    );
    let lists = answer(
        "exec sym,price from order",
        vec![symbols(&["a"]), Items::Float(vec![1.0])],
    );
    assert_eq!(lists.count(), 2);
    let wrong = parse("order").unwrap().answer(vec![longs()]);
    assert!(wrong.is_err());
}

proptest! {
    #[test]
    fn any_text_is_a_query_or_refused(text in ".{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_words_are_a_query_or_refused(words in prop::collection::vec(
        prop::sample::select(vec![
            "select", "exec", "from", "order", "where", "by", "sym", "price", "i", "time", "date",
            "count", "last", "sum", "distinct", "not", "in", "within", "like", "xbar", "wavg", "`a",
            "`a`b", "\"x*\"", "1", "-2", "3.5", "2015.04.17", "0D00:05", "2015.04.17D12:00", "=", "<",
            ",", "(", ")", "[", "]", ";", ":", "+", "-", "%", "#", "!", "update", "enlist", "1b",
        ]), 0..14))
    {
        let text = words.join(" ");
        if let Ok(select) = parse(&text) {
            // Every bracket that is opened in the SQL is closed.
            let plain = select.sql.split('\'').step_by(2).collect::<String>();
            prop_assert_eq!(plain.matches('(').count(), plain.matches(')').count(), "{}", text);
        }
    }
}
