//! Orders taken away because of news that turns the price against them.
//!
//! Invariant: they are sent minutes before the news and taken away after it.

use crate::script::{Cast, Desk, MILLI, MINUTE, SECOND, When};

pub(crate) const CAST: Cast = Cast::Active;
pub(crate) const WHEN: When = When::BeforeNews(4 * MINUTE);

pub(crate) async fn play(desk: Desk) {
    let Some((news, gains)) = desk.news() else {
        return;
    };
    let (from, side) = (desk.now(), gains.opposite());
    let (levels, lots) = (desk.between(3, 6), desk.between(150, 500));
    let orders = desk.ladder(side, levels, lots, 4);
    desk.until(news).await;
    desk.wait(desk.between(5 * MILLI, 80 * MILLI)).await;
    desk.cancel(&orders);
    desk.settled(&orders, SECOND).await;
    let (all, filled) = (levels * lots, desk.filled(&orders));
    let how = format!("side={side} levels={levels} lots={all} filled={filled}");
    desk.label(filled * 2 < all, from, &orders, &how);
}
