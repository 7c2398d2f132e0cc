//! Front running: a desk trades for itself ahead of a client's large order.
//!
//! Invariant: at most 256 own executions of the last time and 16 client orders, with the numbers of 64
//! events each, are kept for a desk in an instrument, about 32 KB when full. Source: FINRA 5270 (front
//! running of blocks), 5320; EU 596/2014 article 8 (pending orders of clients).

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Side, TimeSpan};

use crate::detector::{DetectorInfo, Finding, NOBODY, Need, Registration};
use crate::entities::{Entities, key};
use crate::fills::{Fill, Fills, amount, done, measure, sign};
use crate::market::Traded;
use crate::params::{ParamSet as _, Profiles, at_least, params, ratio};
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<FrontRunning>();
const CLIENTS_MAX: usize = 16;
const SEQS_MAX: usize = 64;

params! {
    struct Params {
        /// A client's order is large when it is so many times the usual order of the instrument.
        client_multiple: Decimal = "10",
        /// What is usual is known when so many orders came in.
        least_orders: u64 = "100",
        /// The desk's own trades count from so long before the client's order came in, of orders that
        /// were no older than that.
        ahead: TimeSpan = "60s",
        /// How long after the client's order came in its first fill is awaited, and how long after
        /// that what the desk does with its position counts.
        horizon: TimeSpan = "10m",
        /// What the desk took on ahead is at least this share of the client's order.
        own_share: Decimal = "0.05",
        /// It is closed when this share of it was given away, at a gain or not, and no more than it was
        /// taken on again until then.
        closed_share: Decimal = "0.8",
        /// What the desk keeps is a gain when the price is this share of it better at the end of the
        /// client's order.
        gain_share: Decimal = "0.001",
    }
}

/// A client's large order.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Client {
    key: u64,
    side: Side,
    quantity: i64,
    /// What was usual when it came in.
    usual: i64,
    entered: i64,
    filled: Option<i64>,
    /// The desk's first trade ahead.
    since: i64,
    /// What the desk took on ahead on the same side, and on the other, since it last had none of it.
    front: Traded,
    against: i128,
    /// What it gave away after the client's first fill, and what it took on then.
    out: Traded,
    more: i128,
    seqs: Vec<u64>,
}

impl Client {
    fn note(&mut self, seq: u64) {
        if self.seqs.len() < SEQS_MAX {
            self.seqs.push(seq);
        }
    }

    /// What the desk took on ahead, all in all.
    fn net(&self) -> i128 {
        self.front.volume.saturating_sub(self.against)
    }

    /// A trade of the desk's own before the client's first fill.
    fn ahead(&mut self, fill: &Fill) {
        let one = Traded::one(fill.price, fill.quantity, None);
        if fill.side != self.side {
            self.against = self.against.saturating_add(one.volume);
            if self.net() <= 0 {
                (self.front, self.against) = (Traded::default(), 0);
                self.seqs.truncate(1); // the client's order
            }
            return;
        }
        if self.front.volume == 0 {
            self.since = fill.time;
        }
        self.front = self.front.and(one);
        self.note(fill.seq);
    }

    /// The gain by piece at a price, in units of price.
    fn gain(&self, price: i64) -> Option<i64> {
        let gain = price.saturating_sub(self.front.vwap()?);
        Some(gain.saturating_mul(sign(self.side)))
    }

    /// The gain (or the loss) of what is closed, once enough is. Who took on more than it after the
    /// client has not closed it but hedges.
    fn closed(&self, params: &Params) -> Option<i64> {
        let enough = at_least(self.out.volume, params.closed_share, self.net());
        let closes = enough && self.more <= self.net();
        self.gain(self.out.vwap()?).filter(|_| closes)
    }

    /// The gain of what is open at the price of now, when it is enough.
    fn open(&self, step: &Step<'_>, params: &Params) -> Option<i64> {
        let gain = self.gain(step.market.prints().last()?.price)?;
        let paid = i128::from(self.front.vwap()?.saturating_abs());
        at_least(gain.into(), params.gain_share, paid).then_some(gain)
    }
}

/// What is kept of a desk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Desk {
    own: Fills,
    /// Oldest first.
    clients: Vec<Client>,
}

