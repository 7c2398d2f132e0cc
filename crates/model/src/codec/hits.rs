//! Hits as a payload: how an engine hands what it found to the journal, and the journal keeps it.
//!
//! Invariant: see [`super`]. What is read back is the hit that was written, ids included.
//!
//! ```text
//! hits: u8 version = 1, u32 hits n,
//!       n × (16 bytes hit id, 16 bytes alert id, u64 place in the alert, i64 time of the alert,
//!            text detector, u32 its version, 16 bytes configuration,
//!            u64 seq, i64 time, text sym, u8 event type, text trader, u8 side, text order id,
//!            i64 price, i64 quantity, text account, text exec id, i64 display (-1: none), u32 flags,
//!            u16 measures × (text name, i128 value, i128 threshold),
//!            i64 lookback, u32 evidence × u64, u64 evidence in all, long text, long text suppressed)
//! ```
//! A long text has a `u32` length.

use super::decode::Input;
use super::{CodecError, PLAIN, put_text, put_u32};
use crate::details::Flags;
use crate::fixed::{Decimal, Price, Quantity};
use crate::hit::{EVIDENCE_MAX, Hit, Id, Measure};
use crate::name::{NAME_BYTES_MAX, lasting_name};
use crate::order::{EventType, Order, Side};
use crate::time::{Time, TimeSpan};

/// Longest text of a row, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// A display quantity that is not there.
const NONE: i64 = -1;

/// Appends the binary form of hits to `out`.
pub fn encode_hits(hits: &[Hit], out: &mut Vec<u8>) {
    out.push(PLAIN);
    put_u32(out, hits.len());
    hits.iter().for_each(|hit| put_hit(out, hit));
}

/// Reads hits.
///
/// # Errors
/// [`CodecError`] names the offset and what is wrong.
pub fn decode_hits(payload: &[u8]) -> Result<Vec<Hit>, CodecError> {
    let mut input = Input::versioned(payload)?;
    if input.version != PLAIN {
        return Err(CodecError::Version(input.version));
    }
    let mut hits = Vec::new(); // grows with what is really there
    for _ in 0..input.u32()? {
        hits.push(input.hit()?);
    }
    input.end()?;
    Ok(hits)
}

fn put_hit(out: &mut Vec<u8>, hit: &Hit) {
    let order = &hit.order;
    out.extend_from_slice(hit.hit_id.bytes());
    out.extend_from_slice(hit.alert_id.bytes());
    out.extend_from_slice(&hit.alert_hit.to_le_bytes());
    out.extend_from_slice(&hit.alert_time.nanos().to_le_bytes());
    put_text(out, hit.detector);
    out.extend_from_slice(&hit.detector_version.to_le_bytes());
    out.extend_from_slice(hit.config_version.bytes());
    out.extend_from_slice(&order.seq.to_le_bytes());
    out.extend_from_slice(&order.time.nanos().to_le_bytes());
    put_text(out, &order.sym);
    out.push(order.event_type as u8);
    put_text(out, &order.trader);
    out.push(order.side as u8);
    put_text(out, &order.order_id);
    out.extend_from_slice(&order.price.units().to_le_bytes());
    out.extend_from_slice(&order.quantity.units().to_le_bytes());
    put_text(out, &order.account);
    put_text(out, &order.exec_id);
    let display = order.display.map_or(NONE, Quantity::units);
    out.extend_from_slice(&display.to_le_bytes());
    out.extend_from_slice(&order.flags.bits().to_le_bytes());
    // A detector names a handful of measures.
    out.extend_from_slice(&(hit.measures.len() as u16).to_le_bytes());
    for measure in &hit.measures {
        put_text(out, measure.name);
        out.extend_from_slice(&measure.value.units().to_le_bytes());
        out.extend_from_slice(&measure.threshold.units().to_le_bytes());
    }
    out.extend_from_slice(&hit.lookback.nanos().to_le_bytes());
    put_u32(out, hit.evidence.len());
    for seq in &hit.evidence {
        out.extend_from_slice(&seq.to_le_bytes());
    }
    out.extend_from_slice(&hit.evidence_total.to_le_bytes());
    for text in [&hit.text, &hit.suppressed] {
        put_u32(out, text.len());
        out.extend_from_slice(text.as_bytes());
    }
}

