//! What the tests share: a market written from the rules alone, and random commands.
#![allow(dead_code, clippy::indexing_slicing, clippy::unwrap_used)]

pub(crate) mod naive;
pub(crate) mod story;

use proptest::prelude::*;
use tapewatch_exchange::{
    Amend, Command, NewOrder, OrderType, Phase, Rules, SelfMatch, TimeInForce,
};
use tapewatch_model::{OrderKey, Price, Quantity, Side};

/// In ticks of a cent.
pub(crate) fn price(ticks: i64) -> Price {
    Price::from_units(ticks * 10_000_000)
}

/// In pieces.
pub(crate) fn pieces(count: i64) -> Quantity {
    Quantity::from_whole(count).unwrap()
}

/// Ticks of a cent, lots of one.
pub(crate) fn rules(reference: Option<i64>, orders_max: u32) -> Rules {
    Rules::new(price(1), pieces(1), reference.map(price), orders_max).unwrap()
}

/// What is done to a market.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Submit(Command),
    Begin(Phase),
}

fn key() -> impl Strategy<Value = OrderKey> {
    (0_u64..30).prop_map(OrderKey)
}

/// Seldom off the tick.
fn any_price() -> impl Strategy<Value = Price> {
    prop_oneof![
        60 => (-4_i64..6).prop_map(price),
        1 => Just(Price::from_units(1)),
    ]
}

/// Seldom nothing or off the lot.
fn any_quantity() -> impl Strategy<Value = Quantity> {
    prop_oneof![
        60 => (1_i64..20).prop_map(pieces),
        1 => (190_i64..210).prop_map(pieces),
        1 => Just(Quantity::ZERO),
        1 => Just(Quantity::from_units(3).unwrap()),
    ]
}

fn new_order() -> impl Strategy<Value = NewOrder> {
    let side = any::<bool>().prop_map(|buy| if buy { Side::Buy } else { Side::Sell });
    let order_type = prop_oneof![
        6 => any_price().prop_map(OrderType::Limit),
        2 => Just(OrderType::Market),
    ];
    let time_in_force = prop_oneof![
        6 => Just(TimeInForce::Day),
        1 => Just(TimeInForce::ImmediateOrCancel),
        2 => Just(TimeInForce::FillOrKill),
    ];
    let display = prop_oneof![
        4 => Just(None),
        3 => (1_i64..6).prop_map(|count| Some(pieces(count))),
        1 => any_quantity().prop_map(Some),
    ];
    let self_match = prop_oneof![
        3 => Just(SelfMatch::Allow),
        1 => Just(SelfMatch::CancelResting),
        1 => Just(SelfMatch::CancelIncoming),
        1 => Just(SelfMatch::CancelBoth),
    ];
    let post_only = prop::bool::weighted(0.15);
    let passive = prop::bool::weighted(0.6);
    let who = (key(), 0_u32..4, side, any_quantity(), passive);
    (
        who,
        order_type,
        time_in_force,
        display,
        post_only,
        self_match,
    )
        .prop_map(
            |(
                (order, owner, side, quantity, passive),
                order_type,
                time_in_force,
                display,
                post_only,
                self_match,
            )| {
                // Most orders do not mix what does not go together.
                let rests = order_type != OrderType::Market && time_in_force == TimeInForce::Day;
                let odd = order.0 % 8 == 0;
                let order_type = match (order_type, side) {
                    (OrderType::Limit(limit), Side::Buy) if passive => {
                        OrderType::Limit(limit.min(price(0)))
                    }
                    (OrderType::Limit(limit), Side::Sell) if passive => {
                        OrderType::Limit(limit.max(price(1)))
                    }
                    _ => order_type,
                };
                NewOrder {
                    order,
                    owner,
                    side,
                    quantity,
                    order_type,
                    time_in_force,
                    post_only: post_only && (rests || odd),
                    display: display.filter(|_| rests || odd),
                    self_match,
                }
            },
        )
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let amend = (key(), any_quantity(), proptest::option::of(any_price())).prop_map(
        |(order, quantity, price)| Amend {
            order,
            quantity,
            price,
        },
    );
    let phase = prop_oneof![
        1 => Just(Phase::Closed),
        3 => Just(Phase::OpeningCall),
        4 => Just(Phase::Continuous),
        3 => Just(Phase::ClosingCall),
        1 => Just(Phase::Halted),
    ];
    let step = prop_oneof![
        40 => new_order().prop_map(|new| Step::Submit(Command::New(new))),
        14 => amend.prop_map(|amend| Step::Submit(Command::Amend(amend))),
        6 => key().prop_map(|order| Step::Submit(Command::Cancel(order))),
        3 => phase.prop_map(Step::Begin),
    ];
    let first = prop_oneof![Just(Phase::OpeningCall), Just(Phase::Continuous)];
    (first, proptest::collection::vec(step, 1..150)).prop_map(|(first, mut steps)| {
        steps.insert(0, Step::Begin(first));
        steps
    })
}
