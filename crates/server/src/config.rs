//! The configuration: flags over environment over file over defaults.
//!
//! Invariant: a [`Config`] is complete and checked; every key that can be written in the file is in
//! [`KEYS`] with its documentation, from which the reference page is made.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tapewatch_detect::{DetectConfig, Rules, Shard};
use tapewatch_journal::{FsyncPolicy, Options};
use tapewatch_model::TimeSpan;
use tapewatch_store::{HistoryOptions, StoreOptions};

use crate::failure::Failure;
use crate::shards::SHARDS_MAX;
use crate::tls::TlsConfig;

mod cluster;
mod keys;
mod peers;

pub(crate) use cluster::{ExecutorConfig, SchedulerConfig, check_plain, host_of};
pub(crate) use keys::KEYS;
pub(crate) use peers::PeersConfig;

/// Name of the configuration file that is read when it stands in the working directory.
const DEFAULT_FILE: &str = "tapewatch.toml";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) peers: PeersConfig,
    pub(crate) tls: TlsConfig,
    pub(crate) kdb: KdbConfig,
    pub(crate) postgres: PostgresConfig,
    pub(crate) thresholds: PathBuf,
    pub(crate) reference: PathBuf,
    pub(crate) log: LogConfig,
    pub(crate) journal: JournalConfig,
    pub(crate) checkpoint: CheckpointConfig,
    pub(crate) engine: EngineConfig,
    pub(crate) rules: RulesConfig,
    pub(crate) session: SessionConfig,
    pub(crate) history: HistoryConfig,
    pub(crate) recent: RecentConfig,
    pub(crate) sql: SqlConfig,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) executor: ExecutorConfig,
    /// A table a detector; see the detectors' reference.
    pub(crate) detectors: Map<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KdbConfig {
    pub(crate) users: PathBuf,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostgresConfig {
    pub(crate) users: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Human,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) url: String,
    /// Each `NAME=VALUE`.
    pub(crate) options: Vec<String>,
    pub(crate) compact: bool,
    pub(crate) keep_days: u32,
    pub(crate) versions_for: TimeSpan,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JournalConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) fsync: String,
    pub(crate) segment_bytes_max: u64,
    pub(crate) retention_age: TimeSpan,
    pub(crate) retention_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointConfig {
    pub(crate) interval: TimeSpan,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) share: String,
    pub(crate) shards: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesConfig {
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionConfig {
    pub(crate) rolls_at: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecentConfig {
    pub(crate) listen: SocketAddr,
    pub(crate) rows_max: u64,
    pub(crate) memory_max: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlConfig {
    pub(crate) memory_bytes_max: usize,
    pub(crate) query_memory_bytes_max: usize,
    pub(crate) spill_bytes_max: u64,
    pub(crate) timeout: TimeSpan,
    pub(crate) rows_max: u64,
    pub(crate) waiting_max: usize,
    pub(crate) distributed: bool,
    pub(crate) parts: usize,
    pub(crate) at: String,
}

impl Default for Config {
    /// Ports of the roles are those of the reference system.
    fn default() -> Self {
        let port = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            data: PathBuf::from("tapewatch-data"),
            listen: port(9090),
            peers: PeersConfig::default(),
            tls: TlsConfig::default(),
            kdb: KdbConfig::default(),
            postgres: PostgresConfig::default(),
            thresholds: PathBuf::new(),
            reference: PathBuf::new(),
            log: LogConfig {
                format: LogFormat::Human,
                level: "info".to_owned(),
            },
            journal: JournalConfig {
                listen: port(5011),
                fsync: FsyncPolicy::default().to_string(),
                segment_bytes_max: Options::default().segment_bytes_max,
                retention_age: TimeSpan::from_secs(7 * 86_400),
                retention_bytes: 0,
            },
            checkpoint: CheckpointConfig {
                interval: TimeSpan::from_secs(30),
            },
            engine: EngineConfig {
                listen: port(5013),
                share: "0/1".to_owned(),
                shards: 1,
            },
            rules: RulesConfig {
                dir: PathBuf::new(),
            },
            session: SessionConfig {
                rolls_at: "00:00".to_owned(),
            },
            history: HistoryConfig {
                listen: port(5015),
                url: String::new(),
                options: Vec::new(),
                compact: true,
                keep_days: 0,
                versions_for: TimeSpan::from_secs(30 * 86_400),
            },
            recent: RecentConfig {
                listen: port(5012),
                rows_max: 20_000_000,
                memory_max: 768 << 20,
            },
            sql: SqlConfig {
                memory_bytes_max: 1 << 30,
                query_memory_bytes_max: 1 << 28,
                spill_bytes_max: 10 << 30,
                timeout: TimeSpan::from_secs(60),
                rows_max: 100_000_000,
                waiting_max: 1_024,
                distributed: false,
                parts: 16,
                at: String::new(),
            },
            scheduler: SchedulerConfig::default(),
            executor: ExecutorConfig::default(),
            detectors: Map::new(),
        }
    }
}

/// What flags say, by key.
pub(crate) type Overrides = Vec<(&'static str, Value)>;

impl Config {
    /// Reads defaults, then the file, then the environment (`TAPEWATCH_LISTEN`,
    /// `TAPEWATCH_JOURNAL__FSYNC`, …), then flags.
    pub(crate) fn load(file: Option<&PathBuf>, overrides: Overrides) -> Result<Self, Failure> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        figment = match file {
            Some(path) if !path.is_file() => {
                return Err(Failure::usage(format!(
                    "{}: there is no such file",
                    path.display()
                )));
            }
            Some(path) => figment.merge(Toml::file_exact(path)),
            None => figment.merge(Toml::file(DEFAULT_FILE)),
        };
        // Names without `__` that are no key belong to others (TAPEWATCH_PYTHON and the like).
        let ours = Env::prefixed("TAPEWATCH_")
            .filter(|name| {
                let name = name.as_str().to_ascii_lowercase();
                name.contains("__") || KEYS.iter().any(|key| key.name == name)
            })
            .split("__");
        figment = figment.merge(ours);
        for (key, value) in overrides {
            figment = figment.merge((key, value));
        }
        let config: Self = figment
            .extract()
            .map_err(|error| Failure::usage(format!("configuration: {error}")))?;
        config.fsync()?;
        config.rolls_at()?;
        config.shards()?;
        config.share()?;
        config.peers.check()?;
        config.history_options()?;
        config.detect()?;
        Ok(config)
    }

    /// The journal's fsync policy.
    pub(crate) fn fsync(&self) -> Result<FsyncPolicy, Failure> {
        self.journal
            .fsync
            .parse()
            .map_err(|error| Failure::usage(format!("configuration: journal.fsync: {error}")))
    }

    /// Nanoseconds after midnight at which the session rolls; `None` for never.
    pub(crate) fn rolls_at(&self) -> Result<Option<TimeSpan>, Failure> {
        let text = self.session.rolls_at.as_str();
        if text == "never" {
            return Ok(None);
        }
        match TimeSpan::parse(text) {
            Ok(span) if span < TimeSpan::from_secs(86_400) && text.contains(':') => Ok(Some(span)),
            _ => Err(Failure::usage(format!(
                "configuration: session.rolls_at is {text:?}: write a time of day such as 22:30, or never"
            ))),
        }
    }

    /// Number of detector threads.
    pub(crate) fn shards(&self) -> Result<u32, Failure> {
        match self.engine.shards {
            shards @ 1..=SHARDS_MAX => Ok(shards),
            shards => Err(Failure::usage(format!(
                "configuration: engine.shards is {shards}: write 1 to {SHARDS_MAX}"
            ))),
        }
    }

    /// Which of the static shares of the instruments this process's engine owns.
    pub(crate) fn share(&self) -> Result<Shard, Failure> {
        crate::roles::parse_share(&self.engine.share, crate::roles::host_name)
    }

    /// The detectors' configuration, thresholds file and rules included.
    pub(crate) fn detect(&self) -> Result<DetectConfig, Failure> {
        let mut detectors = self.detectors.clone();
        crate::guests::look_in(&self.data);
        crate::guests::resolve(&mut detectors)?;
        let config = DetectConfig::from_json(&Value::Object(detectors));
        let mut config =
            config.map_err(|error| Failure::usage(format!("configuration: detectors: {error}")))?;
        if !self.reference.as_os_str().is_empty() {
            config = crate::thresholds::with_tables(config, &self.reference)?;
        }
        if !self.rules.dir.as_os_str().is_empty() {
            config = config.with_rules(crate::rules::load(&self.rules.dir)?);
        }
        if self.thresholds.as_os_str().is_empty() {
            Ok(config)
        } else {
            crate::thresholds::with_file(config, &self.thresholds)
        }
    }

    /// Switches detectors on (`all`: every one) and lays `--set` assignments over their parameters.
    pub(crate) fn set_detectors(
        &mut self,
        names: &[String],
        assignments: &[String],
    ) -> Result<(), Failure> {
        let mut detect = self.detect()?;
        for name in names {
            let switched = match name.as_str() {
                "all" => detect.all(),
                name => detect.set(&format!("{name}.enabled=true")),
            };
            switched.map_err(|error| Failure::usage(format!("--detector: {error}")))?;
        }
        for assignment in assignments {
            detect
                .set(assignment)
                .map_err(|error| Failure::usage(format!("--set: {error}")))?;
        }
        // From here on the file of thresholds is part of it.
        self.thresholds = PathBuf::new();
        let canonical: Map<String, Value> =
            serde_json::from_str(&detect.canonical()).map_err(Failure::run)?;
        let off = serde_json::json!({ "enabled": false });
        for info in tapewatch_detect::detectors() {
            let params = canonical.get(info.id).unwrap_or(&off).clone();
            self.detectors.insert(info.id.to_owned(), params);
        }
        let guests = self.detectors.iter_mut();
        for (id, table) in guests.filter(|(_, table)| table.get("wasm").is_some()) {
            match canonical.get(id) {
                Some(whole) => *table = whole.clone(),
                // Switched off: its code stays named.
                None => table
                    .as_object_mut()
                    .into_iter()
                    .for_each(|table| drop(table.insert("enabled".to_owned(), false.into()))),
            }
        }
        Ok(())
    }

    /// How the journal is written.
    pub(crate) fn journal_options(&self) -> Result<Options, Failure> {
        let segment_bytes_max = self.journal.segment_bytes_max;
        Ok(Options {
            segment_bytes_max,
            fsync: self.fsync()?,
            #[cfg(debug_assertions)]
            storage: crate::faults::storage(),
            ..Options::default()
        })
    }

    /// Where the history lives and how it is kept.
    fn history_options(&self) -> Result<HistoryOptions, Failure> {
        let history = &self.history;
        let option = |text: &String| match text.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err(Failure::usage(format!(
                "configuration: history.options has {text:?}: write NAME=VALUE"
            ))),
        };
        // Who writes, and who still reads, must be done before files of old versions go.
        if history.versions_for < TimeSpan::from_secs(3_600) {
            return Err(Failure::usage(format!(
                "configuration: history.versions_for is {}: write at least 1h",
                history.versions_for
            )));
        }
        Ok(HistoryOptions {
            url: history.url.clone(),
            options: history
                .options
                .iter()
                .map(option)
                .collect::<Result<_, _>>()?,
            compact: history.compact,
            keep_days: history.keep_days,
            versions_for: Duration::from_nanos(history.versions_for.nanos().unsigned_abs()),
        })
    }

    /// Limits of SQL, and the history.
    pub(crate) fn store_options(&self) -> StoreOptions {
        StoreOptions {
            // Checked when the configuration was loaded.
            history: self.history_options().unwrap_or_default(),
            sql_memory_bytes_max: self.sql.memory_bytes_max,
            sql_query_memory_bytes_max: self.sql.query_memory_bytes_max,
            sql_spill_bytes_max: self.sql.spill_bytes_max,
            sql_rows_max: self.sql.rows_max,
            sql_waiting_max: self.sql.waiting_max,
            // In the store 0 means that this process keeps no recent on disk.
            recent_memory_max: match self.recent.memory_max {
                0 => u64::MAX,
                bytes => bytes,
            },
            sql_timeout: Duration::from_nanos(self.sql.timeout.nanos().unsigned_abs()),
            // A process that answers others says who runs its queries.
            cluster: None,
        }
    }

    /// The configuration as a file would say it, secrets hidden.
    pub(crate) fn show(&self) -> Result<String, Failure> {
        let mut json = serde_json::to_value(self)
            .map_err(|error| Failure::run(format!("the configuration has no text: {error}")))?;
        if let (Some(detectors), Ok(complete)) = (json.get_mut("detectors"), self.detect()) {
            let complete = complete.with_rules(Rules::default()); // they have files of their own
            *detectors = serde_json::from_str(&complete.canonical()).unwrap_or_default();
        }
        hide_secrets(&mut json);
        toml::to_string_pretty(&json)
            .map_err(|error| Failure::run(format!("the configuration has no text: {error}")))
    }
}

/// Replaces values whose key says that they are secret, and passwords inside addresses.
fn hide_secrets(value: &mut Value) {
    const SECRET: [&str; 5] = ["password", "secret", "token", "api_key", "credentials"];
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if SECRET
                    .iter()
                    .any(|word| key.to_ascii_lowercase().contains(word))
                {
                    *value = Value::String("(hidden)".to_owned());
                } else {
                    hide_secrets(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide_secrets),
        Value::String(text) => {
            if let Some((scheme, rest)) = text.split_once("://")
                && let Some((user, host)) = rest.split_once('@')
                && user.contains(':')
            {
                *text = format!("{scheme}://(hidden)@{host}");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