/// What makes it a hit.
struct Front {
    client: Client,
    gain: i64,
    closed: bool,
}

impl Desk {
    fn let_go(&mut self, now: i64, params: &Params) {
        let oldest = now.saturating_sub(params.horizon.nanos());
        let stays = |client: &Client| client.filled.unwrap_or(client.entered) >= oldest;
        self.clients.retain(stays);
    }

    /// A client's large order came in; whether another was let go for want of room.
    fn enter(&mut self, step: &Step<'_>, params: &Params, usual: i64) -> bool {
        self.let_go(step.time, params);
        self.own
            .drop_before(step.time.saturating_sub(params.ahead.nanos()));
        let full = self.clients.len() >= CLIENTS_MAX;
        if full {
            self.clients.remove(0);
        }
        let mut client = Client {
            key: step.key,
            side: step.side,
            quantity: step.quantity,
            usual,
            entered: step.time,
            filled: None,
            since: step.time,
            front: Traded::default(),
            against: 0,
            out: Traded::default(),
            more: 0,
            seqs: vec![step.seq],
        };
        self.own.iter().for_each(|fill| client.ahead(fill));
        self.clients.push(client);
        full
    }

    /// An execution or the end of a client's order.
    fn client(&mut self, step: &Step<'_>, params: &Params) -> Option<Front> {
        self.let_go(step.time, params);
        let at = self
            .clients
            .iter()
            .position(|client| client.key == step.key)?;
        let client = self.clients.get_mut(at)?;
        if client.filled.is_none() {
            let enough = at_least(client.net(), params.own_share, client.quantity.into());
            if step.kind != EventType::Filled || client.net() <= 0 || !enough {
                self.clients.remove(at); // nothing went ahead of it
                return None;
            }
            client.filled = Some(step.time);
            client.note(step.seq);
        }
        let leaves = step.order.map_or(0, |held| held.leaves);
        if step.kind == EventType::Filled && leaves > step.quantity {
            return None;
        }
        let gain = client.open(step, params)?;
        let client = self.clients.remove(at);
        Some(Front {
            client,
            gain,
            closed: false,
        })
    }

    /// A trade of the desk's own.
    fn own(&mut self, step: &Step<'_>, params: &Params) -> Option<Front> {
        self.let_go(step.time, params);
        let fill = Fill::of(step);
        let entered = step.order.map_or(step.time, |held| held.entered);
        let fresh = step.time.saturating_sub(entered) <= params.ahead.nanos();
        if fresh {
            self.own
                .push(fill, step.time.saturating_sub(params.ahead.nanos()));
        }
        let mut gained = None;
        for (at, client) in self.clients.iter_mut().enumerate() {
            if client.filled.is_none() && fresh {
                client.ahead(&fill);
            } else if client.filled.is_some() && client.side == fill.side {
                client.more = client.more.saturating_add(fill.quantity.into());
            } else if client.filled.is_some() {
                client.out = client.out.and(Traded::one(fill.price, fill.quantity, None));
                client.note(fill.seq);
                let gain = client.closed(params);
                gained = gained.or(gain.map(|gain| (at, gain)));
            }
        }
        let (at, gain) = gained?;
        let client = self.clients.remove(at);
        Some(Front {
            client,
            gain,
            closed: true,
        })
    }
}

