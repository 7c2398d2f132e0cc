//! What goes to a kdb+ client.
//!
//! Invariant: messages go out whole, one after another; nothing is queued: who has something to say
//! waits until the client took what came before. One that takes nothing for a while is let go.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tapewatch_connect::kdb::value::Value;
use tapewatch_connect::kdb::wire::{ByteOrder, MessageKind, compress, encode_message};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::port::Duplex;

/// A client that takes nothing for so long is let go.
const STUCK: Duration = Duration::from_secs(30);

/// The way out to a client.
pub(super) struct Out {
    write: AsyncMutex<WriteHalf<Box<dyn Duplex>>>,
    /// That of the client's last message.
    order: Mutex<ByteOrder>,
    packs: bool,
    broken: watch::Sender<Option<String>>,
}

impl Out {
    pub(super) fn new(write: WriteHalf<Box<dyn Duplex>>, packs: bool) -> Self {
        Self {
            write: AsyncMutex::new(write),
            order: Mutex::default(),
            packs,
            broken: watch::Sender::default(),
        }
    }

    /// From here on in this order of bytes.
    pub(super) fn speak(&self, order: ByteOrder) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = order;
    }

    /// Sends a message; whether it went. When it did not the session ends.
    pub(super) async fn send(&self, kind: MessageKind, value: &Value) -> bool {
        let order = *self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = encode_message(order, kind, value).or_else(|error| {
            let text = format!("limit: the answer cannot be written: {error}");
            encode_message(order, kind, &Value::error(text))
        });
        let bytes = match bytes {
            Ok(bytes) if self.packs => compress(&bytes).unwrap_or(bytes),
            Ok(bytes) => bytes,
            Err(error) => {
                self.fail(&error.to_string());
                return false;
            }
        };
        let mut write = self.write.lock().await;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match tokio::time::timeout(STUCK, write.write(rest)).await {
                Ok(Ok(taken)) if taken > 0 => rest = rest.get(taken..).unwrap_or_default(),
                Ok(Ok(_)) => return self.fail("the connection is closed"),
                Ok(Err(error)) => return self.fail(&error.to_string()),
                Err(_) => {
                    let why = format!("it took nothing for {} s", STUCK.as_secs());
                    return self.fail(&why);
                }
            }
        }
        // Within TLS bytes may wait; a failure comes again with the next ones.
        matches!(tokio::time::timeout(STUCK, write.flush()).await, Ok(Ok(())))
    }

    /// Ends the session.
    pub(super) fn fail(&self, why: &str) -> bool {
        self.broken.send_if_modified(|broken| {
            let first = broken.is_none();
            broken.get_or_insert_with(|| why.to_owned());
            first
        });
        false
    }

    /// Waits until something was not sent, and says why.
    pub(super) async fn broken(&self) -> String {
        let mut broken = self.broken.subscribe();
        let why = broken.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }
}
