//! Packing of messages: literals, and copies from where the same pair of bytes stood last.
//!
//! Invariant: what is unpacked is never longer than its message announces, and that is compared with
//! the limits and with what so many packed bytes can hold before memory is taken.
//!
//! The form, after the eight bytes of the header: the whole length of the unpacked message in four
//! bytes; then groups of a byte of marks, lowest bit first, and eight items. An item without its
//! mark is a byte as it is. One with its mark is two bytes: a slot, and how many bytes more than two
//! are copied from where the slot points. The slot of a place is the exclusive or of the two bytes
//! there; both sides fill the slots as they go.

use super::encode::length;
use super::{ByteOrder, HEADER_BYTES, Header, Limits, WireError, Wrong, at_most};

/// Shorter messages are never packed, as q does not.
const PACKED_ABOVE: usize = 2_000;
/// Header and length of the unpacked message.
const START: usize = HEADER_BYTES + 4;
/// Most bytes that one group takes.
const GROUP_BYTES: usize = 17;
/// More bytes than one packed byte can stand for: eight copies of 257 come from 17.
const RATIO_MAX: usize = 121;

/// The packed form of a message, with the same bytes as kdb+'s own interface for Java makes; `None`
/// when it is not longer than 2,000 bytes or would not become shorter than half.
#[must_use]
pub fn compress(message: &[u8]) -> Option<Vec<u8>> {
    if message.len() <= PACKED_ABOVE {
        return None;
    }
    let header = Header::of(
        message,
        &Limits {
            message_bytes: usize::MAX,
            ..Limits::default()
        },
    );
    let order = header.ok().filter(|header| !header.compressed)?.order;
    let most = message.len() / 2;
    let mut packed = Vec::with_capacity(most);
    packed.extend_from_slice(message.get(..HEADER_BYTES)?);
    *packed.get_mut(2)? = 1;
    packed.extend_from_slice(&length(message.len(), order).ok()?);
    let mut packer = Packer {
        message,
        at: HEADER_BYTES,
        slots: [0; 256],
        waiting: None,
    };
    while packer.at < message.len() {
        if packed.len() + GROUP_BYTES > most {
            return None;
        }
        let marks_at = packed.len();
        packed.push(0);
        let mut marks = 0;
        for bit in 0..8 {
            if packer.at == message.len() {
                break;
            }
            marks |= u8::from(packer.item(&mut packed)) << bit;
        }
        *packed.get_mut(marks_at)? = marks;
    }
    let whole = length(packed.len(), order).ok()?;
    for (to, from) in packed.iter_mut().skip(4).zip(whole) {
        *to = from;
    }
    Some(packed)
}

struct Packer<'a> {
    message: &'a [u8],
    at: usize,
    /// For each slot a place with its two bytes; none is before the header's end, so 0 is none.
    slots: [usize; 256],
    /// The place of the last literal, which enters its slot only after the next item was looked for.
    waiting: Option<(u8, usize)>,
}

impl Packer<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.message.get(at).copied()
    }

    /// The slot of the place, and an earlier place with the same two bytes.
    fn look(&self) -> Option<(u8, Option<usize>)> {
        // The last two bytes are always literals.
        self.byte(self.at + 2)?;
        let first = self.byte(self.at)?;
        let slot = first ^ self.byte(self.at + 1)?;
        let place = self.slots.get(usize::from(slot)).copied()?;
        let same = place != 0 && self.byte(place) == Some(first);
        Some((slot, same.then_some(place)))
    }

    fn enter(&mut self, slot: u8, place: usize) {
        if let Some(entry) = self.slots.get_mut(usize::from(slot)) {
            *entry = place;
        }
    }

    /// Packs one item; whether it is a copy.
    fn item(&mut self, packed: &mut Vec<u8>) -> bool {
        let found = self.look();
        if let Some((slot, place)) = self.waiting.take() {
            self.enter(slot, place);
        }
        let Some((slot, Some(place))) = found else {
            self.waiting = found.map(|(slot, _)| (slot, self.at));
            packed.extend(self.byte(self.at));
            self.at += 1;
            return false;
        };
        self.enter(slot, self.at);
        self.at += 2;
        let old = self.message.get(place + 2..).unwrap_or_default();
        let new = self.message.get(self.at..).unwrap_or_default();
        let more = new.iter().zip(old).take(255);
        let more = more.take_while(|(new, old)| new == old).count();
        self.at += more;
        packed.extend_from_slice(&[slot, more as u8]); // at most 255
        true
    }
}