fn say(step: &Step<'_>, params: &Params, desk: u32, front: &Front) -> Finding {
    let Front {
        client,
        gain,
        closed,
    } = front;
    let multiple = ratio(client.quantity.into(), client.usual.into());
    let share = ratio(client.net(), client.quantity.into());
    let paid = client.front.vwap().unwrap_or_default();
    let gained = ratio((*gain).into(), paid.saturating_abs().into());
    let least = if *closed {
        Decimal::default()
    } else {
        params.gain_share
    };
    let profit = amount(client.net().saturating_mul((*gain).into()));
    let lead = TimeSpan::from_nanos(client.filled.unwrap_or(step.time) - client.since);
    let measures = vec![
        measure("client_multiple", multiple, params.client_multiple),
        measure("own_share", share, params.own_share),
        measure("gain_share", gained, least),
        measure("profit", profit, Decimal::default()),
        measure(
            "lead_seconds",
            Decimal::from_units(lead.nanos().into()),
            Decimal::default(),
        ),
    ];
    let how = if *closed {
        let out = ratio(client.out.volume, client.net());
        let least = params.closed_share;
        format!("gave {out} of that away after it (at least {least})")
    } else {
        format!("had that at the order's end (gain at least {least})")
    };
    let text = format!(
        "Front running: {desk} {done} {net} of {sym} for itself {lead} before the first fill of a \
         client's order of {quantity}, {multiple} times the usual one (at least {large}), {share} of \
         it (at least {own}), and {how}, with a gain of {gained} of the price, \
         {profit} in all.",
        desk = step.names().owner(desk),
        done = done(client.side),
        net = Decimal::from_quantity_units(client.net()),
        sym = step.sym_name(),
        quantity = Decimal::from_quantity_units(client.quantity.into()),
        large = params.client_multiple,
        own = params.own_share,
    );
    finding(step, measures, client.seqs.iter().copied(), text)
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct FrontRunning {
    desks: Entities<Desk>,
    overflows: u64,
}

impl FrontRunning {
    /// What the row is to a desk: of a client's order, or a trade of its own.
    fn apply(&mut self, step: &Step<'_>, params: &Params, desk: u32, own: bool) -> Option<Front> {
        let kept = params.horizon.nanos().saturating_mul(2);
        let kept = kept.saturating_add(params.ahead.nanos());
        match (step.kind, own) {
            (EventType::New, _) => {
                let usual = step.market.sizes().usual(params.least_orders)?;
                if at_least(step.quantity.into(), params.client_multiple, usual.into()) {
                    let full = self.desks.get(step, desk, kept).enter(step, params, usual);
                    self.overflows += u64::from(full);
                }
                None
            }
            (EventType::Filled, true) => self.desks.get(step, desk, kept).own(step, params),
            (_, true) => None,
            (_, false) => self.desks.find(step, desk, kept)?.client(step, params),
        }
    }
}

impl Watch for FrontRunning {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "front_running",
        version: 2,
        title: "A desk trades for itself ahead of a client's large order",
        rule: "A client's order (flag agency) of at least client_multiple times the usual order of the \
            instrument (the median, of at least least_orders) comes in at a desk: the group that its \
            trader is linked to, or the trader. Before its first fill, within horizon, and from ahead \
            before it came in, the desk took on for itself (executions with flag principal, those of \
            the group's traders that are not marked agency, and those of accounts linked to the group; \
            of orders no older than ahead), on the client's side less the other one, at least own_share \
            of the client's order. Then, within horizon after the first fill, it either gave away at \
            least closed_share of that, whatever it gained; or, when the client's order is filled or ends, the last price is better by at least gain_share of what was paid. Once for each \
            client order. False positives: a market maker's desk that is on the side by chance; a hedge \
            that the client knows of.",
        source: "FINRA 5270 and 5320; EU 596/2014 article 8",
        params: Params::PARAMS,
        needs: &[Need::Trader, Need::Capacity],
        by_default: false,
    };

    const EVENTS: EventTypes =
        EventTypes::of(&[EventType::New, EventType::Cancelled, EventType::Filled]);

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let order = step.order.map_or(Flags::NONE, |held| held.flags);
        let flags = step.flags.with(order);
        let client = flags.has(Flags::AGENCY);
        if !client && step.kind != EventType::Filled {
            return;
        }
        let params = params.of(step);
        let mut tell = |this: &mut Self, desk: u32, own: bool| {
            if let Some(front) = this.apply(step, params, desk, own) {
                found.hit(step, key(step.sym, desk), params.horizon, || {
                    say(step, params, desk, &front)
                });
            }
        };
        let names = step.names();
        let own = flags.has(Flags::PRINCIPAL) || names.is_group(step.desk);
        if step.desk != NOBODY && (client || own) {
            tell(self, step.desk, !client);
        }
        // The account of a friend, wherever it trades.
        let linked = step.owner != step.desk && names.is_group(step.owner);
        if linked && step.kind == EventType::Filled {
            tell(self, step.owner, true);
        }
    }

    fn entities(&self) -> u64 {
        self.desks.len()
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }
}
