//! The commands of a process without the journal, sent to the one that has it.
//!
//! Invariant: commands arrive in order, through any number of broken connections; what of them is said
//! again is the outbox's to know. Nobody waits for a journal that is away longer than the outbox lets
//! him.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::SinkExt;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use super::follow::{Connection, JournalAt, open, receive};
use super::outbox::Outbox;
use super::{BEAT, Message, Packet};
use crate::fold::UNDER_WAY_MAX;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pipeline::{Command, Pipeline, QUEUE_MAX};

/// A connection that owes an answer for so long is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Opens a pipeline to the journal; `name` names this process there, each run another.
pub(crate) fn connect_pipeline(
    journal: &JournalAt,
    name: &str,
    peers: &Peers,
    metrics: Metrics,
) -> Pipeline {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let link = Link {
        journal: journal.clone(),
        peers: peers.clone(),
        journal_seq: peers.last_seq(&journal.peer()),
        queue,
        outbox: Outbox::new(name),
    };
    tokio::spawn(link.run());
    Pipeline::to(sender, metrics)
}

/// The connection, and what is under way on it.
struct Link {
    journal: JournalAt,
    peers: Peers,
    /// Last sequence number that the journal is known to have.
    journal_seq: Arc<AtomicU64>,
    queue: mpsc::Receiver<Command>,
    outbox: Outbox,
}

impl Link {
    async fn run(mut self) {
        let peer = self.journal.peer();
        loop {
            let why = match open(&self.journal).await {
                Ok((_, connection)) => match self.serve(connection).await {
                    Ok(()) => return,
                    Err(why) => why,
                },
                Err(why) => why,
            };
            let pause = self.peers.away(&peer, &why);
            let why = format!("{peer} is away: {why}");
            self.outbox.drop_what_cannot_wait(&why);
            if self.wait(pause, &why).await.is_none() {
                return;
            }
        }
    }

    /// Sends and receives until the connection breaks; `Ok` when nobody sends commands any more.
    async fn serve(&mut self, mut connection: Connection) -> Result<(), String> {
        self.say_again(&mut connection).await?;
        // What must be said again may be refused again: it is back when that is not so.
        let mut back = self.outbox.is_empty();
        if back {
            self.peers.back(&self.journal.peer());
        }
        loop {
            tokio::select! {
                message = receive(&mut connection) => {
                    if let Some(message) = self.answered(message?)? {
                        feed(&mut connection, message).await?;
                        flush(&mut connection).await?;
                    }
                    if !std::mem::replace(&mut back, true) {
                        self.peers.back(&self.journal.peer());
                    }
                }
                () = tokio::time::sleep(BEAT), if self.outbox.is_empty() => {
                    feed(&mut connection, self.outbox.beat()).await?;
                    flush(&mut connection).await?;
                }
                () = tokio::time::sleep(ANSWER_WITHIN), if !self.outbox.is_empty() => {
                    return Err(no_answer());
                }
                command = self.queue.recv(), if self.outbox.has_room() => {
                    let Some(command) = command else {
                        return self.finish(connection).await;
                    };
                    self.begin(&mut connection, command).await?;
                    while self.outbox.has_room()
                        && let Ok(command) = self.queue.try_recv()
                    {
                        self.begin(&mut connection, command).await?;
                    }
                    flush(&mut connection).await?;
                }
            }
        }
    }

    /// Sends what must be said again, no more ahead of the answers than at any other time: a journal whose
    /// answers are not read does not read on.
    async fn say_again(&mut self, connection: &mut Connection) -> Result<(), String> {
        let mut behind = Vec::new();
        for (sent, message) in self.outbox.again().into_iter().enumerate() {
            if sent >= UNDER_WAY_MAX {
                flush(connection).await?;
                let answer = tokio::time::timeout(ANSWER_WITHIN, receive(connection)).await;
                let answer = answer.map_err(|_| no_answer())??;
                behind.extend(self.answered(answer)?);
            }
            feed(connection, message).await?;
        }
        for message in behind {
            feed(connection, message).await?;
        }
        flush(connection).await
    }

