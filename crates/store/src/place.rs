//! Where the history lives: a directory or a prefix of a bucket, chosen by URL alone.
//!
//! Invariant: all that is read and written of the history goes through the one object store that is
//! opened here, whose commits are atomic because a file of the Delta log is only ever put where there
//! is none (a hard link on a disk, `If-None-Match` on S3, the same of the others). A request is
//! repeated a limited number of times. Secrets are never part of the options, only where they stand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, DynObjectStore, RetryConfig};
use url::{Position, Url};

use crate::block_sums::KnownSums;
use crate::checked_store::CheckedStore;
use crate::schema::Table;

/// Words in an option's name that say that its value is secret.
const SECRET: [&str; 6] = ["secret", "token", "password", "key", "sas", "credential"];

/// Where the history lives and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryOptions {
    /// A directory, or `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`. Empty:
    /// `history` in the store's directory.
    pub url: String,
    /// What the object store's client is told over what the environment says: names such as
    /// `endpoint` and `allow_http`. `env:NAME` and `file:PATH` stand for what is there; secrets are
    /// taken in no other form.
    pub options: BTreeMap<String, String>,
    /// Whether an end of day writes small files of a day anew as few.
    pub compact: bool,
    /// Days whose rows are kept, by date of partition; 0: all.
    pub keep_days: u32,
    /// How long older versions can be read: files of theirs are deleted after that.
    pub versions_for: Duration,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            url: String::new(),
            options: BTreeMap::new(),
            compact: true,
            keep_days: 0,
            versions_for: Duration::from_secs(30 * 86_400),
        }
    }
}

/// Why the place cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(
        "{0} is no URL: write a directory, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    )]
    Url(String),
    #[error("{0}: the path cannot be written as a URL")]
    Path(PathBuf),
    #[error("option {name}: there is none of that name for {scheme}")]
    Option { name: String, scheme: String },
    #[error(
        "option {name}: a secret does not stand in the configuration; write env:NAME or file:PATH"
    )]
    Secret { name: String },
    #[error("option {name}: {reference}: {message}")]
    Reference {
        name: String,
        reference: String,
        message: String,
    },
    #[error("{0}")]
    Store(#[from] object_store::Error),
}

/// The place that all tables are in.
#[derive(Clone)]
pub(crate) struct Home {
    /// Ends with a slash.
    url: Url,
    /// Its root is the disk's or the bucket's.
    root: Arc<DynObjectStore>,
    /// The checksums that it compares.
    known: KnownSums,
    /// Of the place in it.
    prefix: ObjectPath,
    /// The place, when it is on a disk.
    dir: Option<PathBuf>,
}

impl Home {
    /// The place that the options name; writes nothing.
    pub(crate) fn open(dir: &Path, options: &HistoryOptions) -> Result<Self, PlaceError> {
        if options.url.is_empty() {
            return Self::on_disk(&dir.join("history"));
        }
        let Some((scheme, _)) = options.url.split_once("://") else {
            return Self::on_disk(Path::new(&options.url));
        };
        let text = options.url.trim_end_matches('/');
        let url =
            Url::parse(&format!("{text}/")).map_err(|_| PlaceError::Url(options.url.clone()))?;
        let settings = settings(&options.options)?;
        let store: Arc<DynObjectStore> = match scheme {
            "file" => {
                let path = url.to_file_path();
                return Self::on_disk(&path.map_err(|()| PlaceError::Url(text.to_owned()))?);
            }
            "s3" | "s3a" => {
                let mut builder = AmazonS3Builder::from_env()
                    .with_url(text)
                    .with_retry(retry())
                    .with_conditional_put(S3ConditionalPut::ETagMatch);
                for (name, value) in settings {
                    builder = builder.with_config(key::<AmazonS3ConfigKey>(&name, scheme)?, value);
                }
                Arc::new(builder.build()?)
            }
            "gs" => {
                let mut builder = GoogleCloudStorageBuilder::from_env()
                    .with_url(text)
                    .with_retry(retry());
                for (name, value) in settings {
                    builder = builder.with_config(key::<GoogleConfigKey>(&name, scheme)?, value);
                }
                Arc::new(builder.build()?)
            }
            "az" | "abfs" | "abfss" => {
                let mut builder = MicrosoftAzureBuilder::from_env()
                    .with_url(text)
                    .with_retry(retry());
                for (name, value) in settings {
                    builder = builder.with_config(key::<AzureConfigKey>(&name, scheme)?, value);
                }
                Arc::new(builder.build()?)
            }
            _ => return Err(PlaceError::Url(options.url.clone())),
        };
        Ok(Self {
            prefix: ObjectPath::from_url_path(url.path()).map_err(object_store::Error::from)?,
            url,
            dir: None,
            ..Self::of_store(store)
        })
    }

    fn on_disk(dir: &Path) -> Result<Self, PlaceError> {
        let io = |source: std::io::Error| PlaceError::Reference {
            name: "url".to_owned(),
            reference: dir.display().to_string(),
            message: source.to_string(),
        };
        // A directory that is not there yet has no other name.
        let dir = match std::fs::canonicalize(dir) {
            Ok(dir) => dir,
            Err(_) => std::path::absolute(dir).map_err(io)?,
        };
        let url = Url::from_directory_path(&dir).map_err(|()| PlaceError::Path(dir.clone()))?;
        Ok(Self {
            prefix: ObjectPath::from_url_path(url.path()).map_err(object_store::Error::from)?,
            url,
            dir: Some(dir),
            ..Self::of_store(Arc::new(LocalFileSystem::new()))
        })
    }

