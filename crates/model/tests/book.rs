//! The book against a list of orders in the order of their arrival, from which every answer is read
//! anew, over random changes as a feed of single orders makes them.
#![allow(clippy::unwrap_used)]

use std::cmp::Reverse;

use proptest::prelude::*;
use tapewatch_model::{
    AddError, Ahead, Book, BookLevel, BookOrder, Decimal, OrderKey, Price, Priority, Quantity, Side,
};

const ORDERS_MAX: u32 = 12;

/// Orders by the time at which they joined their queue.
#[derive(Default)]
struct Naive(Vec<BookOrder<u8>>);

impl Naive {
    fn add(&mut self, order: BookOrder<u8>) -> Result<(), AddError> {
        let key = order.key;
        if order.quantity == Quantity::ZERO {
            return Err(AddError::NoQuantity(key));
        }
        if self.0.iter().any(|other| other.key == key) {
            return Err(AddError::Duplicate(key));
        }
        if self.0.len() == ORDERS_MAX as usize {
            let orders_max = ORDERS_MAX;
            return Err(AddError::Full { key, orders_max });
        }
        self.0.push(order);
        Ok(())
    }

    fn remove(&mut self, key: OrderKey) -> Option<BookOrder<u8>> {
        let at = self.0.iter().position(|order| order.key == key)?;
        Some(self.0.remove(at))
    }

    fn modify(&mut self, key: OrderKey, price: Price, quantity: Quantity) -> Option<Priority> {
        let order = self.0.iter_mut().find(|order| order.key == key)?;
        if order.price == price && quantity <= order.quantity {
            order.quantity = quantity;
            self.0.retain(|order| order.quantity > Quantity::ZERO);
            return Some(Priority::Kept);
        }
        let before = self.remove(key)?;
        if quantity > Quantity::ZERO {
            self.0.push(BookOrder {
                price,
                quantity,
                ..before
            });
        }
        Some(Priority::Lost)
    }

    fn orders(&self, side: Side) -> Vec<BookOrder<u8>> {
        let mut orders: Vec<_> = self.0.iter().copied().filter(|o| o.side == side).collect();
        match side {
            Side::Buy => orders.sort_by_key(|order| Reverse(order.price)),
            Side::Sell => orders.sort_by_key(|order| order.price),
        }
        orders
    }

    fn levels(&self, side: Side) -> Vec<BookLevel> {
        let orders = self.orders(side);
        let same_price = orders.chunk_by(|a, b| a.price == b.price);
        let level = |orders: &[BookOrder<u8>]| BookLevel {
            price: orders.first().unwrap().price,
            quantity: sum(orders),
            orders: orders.len() as u32,
        };
        same_price.map(level).collect()
    }

    fn ahead(&self, key: OrderKey) -> Option<Ahead> {
        let order = self.0.iter().find(|order| order.key == key)?;
        let orders = self.orders(order.side);
        let before: Vec<_> = orders
            .into_iter()
            .filter(|other| other.price == order.price)
            .take_while(|other| other.key != key)
            .collect();
        Some(Ahead {
            orders: before.len() as u32,
            quantity: sum(&before),
        })
    }
}

fn sum(orders: &[BookOrder<u8>]) -> Decimal {
    let units = orders.iter().map(|o| i128::from(o.quantity.units())).sum();
    Decimal::from_quantity_units(units)
}