    /// Waits for the answers that are still due.
    async fn finish(&mut self, mut connection: Connection) -> Result<(), String> {
        while !self.outbox.is_empty() {
            let message = receive(&mut connection).await?;
            if let Some(message) = self.answered(message)? {
                feed(&mut connection, message).await?;
                flush(&mut connection).await?;
            }
        }
        Ok(())
    }

    /// Takes an answer; what is to be said because of it.
    fn answered(&mut self, message: Message) -> Result<Option<Packet>, String> {
        if let Message::Answer(Ok(published)) = &message {
            let last = published.placed.first_seq; // of a beat's answer that of the journal
            self.journal_seq.fetch_max(last, Ordering::Relaxed);
        }
        self.outbox.answered(message)
    }

    async fn begin(&mut self, connection: &mut Connection, command: Command) -> Result<(), String> {
        match self.outbox.take(command, true) {
            Some(message) => feed(connection, message).await,
            None => Ok(()),
        }
    }

    /// Pauses; meanwhile commands are refused but for those that must arrive. `None` when nobody
    /// sends any more.
    async fn wait(&mut self, pause: Duration, why: &str) -> Option<()> {
        let until = tokio::time::Instant::now() + pause;
        loop {
            let command = tokio::select! {
                () = tokio::time::sleep_until(until) => return Some(()),
                command = self.queue.recv(), if self.outbox.has_room() => command?,
            };
            if self.outbox.take(command, false).is_some() {
                self.outbox.drop_what_cannot_wait(why);
            }
        }
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", ANSWER_WITHIN.as_secs())
}

async fn feed(connection: &mut Connection, packet: Packet) -> Result<(), String> {
    let fed = super::feed(connection, packet).await;
    fed.map_err(|error| error.to_string())
}

async fn flush(connection: &mut Connection) -> Result<(), String> {
    let flushed = SinkExt::<Bytes>::flush(connection).await;
    flushed.map_err(|error| error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::StreamExt as _;
    use tapewatch_model::Bucket;
    use tokio::io::{BufReader, DuplexStream};
    use tokio::sync::oneshot;

    use super::*;
    use crate::fold::Placed;
    use crate::pipeline::Published;
    use crate::port::Duplex;
    use crate::wire::framed;

    /// Answers each message before it reads the next, as a journal does whose answers must go out.
    async fn answer_all(stream: DuplexStream) -> usize {
        let mut connection = framed(stream);
        let mut count = 0;
        while let Some(message) = connection.next().await {
            let Ok(Message::Publish(_)) = Message::decode(message.unwrap().freeze()) else {
                return count;
            };
            count += 1;
            let placed = Placed {
                batch: 0,
                first_seq: 1,
                orders: 0,
                dead_letters: 0,
            };
            let duplicate = false;
            let answer = Message::Answer(Ok(Published { placed, duplicate })).encode();
            connection.send(answer).await.unwrap();
        }
        count
    }

    #[tokio::test]
    async fn what_is_said_again_waits_for_its_answers() {
        const MANY: usize = 3_000;
        let mut outbox = Outbox::new("test");
        for _ in 0..MANY {
            let (reply, _) = oneshot::channel();
            let command = Command::Publish(Bucket::default().into(), reply);
            assert!(outbox.take(command, false).is_some());
        }
        // Neither side has room for all that the other says.
        let (here, there) = tokio::io::duplex(16 << 10);
        let peer = tokio::spawn(answer_all(there));
        let mut link = Link {
            journal: JournalAt::plain("nowhere"),
            peers: Peers::default(),
            journal_seq: Arc::default(),
            queue: mpsc::channel(1).1,
            outbox,
        };
        let stream: Box<dyn Duplex> = Box::new(here);
        let mut connection = framed(BufReader::new(stream));
        let said = link.say_again(&mut connection);
        let said = tokio::time::timeout(Duration::from_secs(20), said).await;
        assert_eq!(said, Ok(Ok(())));
        assert_eq!(link.finish(connection).await, Ok(()));
        assert_eq!(peer.await.unwrap(), MANY);
    }
}