    /// A place that nothing is in.
    pub(crate) fn nowhere() -> Self {
        Self::of_store(Arc::new(InMemory::new()))
    }

    fn of_store(store: Arc<DynObjectStore>) -> Self {
        let url = Url::parse("memory:///");
        let known = KnownSums::default();
        Self {
            url: url.unwrap_or_else(|_| unreachable!("it is a URL")),
            root: Arc::new(CheckedStore::new(store, known.clone())),
            known,
            prefix: ObjectPath::default(),
            dir: None,
        }
    }

    /// The checksums that are compared when its files are read.
    pub(crate) fn known(&self) -> &KnownSums {
        &self.known
    }

    /// Makes the place known to those who read it by URL alone.
    pub(crate) fn register(&self, runtime: &RuntimeEnv) -> Result<(), DataFusionError> {
        let place = &self.url[..Position::BeforePath];
        let place = ObjectStoreUrl::parse(place)?;
        runtime.register_object_store(place.as_ref(), Arc::clone(&self.root));
        Ok(())
    }

    /// Makes the directory of a table, where there are directories.
    pub(crate) fn make(&self, table: Table) -> std::io::Result<()> {
        match &self.dir {
            Some(dir) => std::fs::create_dir_all(dir.join(table.name())),
            None => Ok(()),
        }
    }

    /// A table's place, for people.
    pub(crate) fn of(&self, table: Table) -> String {
        match &self.dir {
            Some(dir) => dir.join(table.name()).display().to_string(),
            None => format!("{}{}", self.url, table.name()),
        }
    }

    /// The store of a table's files and its log.
    pub(crate) fn log_store(&self, table: Table) -> Result<LogStoreRef, PlaceError> {
        let url = format!("{}{}/", self.url, table.name());
        let url = Url::parse(&url).map_err(|_| PlaceError::Url(url.clone()))?;
        let prefix = self.prefix.clone().join(table.name());
        let files = PrefixStore::new(Arc::clone(&self.root), prefix);
        Ok(default_logstore(
            Arc::new(files),
            Arc::clone(&self.root),
            &url,
            &StorageConfig::default(),
        ))
    }
}

/// How often a request is repeated that the store did not answer well: about half a minute in all.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 8,
        retry_timeout: Duration::from_secs(60),
    }
}

fn key<K: FromStr>(name: &str, scheme: &str) -> Result<K, PlaceError> {
    name.parse().map_err(|_| PlaceError::Option {
        name: name.to_owned(),
        scheme: scheme.to_owned(),
    })
}

/// The options with what their references stand for.
fn settings(options: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, PlaceError> {
    let resolve = |(name, value): (&String, &String)| {
        let failed = |message: String| PlaceError::Reference {
            name: name.clone(),
            reference: value.clone(),
            message,
        };
        let name_of = name.to_ascii_lowercase();
        let value = if let Some(variable) = value.strip_prefix("env:") {
            std::env::var(variable).map_err(|error| failed(error.to_string()))?
        } else if let Some(path) = value.strip_prefix("file:") {
            let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
            text.trim_end().to_owned()
        } else if SECRET.iter().any(|word| name_of.contains(word)) && !value.is_empty() {
            return Err(PlaceError::Secret { name: name.clone() });
        } else {
            value.clone()
        };
        Ok((name_of, value))
    };
    options.iter().map(resolve).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn options(url: &str, options: &[(&str, &str)]) -> HistoryOptions {
        let options = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        HistoryOptions {
            url: url.to_owned(),
            options: options.collect(),
            ..HistoryOptions::default()
        }
    }

    fn place(url: &str, given: &[(&str, &str)]) -> Result<String, String> {
        let home = Home::open(Path::new("/data"), &options(url, given));
        home.map(|home| home.of(Table::Hits))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_url_alone_chooses_the_store() {
        let account = [("account_name", "acme")];
        for (url, given, expected) in [
            ("", &[][..], "/data/history/hits"),
            ("/far/away/", &[], "/far/away/hits"),
            ("file:///far/away", &[], "/far/away/hits"),
            (
                "s3://bucket/a/b",
                &[("region", "eu-central-1")],
                "s3://bucket/a/b/hits",
            ),
            ("gs://bucket/a/", &[], "gs://bucket/a/hits"),
            ("az://container/a", &account, "az://container/a/hits"),
        ] {
            assert_eq!(place(url, given), Ok(expected.to_owned()), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, given, expected) in [
            ("ftp://host/a", &[][..], "ftp://host/a is no URL"),
            (
                "s3://bucket",
                &[("regoin", "x")],
                "option regoin: there is none of that name for s3",
            ),
            (
                "s3://bucket",
                &[("secret_access_key", "x")],
                "option secret_access_key: a secret does not stand",
            ),
            (
                "s3://bucket",
                &[("endpoint", "env:NO_SUCH_NAME")],
                "option endpoint: env:NO_SUCH_NAME",
            ),
            (
                "gs://bucket",
                &[("service_account", "file:/no/such")],
                "option service_account: file:/no/such",
            ),
        ] {
            let error = place(url, given).expect_err(url);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