impl Input<'_> {
    fn hit(&mut self) -> Result<Hit, CodecError> {
        Ok(Hit {
            hit_id: self.id()?,
            alert_id: self.id()?,
            alert_hit: u64::from_le_bytes(self.array()?),
            alert_time: Time::from_nanos(self.i64()?),
            detector: self.name()?,
            detector_version: self.u32()?,
            config_version: self.id()?,
            order: self.order()?,
            measures: self.measures()?,
            lookback: TimeSpan::from_nanos(self.i64()?),
            evidence: self.evidence()?,
            evidence_total: u64::from_le_bytes(self.array()?),
            text: self.long_text()?,
            suppressed: self.long_text()?,
        })
    }

    fn order(&mut self) -> Result<Order, CodecError> {
        let at = self.at;
        let wrong = |what| CodecError::Value { at, what };
        Ok(Order {
            seq: u64::from_le_bytes(self.array()?),
            time: Time::from_nanos(self.i64()?),
            sym: self.text(TEXT_BYTES_MAX)?.to_owned(),
            event_type: EventType::from_number(self.array::<1>()?[0])
                .ok_or_else(|| wrong("an event type"))?,
            trader: self.text(TEXT_BYTES_MAX)?.to_owned(),
            side: Side::from_number(self.array::<1>()?[0]).ok_or_else(|| wrong("a side"))?,
            order_id: self.text(TEXT_BYTES_MAX)?.to_owned(),
            price: Price::from_units(self.i64()?),
            quantity: Quantity::from_units(self.i64()?).map_err(|_| wrong("a quantity"))?,
            account: self.text(TEXT_BYTES_MAX)?.to_owned(),
            exec_id: self.text(TEXT_BYTES_MAX)?.to_owned(),
            display: match self.i64()? {
                NONE => None,
                units => Some(Quantity::from_units(units).map_err(|_| wrong("a quantity"))?),
            },
            flags: Flags::from_bits(self.u32()?).ok_or_else(|| wrong("a flag"))?,
        })
    }

    fn measures(&mut self) -> Result<Vec<Measure>, CodecError> {
        let mut measures = Vec::new();
        for _ in 0..u16::from_le_bytes(self.array()?) {
            measures.push(Measure {
                name: self.name()?,
                value: Decimal::from_units(i128::from_le_bytes(self.array()?)),
                threshold: Decimal::from_units(i128::from_le_bytes(self.array()?)),
            });
        }
        Ok(measures)
    }

    fn evidence(&mut self) -> Result<Vec<u64>, CodecError> {
        let (at, count) = (self.at, self.u32()? as usize);
        if count > EVIDENCE_MAX {
            let what = "more evidence than a hit has";
            return Err(CodecError::Value { at, what });
        }
        let numbers = self.column::<8>(count)?;
        Ok(numbers.iter().copied().map(u64::from_le_bytes).collect())
    }

    fn id(&mut self) -> Result<Id, CodecError> {
        Ok(Id::from_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, CodecError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn name(&mut self) -> Result<&'static str, CodecError> {
        let at = self.at;
        lasting_name(self.text(NAME_BYTES_MAX)?).ok_or(CodecError::Value {
            at,
            what: "one name of a detector or measure too many",
        })
    }

    fn long_text(&mut self) -> Result<String, CodecError> {
        let at = self.at;
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?);
        let text = text.map_err(|_| CodecError::Value {
            at,
            what: "not UTF-8",
        })?;
        Ok(text.to_owned())
    }
}
