//! Sums and the arithmetic of whole numbers are exact, or an error.

use crate::common::lines;
use crate::{event, failure, store_of};
use tapewatch_model::{EventType, Side};

/// A table of one column `v` of type BIGINT, beside `g`, which is `a` or `b` by turns.
fn table(values: &[&str]) -> String {
    let row = |(at, value)| format!("('{}', {value})", ["a", "b"][at % 2]);
    let rows: Vec<String> = values.iter().enumerate().map(row).collect();
    let rows = rows.join(", ");
    format!("(SELECT g, arrow_cast(v, 'Int64') AS v FROM (VALUES {rows}) AS t(g, v))")
}

const MOST: &str = "9223372036854775807";

#[tokio::test]
async fn a_sum_beyond_its_type_is_an_error_wherever_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &[]).await;
    let beyond = table(&[MOST, "0", "1", "0"]);
    let twice = table(&[MOST, "0", MOST, "0"]);
    let wide =
        format!("(SELECT g, CAST(v AS DECIMAL(38, 0)) * 9000000000000000000 AS v FROM {twice})");
    for sql in [
        format!("SELECT sum(v) FROM {beyond}"),
        format!("SELECT g, sum(v) FROM {beyond} GROUP BY g"),
        format!("SELECT sum(DISTINCT v) FROM {beyond}"),
        format!("SELECT sum(v) OVER () FROM {beyond}"),
        format!(
            "SELECT sum(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {beyond}"
        ),
        format!(
            "SELECT sum(arrow_cast(v, 'UInt64')) FROM {}",
            table(&[MOST, MOST, "2"])
        ),
        format!("SELECT sum(v) FROM {}", wide),
        format!("SELECT g, sum(v) FROM {wide} GROUP BY g"),
    ] {
        let message = failure(&store, &sql).await;
        assert!(message.contains("overflow"), "{sql}: {message}");
    }
    let message = failure(&store, &format!("SELECT sum(v) FROM {beyond}")).await;
    assert!(
        message.contains("a sum is beyond Int64; write sum(CAST("),
        "{message}"
    );
    let cast = format!("SELECT sum(CAST(v AS DECIMAL(38, 0))) FROM {beyond}");
    assert_eq!(
        lines(&store, &cast).await.lines().nth(1),
        Some("9223372036854775808")
    );
}

#[tokio::test]
async fn sums_are_what_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let orders: Vec<_> = (1..=6)
        .map(|seq| {
            event(
                seq,
                seq as i64,
                EventType::New,
                Side::Buy,
                "A",
                10,
                seq as i64,
            )
        })
        .collect();
    let store = store_of(dir.path(), &orders).await;
    let some = table(&["5", "-7", "5", "NULL"]);
    let none = table(&["NULL"]);
    for (sql, wanted) in [
        (format!("SELECT sum(v) FROM {some}"), "3"),
        (format!("SELECT sum(DISTINCT v) FROM {some}"), "-2"),
        (format!("SELECT coalesce(sum(v), 99) FROM {none}"), "99"),
        (
            format!("SELECT coalesce(sum(v), 99) FROM {none} GROUP BY g"),
            "99",
        ),
        (
            format!("SELECT g, sum(v) FROM {some} GROUP BY g ORDER BY g"),
            "a,10 b,-7",
        ),
        (
            format!("SELECT g, sum(v) FILTER (WHERE v > 0) FROM {some} GROUP BY g ORDER BY g"),
            "a,10 b,",
        ),
        (
            format!(
                "SELECT sum(v) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM {some} WHERE v IS NOT NULL ORDER BY s"
            ),
            "-7 -2 10",
        ),
        (format!("SELECT sum(v * 0.5) FROM {some}"), "1.5"),
        (format!("SELECT sum(CAST(v AS DOUBLE)) FROM {some}"), "3.0"),
        (
            "SELECT sum(quantity), sum(price * quantity) FROM orders".to_owned(),
            "21,210",
        ),
        (
            "SELECT sym, side, sum(quantity) FROM orders GROUP BY side, sym".to_owned(),
            "ABC,B,21",
        ),
    ] {
        let found = lines(&store, &sql).await;
        let found: Vec<&str> = found.lines().skip(1).collect();
        assert_eq!(found.join(" "), wanted, "{sql}");
    }
}

#[tokio::test]
async fn whole_numbers_do_not_begin_again_at_the_other_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of(dir.path(), &[]).await;
    let most = table(&[MOST]);
    for sql in [
        format!("SELECT v + 1 FROM {most}"),
        format!("SELECT -2 - v FROM {most}"),
        format!("SELECT v * v FROM {most}"),
        format!("SELECT g FROM {most} WHERE v * 2 < 0"),
        format!("SELECT sum(v + 1) FROM {most} GROUP BY g"),
        format!("SELECT g FROM {most} ORDER BY 2 + v"),
        format!("SELECT {MOST} + 1"),
        "SELECT arrow_cast(2147483647, 'Int32') * arrow_cast(2, 'Int32')".to_owned(),
    ] {
        let message = failure(&store, &sql).await;
        assert!(message.contains("overflow"), "{sql}: {message}");
    }
    let message = failure(&store, &format!("SELECT v + 1 FROM {most}")).await;
    assert!(
        message.contains("a result of + is beyond Int64")
            && message.contains("CAST one side AS DECIMAL(38, 0)"),
        "{message}"
    );
    for (sql, wanted) in [
        (format!("SELECT v - 1 FROM {most}"), "9223372036854775806"),
        (
            format!("SELECT CAST(v AS DECIMAL(38, 0)) + 1 FROM {most}"),
            "9223372036854775808",
        ),
        (format!("SELECT v + NULL IS NULL FROM {most}"), "true"),
        ("SELECT 1 + 2 * 3 - 4".to_owned(), "3"),
        ("SELECT 1 + 0.5".to_owned(), "1.5"),
        (
            format!("SELECT g, v % 2 + count(*) FROM {most} GROUP BY g, v % 2"),
            "a,2",
        ),
    ] {
        let found = lines(&store, &sql).await;
        let found: Vec<&str> = found.lines().skip(1).collect();
        assert_eq!(found.join(" "), wanted, "{sql}");
    }
    // The column keeps its name.
    let named = lines(&store, &format!("SELECT v + 0 FROM {most} AS t")).await;
    assert!(named.starts_with("t.v + Int64(0)"), "{named}");
}
