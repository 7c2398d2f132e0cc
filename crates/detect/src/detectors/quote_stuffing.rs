//! Quote stuffing: a burst of messages that hardly trades and fills most of an instrument's channel.
//!
//! Invariant: for a trader in an instrument the messages since the start of the second in which the
//! window began are kept, at most 2,048 (64 KB), and 181 counts of ten seconds (3 KB). Source: EU
//! 2016/522, Annex II, indicator of "quote stuffing".

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tapewatch_model::{Decimal, EventType, EventTypes, Flags, Measure, TimeSpan};

use crate::detector::{DetectorInfo, Finding, Need, Registration};
use crate::entities::{Entities, key};
use crate::market::Held;
use crate::params::{ParamSet as _, Profiles, at_least, at_most, params, ratio};
use crate::rolling::Latch;
use crate::step::{Found, Step, finding};
use crate::watch::{Watch, registration};

pub(crate) const REGISTRATION: Registration = registration::<QuoteStuffing>();

/// Messages kept of a trader; beyond, the oldest goes and is counted as an overflow.
const SENT_MAX: usize = 2_048;
const SECOND: i64 = 1_000_000_000;
/// A usual rate is the median of so many counts of so long.
const SLICE: i64 = 10 * SECOND;
const SLICES: i64 = 180;

params! {
    struct Params {
        /// Messages count that came so long ago at most.
        window: TimeSpan = "1s",
        /// There are at least so many of them (up to 2048).
        messages: u64 = "250",
        /// They make at least this share of all messages of the instrument.
        share: Decimal = "0.5",
        /// At most this share of the quantity that they brought executes.
        executed_share: Decimal = "0.01",
        /// They are at least so many times what is usual for the trader in the instrument.
        multiple: Decimal = "10",
    }
}

/// A message; what order it brought and how much of it executed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sent {
    time: i64,
    seq: u64,
    entered: i64,
    executed: i64,
}

/// What is kept of a trader in an instrument.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Burst {
    sent: VecDeque<Sent>,
    /// Of all `sent`.
    entered: i128,
    executed: i128,
    counts: Counts,
    latch: Latch,
}

/// Messages in each ten seconds of the clock; where there were none there is no count.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Counts {
    counts: VecDeque<(i64, u32)>,
    /// The median as it was when its ten seconds began.
    median: Option<(i64, u32)>,
}

impl Counts {
    fn add(&mut self, time: i64) {
        let slice = time.div_euclid(SLICE);
        match self.counts.back_mut() {
            Some((last, count)) if *last == slice => *count = count.saturating_add(1),
            _ => {
                let oldest = slice.saturating_sub(SLICES);
                while self.counts.front().is_some_and(|first| first.0 < oldest) {
                    self.counts.pop_front();
                }
                self.counts.push_back((slice, 1));
            }
        }
    }

    /// The median of the 180 counts before that of `time`, those of silence included.
    fn median(&mut self, time: i64) -> u32 {
        let slice = time.div_euclid(SLICE);
        if let Some((_, median)) = self.median.filter(|known| known.0 == slice) {
            return median;
        }
        let before = self.counts.iter().filter(|count| count.0 < slice);
        let mut before: Vec<u32> = before.map(|count| count.1).collect();
        before.sort_unstable_by(|a, b| b.cmp(a));
        let median = before.get(SLICES as usize / 2).copied().unwrap_or(0);
        self.median = Some((slice, median));
        median
    }
}

/// A burst that is one.
struct Stuffing {
    messages: u64,
    share: Decimal,
    executed: Decimal,
    multiple: Decimal,
    from: i64,
}

impl Burst {
    /// Takes a message in; how many were passed over for it.
    fn send(&mut self, step: &Step<'_>, oldest: i64) -> u64 {
        let mut over = 0;
        while let Some(first) = self.sent.front() {
            let full = self.sent.len() >= SENT_MAX;
            if first.time >= oldest && !full {
                break;
            }
            over += u64::from(first.time >= oldest);
            self.entered -= i128::from(first.entered);
            self.executed -= i128::from(first.executed);
            self.sent.pop_front();
        }
        let entered = match step.kind {
            EventType::New => step.quantity,
            _ => 0,
        };
        self.entered += i128::from(entered);
        self.sent.push_back(Sent {
            time: step.time,
            seq: step.seq,
            entered,
            executed: 0,
        });
        self.counts.add(step.time);
        over
    }

    /// Takes an execution in, when it is of an order of the burst.
    fn fill(&mut self, step: &Step<'_>) {
        let Some(order) = step.order else { return };
        let at = self
            .sent
            .partition_point(|sent| sent.seq < order.entered_seq);
        let Some(sent) = self.sent.get_mut(at) else {
            return;
        };
        if sent.seq == order.entered_seq {
            sent.executed = sent.executed.saturating_add(step.quantity);
            self.executed += i128::from(step.quantity);
        }
    }

