//! The processes that run queries for others: the scheduler and the executors.
//!
//! Invariant: what was checked does not open a port of Ballista's beyond loopback unless that is said.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tapewatch_store::cluster::ClusterOptions;

use super::Config;
use crate::failure::Failure;
use crate::roles::host_name;

/// Most parts of rows between steps.
const PARTS_MAX: usize = 4_096;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchedulerConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) plain: bool,
}

impl Default for SchedulerConfig {
    /// The second port is Ballista's own.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5016)),
            grpc: SocketAddr::from(([127, 0, 0, 1], 50050)),
            plain: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecutorConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) flight: SocketAddr,
    pub(crate) grpc_port: u16,
    pub(crate) host: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes_max: u64,
    pub(crate) plain: bool,
}

impl Default for ExecutorConfig {
    /// The ports but the first are Ballista's own.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5017)),
            flight: SocketAddr::from(([127, 0, 0, 1], 50051)),
            grpc_port: 50052,
            host: String::new(),
            cores: 0,
            memory_bytes_max: 1 << 30,
            plain: false,
        }
    }
}

/// Refuses a port that whoever reaches it can run plans at, without knowing who it is.
pub(crate) fn check_plain(key: &str, address: SocketAddr, plain: bool) -> Result<(), Failure> {
    match address.ip().is_loopback() || plain {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "configuration: {key} is {address}: Ballista speaks no TLS there and asks nobody who they are; let only \
             processes of the cluster reach it and set {}.plain = true, or write a loopback address",
            key.split('.').next().unwrap_or(key)
        ))),
    }
}

/// The host by which other processes find an address: as it is written, or this host's name.
pub(crate) fn host_of(address: SocketAddr) -> String {
    match address.ip() {
        ip if ip.is_unspecified() => host_name().unwrap_or_else(|| "localhost".to_owned()),
        ip if ip.is_ipv6() => format!("[{ip}]"),
        ip => ip.to_string(),
    }
}

impl Config {
    /// Who runs queries for this process; `None`: itself.
    ///
    /// # Errors
    /// Which key does not fit.
    pub(crate) fn cluster(&self, apart: bool) -> Result<Option<ClusterOptions>, Failure> {
        let sql = &self.sql;
        if !sql.distributed {
            return Ok(None);
        }
        if !(1..=PARTS_MAX).contains(&sql.parts) {
            return Err(Failure::usage(format!(
                "configuration: sql.parts is {}: write 1 to {PARTS_MAX}",
                sql.parts
            )));
        }
        let listens = if apart {
            self.recent.listen
        } else {
            self.listen
        };
        let at = match sql.at.as_str() {
            "" if listens.port() == 0 => {
                return Err(Failure::usage(
                    "configuration: with sql.distributed executors must find this process: give its address a port, or \
                     write sql.at",
                ));
            }
            "" => format!("{}:{}", host_of(listens), listens.port()),
            at => at.to_owned(),
        };
        Ok(Some(ClusterOptions {
            scheduler: self.peers.scheduler.clone(),
            at,
            parts: sql.parts,
        }))
    }
}