#[derive(Debug, Clone)]
enum Step {
    Add(BookOrder<u8>),
    Modify(OrderKey, Price, Quantity),
    Reduce(OrderKey, Quantity),
    Requeue(OrderKey, Quantity),
    Fill(Side, Quantity),
    Remove(OrderKey),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || (0_u64..16).prop_map(OrderKey);
    let price = || (-3_i64..4).prop_map(|ticks| Price::from_units(ticks * 10_000_000));
    let quantity = || (0_i64..6).prop_map(|pieces| Quantity::from_whole(pieces).unwrap());
    let side = || any::<bool>().prop_map(|buy| if buy { Side::Buy } else { Side::Sell });
    let order = (key(), side(), price(), quantity(), any::<u8>()).prop_map(
        |(key, side, price, quantity, extra)| BookOrder {
            key,
            side,
            price,
            quantity,
            extra,
        },
    );
    let step = prop_oneof![
        12 => order.prop_map(Step::Add),
        4 => (key(), price(), quantity()).prop_map(|(k, p, q)| Step::Modify(k, p, q)),
        4 => (key(), quantity()).prop_map(|(k, q)| Step::Reduce(k, q)),
        2 => (key(), quantity()).prop_map(|(k, q)| Step::Requeue(k, q)),
        4 => (side(), quantity()).prop_map(|(s, q)| Step::Fill(s, q)),
        4 => key().prop_map(Step::Remove),
        1 => Just(Step::Clear),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Does the step to both; their answers are the same.
fn step(book: &mut Book<u8>, naive: &mut Naive, step: Step) {
    match step {
        Step::Add(order) => assert_eq!(book.add(order), naive.add(order)),
        Step::Modify(key, price, quantity) => assert_eq!(
            book.modify(key, price, quantity),
            naive.modify(key, price, quantity)
        ),
        Step::Reduce(key, by) => {
            if let Some(order) = book.get_mut(key) {
                let before = order.order();
                order.reduce(by);
                let left = before.quantity.saturating_sub(by);
                naive.modify(key, before.price, left);
            }
        }
        Step::Requeue(key, quantity) => {
            if let Some(order) = book.get_mut(key) {
                order.requeue(quantity);
                let mut order = naive.remove(key).unwrap();
                order.quantity = quantity;
                let _ = naive.add(order);
            }
        }
        Step::Fill(side, by) => {
            let first = book.first_mut(side);
            assert_eq!(
                first.as_ref().map(|order| order.order()),
                naive.orders(side).first().copied()
            );
            if let Some(mut first) = first {
                let order = first.order();
                *first.extra_mut() = 7;
                first.reduce(by);
                let same = |other: &&mut BookOrder<u8>| other.key == order.key;
                naive.0.iter_mut().find(same).unwrap().extra = 7;
                let left = order.quantity.saturating_sub(by);
                naive.modify(order.key, order.price, left);
            }
        }
        Step::Remove(key) => assert_eq!(book.remove(key), naive.remove(key)),
        Step::Clear => {
            book.clear();
            naive.0.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_book_is_the_list(steps in steps()) {
        let mut book = Book::with_limit(ORDERS_MAX);
        let mut naive = Naive::default();
        for one in steps {
            step(&mut book, &mut naive, one);
            for side in [Side::Buy, Side::Sell] {
                let orders = naive.orders(side);
                prop_assert_eq!(book.orders(side).collect::<Vec<_>>(), orders.clone());
                let levels = naive.levels(side);
                prop_assert_eq!(book.levels(side).collect::<Vec<_>>(), levels.clone());
                prop_assert_eq!(book.best(side), levels.first().copied());
                for level in levels {
                    prop_assert_eq!(book.level(side, level.price), Some(level));
                    let at: Vec<_> = orders.iter().copied().filter(|o| o.price == level.price).collect();
                    prop_assert_eq!(book.orders_at(side, level.price).collect::<Vec<_>>(), at);
                }
            }
            for key in (0..16).map(OrderKey) {
                prop_assert_eq!(book.ahead(key), naive.ahead(key));
                let there = naive.0.iter().copied().find(|order| order.key == key);
                prop_assert_eq!(book.get(key), there);
            }
            prop_assert_eq!(book.len(), naive.0.len());
            let best = |side| naive.levels(side).first().map(|level| level.price);
            let crossed = best(Side::Buy).zip(best(Side::Sell)).is_some_and(|(bid, ask)| bid >= ask);
            prop_assert_eq!(book.is_crossed(), crossed);
        }
    }
}

/// Totals of a level are exact whatever the orders.
#[test]
fn a_level_holds_any_quantities() {
    let mut book = Book::with_limit(3);
    for key in 0..3 {
        book.add(BookOrder {
            key: OrderKey(key),
            side: Side::Sell,
            price: Price::from_units(i64::MIN),
            quantity: Quantity::from_units(i64::MAX).unwrap(),
            extra: (),
        })
        .unwrap();
    }
    let total = Decimal::from_quantity_units(3 * i128::from(i64::MAX));
    assert_eq!(book.best(Side::Sell).unwrap().quantity, total);
    let error = book.add(BookOrder {
        key: OrderKey(9),
        ..book.get(OrderKey(0)).unwrap()
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "order 9 is one more than the 3 that the book may hold"
    );
}