    /// Whether the burst stuffs.
    fn judge(&mut self, step: &Step<'_>, params: &Params) -> Option<Stuffing> {
        if (self.sent.len() as u64) < params.messages {
            self.latch.release();
            return None;
        }
        let from = step.time.saturating_sub(params.window.nanos());
        let first = self.sent.partition_point(|sent| sent.time < from);
        let messages = (self.sent.len() - first) as u64;
        if messages < params.messages {
            self.latch.release();
            return None;
        }
        if !at_most(self.executed, params.executed_share, self.entered) {
            return None;
        }
        let all = i128::from(step.market.pulse().messages_since(from));
        let own = self.sent.len() as i128;
        if !at_least(own, params.share, all) {
            return None;
        }
        let usual = i128::from(self.counts.median(step.time).max(1));
        let usual = usual * i128::from(params.window.nanos());
        let rate = i128::from(messages) * i128::from(SLICE);
        if !at_least(rate, params.multiple, usual) {
            return None;
        }
        let tells = self.latch.tells(messages, step.time, params.window);
        tells.then(|| Stuffing {
            messages,
            share: ratio(own, all),
            executed: ratio(self.executed, self.entered),
            multiple: ratio(rate, usual),
            from,
        })
    }

    fn finding(&self, step: &Step<'_>, stuffing: &Stuffing, params: &Params) -> Finding {
        let measure = |name, value, threshold| Measure {
            name,
            value,
            threshold,
        };
        let count = Decimal::from_count;
        let measures = vec![
            measure("messages", count(stuffing.messages), count(params.messages)),
            measure("share", stuffing.share, params.share),
            measure("executed_share", stuffing.executed, params.executed_share),
            measure("multiple", stuffing.multiple, params.multiple),
        ];
        let text = format!(
            "Quote stuffing: {trader} sent {messages} messages in {sym} within {window} (threshold {least}), \
             {share} of all there (at least {least_share}) and {multiple} times the usual rate (at least \
             {least_multiple}); {executed} of what they brought executed (at most {most}).",
            trader = step.trader_name(),
            sym = step.sym_name(),
            messages = stuffing.messages,
            window = params.window,
            least = params.messages,
            share = stuffing.share,
            least_share = params.share,
            multiple = stuffing.multiple,
            least_multiple = params.multiple,
            executed = stuffing.executed,
            most = params.executed_share,
        );
        let within = self.sent.iter().filter(|sent| sent.time >= stuffing.from);
        finding(step, measures, within.map(|sent| sent.seq), text)
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct QuoteStuffing {
    traders: Entities<Burst>,
    overflows: u64,
}

impl Watch for QuoteStuffing {
    type Params = Params;

    const INFO: DetectorInfo = DetectorInfo {
        id: "quote_stuffing",
        version: 1,
        title: "A burst of messages that hardly trades and fills the instrument's channel",
        rule: "At a message (new, amended, or the cancel of an order that is no older than the second in \
            which the window began; not at the end of the session, not in a halt): the trader sent at \
            least messages of them in the instrument within window, at least multiple \
            times his usual rate; since the start of that second he sent at least \
            share of all messages that came, and at most executed_share of the quantity that he entered \
            since then executed. The usual rate is the median of his counts in the 180 whole ten seconds \
            before, silence counting as 0, and at least one message. Told when it begins and whenever the \
            rate has doubled; auctions count. False positives: a market maker who alone quotes a quiet \
            instrument and moves many orders at once.",
        source: "EU 2016/522 Annex II (quote stuffing)",
        params: Params::PARAMS,
        needs: &[Need::Trader],
        by_default: false,
    };

    const EVENTS: EventTypes = EventTypes::ALL;

    fn step(&mut self, step: &Step<'_>, params: &Profiles<Params>, found: &mut Found<'_>) {
        let Some(trader) = step.trader() else {
            return;
        };
        let not_his = Flags::EXPIRED.with(Flags::HALT).with(Flags::SNAPSHOT);
        let params = params.of(step);
        let window = params.window.nanos();
        let kept = window.max(SLICE * (SLICES + 1)).saturating_add(SECOND);
        if step.kind == EventType::Filled {
            if let Some(burst) = self.traders.find(step, trader, kept) {
                burst.fill(step);
            }
            return;
        }
        if step.flags.has(not_his) {
            return;
        }
        let from = step.time.saturating_sub(window);
        // The market counts its messages by the second.
        let begins = from - from.rem_euclid(SECOND);
        let older = |order: &Held| order.entered < begins;
        if step.kind == EventType::Cancelled && step.order.is_some_and(older) {
            return;
        }
        let burst = self.traders.get(step, trader, kept);
        self.overflows += burst.send(step, begins);
        if let Some(stuffing) = burst.judge(step, params) {
            found.hit(step, key(step.sym, trader), params.window, || {
                burst.finding(step, &stuffing, params)
            });
        }
    }

    fn entities(&self) -> u64 {
        self.traders.len()
    }

    fn overflows(&self) -> u64 {
        self.overflows
    }
}
