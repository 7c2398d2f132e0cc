//! What a subscriber of kdb+ tables is sent: orders from the journal, alerts from the tables.
//!
//! Invariant: after `.u.sub` was answered every row of the subscription is sent once and in order, at
//! the client's own pace: what it does not take stays on the disk or in the tables.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tapewatch_connect::kdb::qsql::rows_between;
use tapewatch_connect::kdb::tick::{self, ORDER, ORDER_ALERTS, Syms};
use tapewatch_connect::kdb::value::{List, Symbols, Table, Value};
use tapewatch_connect::kdb::wire::MessageKind;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::answer;
use super::out::Out;
use crate::shared::Shared;
use crate::subscription::{Orders, Seat, Span};

/// Alerts that come within this time are sent together: each look at them costs a query.
const GATHER: Duration = Duration::from_millis(5);

/// A subscription to one table; ends when it is dropped.
pub(super) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
    /// Everything before this sequence number was sent.
    pub(super) position: Arc<AtomicU64>,
}

impl Running {
    fn start(
        position: Arc<AtomicU64>,
        out: Arc<Out>,
        sends: impl Future<Output = Result<(), String>> + Send + 'static,
        stop: oneshot::Sender<()>,
    ) -> Self {
        let mut task = JoinSet::new();
        task.spawn(async move {
            if let Err(why) = sends.await {
                out.fail(&why);
            }
        });
        Self {
            stop,
            task,
            position,
        }
    }

    /// Ends it between two messages.
    pub(super) async fn end(mut self) {
        drop(self.stop);
        while self.task.join_next().await.is_some() {}
    }
}

/// A subscription that was accepted and sends nothing yet: the answer goes first.
pub(super) enum Ready {
    Orders(Box<Orders>),
    Alerts(Box<Alerts>),
}

impl Ready {
    /// Opens it from now on; `name` is its label in the metrics.
    ///
    /// # Errors
    /// What the client is told: an unknown table, or one that is in another process.
    pub(super) fn open(
        shared: &Shared,
        table: &str,
        syms: &Syms,
        name: &str,
    ) -> Result<Self, String> {
        match table {
            ORDER => {
                let source = shared.source();
                let source = source.ok_or_else(|| format!("order: {}", shared.elsewhere(true)))?;
                let span = Span {
                    from: Some(shared.published.borrow().saturating_add(1)),
                    follow: true,
                };
                let wanted = match syms {
                    Syms::All => None,
                    Syms::Some(syms) => Some(syms.clone()),
                };
                let orders = Orders::open(source, span, wanted, (&shared.subscribers, name));
                let orders = orders.map_err(|error| error.to_string())?;
                Ok(Self::Orders(Box::new(orders)))
            }
            ORDER_ALERTS if !shared.roles.tables() => {
                Err(format!("orderAlerts: {}", shared.elsewhere(false)))
            }
            ORDER_ALERTS => {
                let next_seq = shared.published.borrow().saturating_add(1);
                let seat = shared.subscribers.join(name, next_seq);
                Ok(Self::Alerts(Box::new(Alerts {
                    shared: shared.clone(),
                    hits: shared.hits.clone(),
                    syms: syms.clone(),
                    seat: seat.map_err(|error| error.to_string())?,
                    next_seq,
                })))
            }
            other => Err(other.to_owned()),
        }
    }

    /// Begins to send.
    pub(super) fn start(self, out: &Arc<Out>) -> Running {
        let (stop, stopped) = oneshot::channel();
        let to = Arc::clone(out);
        match self {
            Self::Orders(orders) => {
                let position = orders.position();
                Running::start(
                    position,
                    to,
                    send_orders(*orders, Arc::clone(out), stopped),
                    stop,
                )
            }
            Self::Alerts(alerts) => {
                let position = alerts.seat.position();
                Running::start(position, to, alerts.send(Arc::clone(out), stopped), stop)
            }
        }
    }
}

async fn send_orders(
    mut orders: Orders,
    out: Arc<Out>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<(), String> {
    loop {
        let next = tokio::select! {
            _ = &mut stopped => return Ok(()),
            next = orders.next() => next.map_err(|error| error.to_string())?,
        };
        let Some((rows, _)) = next else {
            return Ok(());
        };
        let table = tick::order_table(&rows, &Syms::All);
        if let Some(update) = table.and_then(|table| tick::publish(ORDER, table))
            && !out.send(MessageKind::Async, &update).await
        {
            return Ok(());
        }
    }
}

/// Follows the alerts in the tables.
pub(super) struct Alerts {
    shared: Shared,
    /// Last sequence number of which all hits show.
    hits: watch::Receiver<u64>,
    syms: Syms,
    seat: Seat,
    next_seq: u64,
}

impl Alerts {
    async fn send(
        mut self,
        out: Arc<Out>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<(), String> {
        loop {
            self.seat.at(self.next_seq);
            let upto = *self.hits.borrow_and_update();
            let from = self.next_seq;
            self.next_seq = from.max(upto.saturating_add(1));
            if upto >= from && self.shared.store.last_hit() >= from {
                let update = self.between(from, upto).await?;
                if let Some(update) = update
                    && !out.send(MessageKind::Async, &update).await
                {
                    return Ok(());
                }
                continue;
            }
            self.seat.at(self.next_seq);
            tokio::select! {
                _ = &mut stopped => return Ok(()),
                changed = self.hits.changed() => changed.map_err(|_| "the process stops".to_owned())?,
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    async fn between(&self, from: u64, upto: u64) -> Result<Option<Value>, String> {
        let select = rows_between(ORDER_ALERTS, from..=upto, &self.syms);
        let select = select.ok_or("there are no alerts")?;
        let columns = answer::columns(&self.shared.store, &select).await?;
        let names: Symbols = select
            .columns
            .iter()
            .skip(1)
            .map(|(name, _)| name)
            .collect();
        let lists = columns.into_iter().skip(1).map(List::from).collect();
        let table = Table::new(names, lists).map_err(|error| error.to_string())?;
        Ok(tick::publish(ORDER_ALERTS, table))
    }
}
