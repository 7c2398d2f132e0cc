//! kdb+ without kdb+: its messages, its tickerplant's requests and log, its tables on disk, and a
//! part of its queries.
//!
//! Invariant: pure but for [`tplog`] and [`hdb`], which read what they are given; nothing that comes
//! from outside is ever run, and nothing of it makes this panic or take memory without a limit.
//!
//! [`wire`] turns bytes into values of [`value`] and back. [`tick`] says what a client wants and
//! turns tables of the reference into orders and back; [`qsql`] turns a query into SQL. Docs for
//! users: `docs/use/kdb.md`; why own code: `docs/decisions/0016-kdb.md`.

pub mod hdb;
mod import;
pub mod qsql;
pub mod tick;
pub mod tplog;
pub mod value;
pub mod wire;

pub use self::import::KdbOrders;
