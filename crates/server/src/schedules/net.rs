//! The network of the simulation, and the journal's end of it: bytes that come late, in parts or not at
//! all, between the real messages at both ends.
//!
//! Invariant: bytes of one direction arrive in order; a cut loses any of those on the way, in the middle
//! of a message too. Connections that a client has given up still deliver what was on their way.

use futures::FutureExt;
use tokio_util::bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder as _, Encoder as _, LengthDelimitedCodec};

use super::Dice;
use super::roles::JournalRole;
use crate::wire::{AllDue, Commands, Message, Pump, framing, hello};

/// Commands that the journal's queue takes without waiting.
const QUEUED_MAX: usize = 40;

/// One direction of a connection.
struct Pipe {
    codec: LengthDelimitedCodec,
    flying: BytesMut,
    come: BytesMut,
    closed: bool,
}

impl Pipe {
    fn new() -> Self {
        Self {
            codec: framing(),
            flying: BytesMut::new(),
            come: BytesMut::new(),
            closed: false,
        }
    }

    fn send(&mut self, message: Bytes) {
        if !self.closed {
            self.codec.encode(message, &mut self.flying).unwrap();
        }
    }

    /// Some of what is on the way arrives.
    fn arrive(&mut self, dice: &mut Dice) {
        let most = self.flying.len() as u64;
        let bytes = match dice.below(4) {
            0 => dice.below(most + 1),
            _ => most,
        };
        let bytes = self.flying.split_to(bytes as usize);
        self.come.unsplit(bytes);
    }

    fn receive(&mut self) -> Result<Option<Message>, String> {
        let decoded = self.codec.decode(&mut self.come);
        match decoded.map_err(|error| error.to_string())? {
            Some(bytes) => Ok(Some(Message::decode(bytes.freeze())?)),
            None if self.closed && self.flying.is_empty() => Err("closed".to_owned()),
            None => Ok(None),
        }
    }

    /// It ends; whether that was in the middle of a message.
    fn cut(&mut self, dice: &mut Dice) -> bool {
        let kept = dice.below(self.flying.len() as u64 + 1) as usize;
        let middle = kept > 0 && kept < self.flying.len();
        self.flying.truncate(kept);
        self.closed = true;
        middle
    }
}

/// What the journal's end of a connection is for.
enum Served {
    New,
    Commands(Box<Commands>, AllDue),
    Stream(Box<Pump>),
    Ended,
}

/// A connection to the journal.
pub(super) struct Line {
    up: Pipe,
    down: Pipe,
    served: Served,
    /// Which run of the journal has it.
    run: u64,
}

impl Line {
    /// Connects, and is greeted; not when the journal is away.
    pub(super) fn open(journal: &JournalRole) -> Option<Self> {
        let state = &journal.running.as_ref()?.state;
        let mut line = Self {
            up: Pipe::new(),
            down: Pipe::new(),
            served: Served::New,
            run: journal.run,
        };
        line.down.send(hello(state).ok()?.encode());
        Some(line)
    }

    pub(super) fn send(&mut self, message: Bytes) {
        self.up.send(message);
    }

    pub(super) fn receive(&mut self) -> Result<Option<Message>, String> {
        self.down.receive()
    }

    /// Cuts it; whether that was in the middle of a message.
    pub(super) fn cut(&mut self, dice: &mut Dice) -> bool {
        self.up.cut(dice) | self.down.cut(dice)
    }

    /// Whether nothing more can come of it at the journal.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.served, Served::Ended)
    }

    /// The client has given it up: once nothing is on its way, the journal hears nothing for so long that
    /// it lets go.
    pub(super) fn may_fall_silent(&mut self, dice: &mut Dice) {
        if self.up.flying.is_empty() && self.up.come.is_empty() && dice.below(10) == 0 {
            self.served = Served::Ended;
        }
    }

    /// Bytes arrive, and the journal's end does something.
    pub(super) fn step(&mut self, journal: &mut JournalRole, dice: &mut Dice) {
        if self.run != journal.run {
            self.served = Served::Ended;
            self.cut(dice);
        }
        self.up.arrive(dice);
        if self.serve(journal, dice).is_err() {
            self.served = Served::Ended;
            (self.up.closed, self.down.closed) = (true, true);
        }
        self.down.arrive(dice);
    }

    fn serve(&mut self, journal: &mut JournalRole, dice: &mut Dice) -> Result<(), String> {
        let Some(running) = &mut journal.running else {
            return Ok(());
        };
        let state = &running.state;
        match &mut self.served {
            Served::New => match self.up.receive()? {
                None => {}
                Some(Message::Subscribe(stream, from, _)) => {
                    let pump = Pump::open(state, stream, from);
                    let pump = pump.map_err(|error| error.to_string())?;
                    self.served = Served::Stream(Box::new(pump));
                }
                Some(message) => {
                    let (mut commands, mut due) = (Box::<Commands>::default(), AllDue::default());
                    let taken = due.take(&mut commands, state, message);
                    journal.runtime.block_on(taken)?;
                    self.served = Served::Commands(commands, due);
                }
            },
            Served::Commands(commands, due) => {
                for _ in 0..dice.below(5) {
                    if !due.has_room() || running.worker.queue.len() > QUEUED_MAX {
                        break;
                    }
                    let Some(message) = self.up.receive()? else {
                        break;
                    };
                    journal
                        .runtime
                        .block_on(due.take(commands, state, message))?;
                }
                while let Some(answer) = due.next().now_or_never() {
                    self.down.send(Message::Answer(answer).encode());
                }
            }
            Served::Stream(pump) => {
                let sending = pump.next(1 + dice.below(4_000) as usize);
                let sending = sending.map_err(|error| error.to_string())?;
                if !sending.is_empty() || dice.below(3) == 0 {
                    self.down.send(sending.message());
                }
                // A subscriber has nothing to say, but may go.
                self.up.receive()?;
            }
            Served::Ended => {}
        }
        Ok(())
    }
}
