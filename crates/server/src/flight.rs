//! What Arrow Flight does in this process: publishing through the pipeline, subscriptions from the
//! journal and the tables.
//!
//! Invariant: a bucket is answered when it is durable by the policy in force; a subscription gives
//! every row from its number on, once.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tapewatch_model::Bucket;
use tapewatch_store::Store;
use tapewatch_store::flight::{Desk, Part, Receipt, Refusal, Rows, Start, Ticket, Topic};
use tokio::sync::watch;

use crate::pipeline::PublishError;
use crate::shared::Shared;
use crate::subscription::{Orders, Seat, Span, SubscriptionError};

/// Alerts that come within this time are given together: each look at them costs a query.
const GATHER: Duration = Duration::from_millis(5);

/// The process, as the Flight service sees it.
#[derive(Clone)]
pub(crate) struct FlightDesk(pub(crate) Shared);

impl Desk for FlightDesk {
    async fn publish(&self, bucket: Bucket) -> Result<Receipt, Refusal> {
        let published = self.0.pipeline.publish(bucket).await?;
        let placed = published.placed;
        Ok(Receipt {
            orders: placed.orders,
            first_seq: placed.first_seq,
            last_seq: placed.last_seq(),
            duplicate: published.duplicate,
        })
    }

    fn tables(&self) -> Result<Store, Refusal> {
        let shared = &self.0;
        if shared.roles.tables() {
            return Ok(shared.store.clone());
        }
        let recent = shared.places.recent.join(", ");
        Err(Refusal::Invalid(format!(
            "this process holds no tables: ask the role recent, which is in another process ({recent}), or the gateway"
        )))
    }

    async fn stopped(&self) {
        self.0.stopped().await;
    }

    fn subscribe(
        &self,
        ticket: Ticket,
    ) -> Result<BoxStream<'static, Result<Part, Refusal>>, Refusal> {
        match ticket.table {
            Topic::Orders => self.orders(ticket),
            Topic::Alerts | Topic::Hits => self.stored(ticket),
        }
    }
}

impl FlightDesk {
    fn orders(&self, ticket: Ticket) -> Result<BoxStream<'static, Result<Part, Refusal>>, Refusal> {
        let shared = &self.0;
        let span = Span {
            from: match ticket.start {
                Start::First => None,
                Start::Now => Some(shared.published.borrow().saturating_add(1)),
                Start::Seq(seq) => Some(seq),
            },
            follow: ticket.follow,
        };
        let syms = ticket.syms.map(|syms| syms.into_iter().collect());
        let name = ticket.name.as_deref().unwrap_or("flight");
        let subscriber = (&shared.subscribers, name);
        let elsewhere = || format!("orders: {}, or at the gateway", shared.elsewhere(true));
        let source = shared
            .source()
            .ok_or_else(|| Refusal::Invalid(elsewhere()))?;
        let orders = Orders::open(source, span, syms, subscriber)?;
        let parts = stream::try_unfold(orders, |mut orders: Orders| async move {
            let next = orders.next().await?;
            Ok(next.map(|(rows, next_seq)| {
                let rows = Rows::Orders(rows);
                (Part { rows, next_seq }, orders)
            }))
        });
        Ok(parts.boxed())
    }

    fn stored(&self, ticket: Ticket) -> Result<BoxStream<'static, Result<Part, Refusal>>, Refusal> {
        let shared = self.0.clone();
        if !shared.roles.tables() {
            let (table, elsewhere) = (ticket.table.name(), shared.elsewhere(false));
            let text = format!("{table}: {elsewhere}, or at the gateway");
            return Err(Refusal::Invalid(text));
        }
        let next_seq = match ticket.start {
            Start::First => 1,
            Start::Now => shared.published.borrow().saturating_add(1),
            Start::Seq(seq) => seq.max(1),
        };
        let last = *shared.published.borrow();
        if next_seq > last + 1 {
            let asked = next_seq;
            return Err(SubscriptionError::Ahead { asked, last }.into());
        }
        let name = ticket.name.as_deref().unwrap_or("flight");
        let seat = shared.subscribers.join(name, next_seq)?;
        // Of engines in other processes hits come after their rows.
        let published = shared.hits.clone();
        let stored = StoredRows {
            shared,
            published,
            ticket,
            seat,
            next_seq,
            done: false,
        };
        let parts = stream::try_unfold(stored, |mut stored: StoredRows| async move {
            let part = stored.next().await?;
            Ok(part.map(|part| (part, stored)))
        });
        Ok(parts.boxed())
    }
}

/// Follows hits or alerts.
struct StoredRows {
    shared: Shared,
    published: watch::Receiver<u64>,
    ticket: Ticket,
    seat: Seat,
    next_seq: u64,
    done: bool,
}

impl StoredRows {
    async fn next(&mut self) -> Result<Option<Part>, Refusal> {
        if self.done {
            return Ok(None);
        }
        self.seat.at(self.next_seq);
        loop {
            // Everything up to here is in the tables, and with it all hits on it.
            let upto = *self.published.borrow_and_update();
            let from = self.next_seq;
            self.next_seq = from.max(upto.saturating_add(1));
            self.done = !self.ticket.follow;
            if self.done || self.shared.store.last_hit() >= from && upto >= from {
                let syms = self.ticket.syms.as_deref();
                let (store, table) = (&self.shared.store, self.ticket.table);
                let rows = store.rows_between(table, from..=upto, syms).await?;
                return Ok(Some(Part {
                    rows: Rows::Stored(rows),
                    next_seq: self.next_seq,
                }));
            }
            self.seat.at(self.next_seq);
            tokio::select! {
                changed = self.published.changed() => changed.map_err(|_| self.stopping())?,
                () = self.shared.stopped() => return Err(self.stopping()),
            }
            if self.ticket.table == Topic::Alerts {
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    fn stopping(&self) -> Refusal {
        SubscriptionError::Stopping(self.next_seq).into()
    }
}

impl From<SubscriptionError> for Refusal {
    fn from(error: SubscriptionError) -> Self {
        let text = error.to_string();
        match error {
            SubscriptionError::Gone { .. } | SubscriptionError::Ahead { .. } => {
                Self::OutOfRange(text)
            }
            SubscriptionError::Full => Self::Exhausted(text),
            SubscriptionError::Stopping(_) => Self::Unavailable(text),
            SubscriptionError::Read(_)
            | SubscriptionError::Codec { .. }
            | SubscriptionError::Panicked => Self::Internal(text),
        }
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        let text = error.to_string();
        match error {
            PublishError::Invalid(_) => Self::Invalid(text),
            PublishError::DiskFull(_) => Self::Exhausted(text),
            PublishError::Refused(_)
            | PublishError::Unknown(_)
            | PublishError::Stopped(_)
            | PublishError::RecentFull(_) => Self::Unavailable(text),
        }
    }
}
