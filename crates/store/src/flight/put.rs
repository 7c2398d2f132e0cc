//! Publishing: the batches of one stream, one after another.
//!
//! Invariant: a batch is published whole or refused whole, and the stream ends with the first that is
//! refused: what came before it is taken, nothing behind it is looked at. The next batch is read when
//! the one before it is answered, so that a stream holds one.

use arrow_flight::{FlightData, PutResult};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream, Stream};
use serde::{Deserialize, Serialize};
use tapewatch_model::{Bucket, OrderBatch, Origin};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::decode::Decoder;
use super::topic::Topic;
use super::{Desk, Receipt, Refusal};

/// What a client may say beside a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    /// Name of the producer, unique to one run of it.
    producer: String,
    /// Number of the batch, ascending from 1.
    batch: u64,
}

/// What is answered beside a batch, or in the end.
#[derive(Debug, Default, Serialize)]
struct Answer {
    /// Rows taken.
    orders: u64,
    /// First sequence number of them; 0 when there were none.
    first_seq: u64,
    /// Last sequence number of them.
    last_seq: u64,
    /// The batch had been taken before.
    duplicate: bool,
}

/// One stream that publishes.
struct Put<D> {
    desk: D,
    input: BoxStream<'static, Result<FlightData, Status>>,
    decoder: Decoder,
    /// Batches that were taken.
    taken: u64,
    /// What the batches without a stamp got.
    total: Answer,
    done: bool,
    _seat: OwnedSemaphorePermit,
}

/// The answers to a stream: one for each batch with a stamp, and one in the end for all others.
pub(super) fn answers<D: Desk>(
    desk: D,
    input: BoxStream<'static, Result<FlightData, Status>>,
    seat: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<PutResult, Status>> + Send + 'static {
    let put = Put {
        desk,
        input,
        decoder: Decoder::default(),
        taken: 0,
        total: Answer::default(),
        done: false,
        _seat: seat,
    };
    stream::try_unfold(put, |mut put: Put<D>| async move {
        if put.done {
            return Ok(None);
        }
        let answer = put.next().await?;
        let app_metadata = serde_json::to_vec(&answer)
            .map_err(|error| Status::internal(error.to_string()))?
            .into();
        Ok(Some((PutResult { app_metadata }, put)))
    })
}

impl<D: Desk> Put<D> {
    /// Publishes until there is something to answer.
    async fn next(&mut self) -> Result<Answer, Status> {
        while let Some(message) = self.message().await? {
            check_descriptor(&message)?;
            let (orders, stamp) = self.decode(message).await?;
            let Some(orders) = orders else { continue };
            let stamp = match stamp.is_empty() {
                true => None,
                false => Some(self.stamp(&stamp)?),
            };
            let stamped = stamp.is_some();
            let answer = self.publish(orders, stamp).await?;
            self.taken += 1;
            if stamped {
                return Ok(answer);
            }
            self.total.add(&answer);
        }
        self.done = true;
        if !self.decoder.is_open() {
            let message = "the stream ended without a schema: nothing was taken";
            return Err(Status::invalid_argument(message));
        }
        Ok(std::mem::take(&mut self.total))
    }

    /// What the client says next. A client that says nothing does not keep the process from stopping.
    async fn message(&mut self) -> Result<Option<FlightData>, Status> {
        tokio::select! {
            message = self.input.next() => message.transpose(),
            () = self.desk.stopped() => {
                let message = "the process stops: publish again when it is back";
                Err(Status::unavailable(message))
            }
        }
    }

    /// Decodes beside the runtime's workers: a batch may take a while, and a message that makes the
    /// decoder panic fails this stream alone.
    async fn decode(
        &mut self,
        message: FlightData,
    ) -> Result<(Option<OrderBatch>, bytes::Bytes), Status> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let decoded = tokio::task::spawn_blocking(move || {
            let taken = decoder.take(&message);
            (decoder, taken, message.app_metadata)
        });
        let (decoder, taken, stamp) = decoded
            .await
            .map_err(|_| self.refuse("is no sound Arrow message"))?;
        self.decoder = decoder;
        let orders = taken.map_err(|what| self.refuse(&what))?;
        Ok((orders, stamp))
    }

    fn stamp(&self, json: &[u8]) -> Result<Stamp, Status> {
        let read = serde_json::from_slice::<Stamp>(json);
        let stamp = read.map_err(|error| error.to_string()).and_then(|stamp| {
            let length = stamp.producer.len();
            let good = (1..=64).contains(&length) && stamp.batch > 0;
            good.then_some(stamp)
                .ok_or_else(|| "a name of up to 64 bytes and a number from 1".to_owned())
        });
        stamp.map_err(|what| {
            let example = r#"{"producer": "desk-7", "batch": 1}"#;
            self.refuse(&format!(
                "has metadata that is not understood: {what}; write it as {example}"
            ))
        })
    }

    async fn publish(
        &mut self,
        orders: OrderBatch,
        stamp: Option<Stamp>,
    ) -> Result<Answer, Status> {
        if orders.is_empty() {
            return Ok(Answer::default());
        }
        let origin = stamp.map_or_else(Origin::default, |stamp| Origin {
            producer: stamp.producer,
            batch: stamp.batch,
        });
        let dead_letters = Vec::new();
        let bucket = Bucket {
            origin,
            orders,
            dead_letters,
        };
        let Receipt {
            orders,
            first_seq,
            last_seq,
            duplicate,
        } = self
            .desk
            .publish(bucket)
            .await
            .map_err(|error| match error {
                Refusal::Invalid(what) => self.refuse(&what),
                other => other.into(),
            })?;
        Ok(Answer {
            orders,
            first_seq,
            last_seq,
            duplicate,
        })
    }

    /// The refusal of the batch that is at hand.
    fn refuse(&self, what: &str) -> Status {
        let subject = match self.decoder.is_open() || self.taken > 0 {
            true => format!("batch {}", self.taken + 1),
            false => "the schema".to_owned(),
        };
        let before = match self.taken {
            0 => "nothing was taken".to_owned(),
            taken => format!("nothing of it was taken, the {taken} before it were"),
        };
        Refusal::Invalid(format!("{subject}: {what}; {before}")).into()
    }
}

impl Answer {
    fn add(&mut self, other: &Self) {
        if other.orders == 0 {
            return;
        }
        if self.first_seq == 0 {
            self.first_seq = other.first_seq;
        }
        self.orders += other.orders;
        self.last_seq = other.last_seq;
    }
}

/// Only orders can be published.
fn check_descriptor(message: &FlightData) -> Result<(), Refusal> {
    let Some(descriptor) = &message.flight_descriptor else {
        return Ok(());
    };
    if descriptor.path == [Topic::Orders.name()] {
        return Ok(());
    }
    let path = descriptor.path.join("/");
    Err(Refusal::Unknown(format!(
        "{path:?} cannot be published to: write the descriptor's path as \"orders\""
    )))
}