fn short(message: &[u8], at: usize, wanted: &'static str) -> WireError {
    let left = message.len().saturating_sub(at);
    WireError::new(at, Wrong::Short { wanted, left })
}

/// The length that the message will have unpacked, if it may and can.
fn announced(message: &[u8], order: ByteOrder, limits: &Limits) -> Result<usize, WireError> {
    let what = "the length of the unpacked message";
    let said = message.get(HEADER_BYTES..).and_then(<[u8]>::first_chunk);
    let said = *said.ok_or_else(|| short(message, HEADER_BYTES, what))?;
    let said = match order {
        ByteOrder::Little => u32::from_le_bytes(said),
        ByteOrder::Big => u32::from_be_bytes(said),
    };
    let can = message.len().saturating_mul(RATIO_MAX);
    let max = can.min(limits.message_bytes).min(limits.memory_bytes);
    at_most(HEADER_BYTES, what, u64::from(said), max)
}

/// The message that a packed one stands for.
///
/// # Errors
/// [`WireError`] with the offset in the packed message when it is damaged, or the unpacked one would
/// be longer than `limits` allow.
pub fn decompress(message: &[u8], limits: &Limits) -> Result<Vec<u8>, WireError> {
    let header = Header::of(message, limits)?;
    let short = |at, wanted| short(message, at, wanted);
    let total = announced(message, header.order, limits)?;
    let mut out = Vec::with_capacity(total.max(HEADER_BYTES));
    out.extend_from_slice(message.get(..HEADER_BYTES).unwrap_or_default());
    if let [_, _, packed, _, length @ ..] = out.as_mut_slice() {
        *packed = 0;
        length.copy_from_slice(message.get(HEADER_BYTES..START).unwrap_or_default());
    }
    let mut slots = [0_usize; 256];
    // The first place that is in no slot yet.
    let mut fresh = HEADER_BYTES;
    let mut at = START;
    let mut next = |wanted| {
        let byte = message.get(at).copied().ok_or_else(|| short(at, wanted))?;
        at += 1;
        Ok((at - 1, byte))
    };
    while out.len() < total {
        let (_, marks) = next("the marks of eight items")?;
        for bit in 0..8 {
            if out.len() >= total {
                break;
            }
            if marks & (1 << bit) == 0 {
                out.push(next("a byte as it is")?.1);
                enter(&mut slots, &out, &mut fresh);
                continue;
            }
            let (place, slot) = next("a slot")?;
            let (_, more) = next("a number of bytes to copy")?;
            let from = slots.get(usize::from(slot)).copied().unwrap_or_default();
            if from == 0 {
                let wanted = "a slot that is filled";
                return Err(WireError::new(
                    place,
                    Wrong::Byte {
                        wanted,
                        found: slot,
                    },
                ));
            }
            let count = 2 + usize::from(more);
            let what = "the unpacked message with this copy";
            at_most(place, what, (out.len() + count) as u64, total)?;
            copy(&mut out, from, 2);
            enter(&mut slots, &out, &mut fresh);
            copy(&mut out, from + 2, count - 2);
            fresh = out.len();
        }
    }
    if at != message.len() {
        let (found, said) = (message.len() as u64, at as u64);
        let what = "the packed message behind its last item";
        return Err(WireError::new(at, Wrong::Length { what, found, said }));
    }
    Ok(out)
}

/// Fills the slots of all places but the last, which has no second byte yet.
fn enter(slots: &mut [usize; 256], out: &[u8], fresh: &mut usize) {
    while let Some(&[first, second]) = out.get(*fresh..*fresh + 2) {
        if let Some(slot) = slots.get_mut(usize::from(first ^ second)) {
            *slot = *fresh;
        }
        *fresh += 1;
    }
}

/// Appends `count` bytes from `from`, which may be among those that are being appended.
fn copy(out: &mut Vec<u8>, from: usize, count: usize) {
    for at in from..from + count {
        let byte = out.get(at).copied().unwrap_or_default(); // `from` is before the end
        out.push(byte);
    }
}
