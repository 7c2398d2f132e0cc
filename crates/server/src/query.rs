//! `tapewatch sql` and `tapewatch eod`: asking a running process, or reading the files directly.

use std::error::Error;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::Path;

use reqwest::header::HeaderValue;
use reqwest::{Client, Response, Url};
use rustls::ClientConfig;
use tapewatch_detect::Shard;
use tapewatch_model::{OrderBatch, OrderSource as _};
use tapewatch_store::{Format, Store};

use crate::api::sql::QUERY_ID;
use crate::cli::{SqlArgs, UrlArgs};
use crate::config::Config;
use crate::failure::Failure;
use crate::progress::RowProgress;
use crate::shards::Shards;
use crate::source::{format_of, open};
use crate::tls::TlsConfig;
use crate::{clock, recovery};

/// Rows that are read from a file at a time.
const BATCH_ROWS: usize = 8_192;

/// Longest query read from standard input.
const QUERY_BYTES_MAX: u64 = 1 << 20;

/// A client that goes to the address it is given, whatever proxies are set. Over TLS it trusts and
/// shows what the environment says under the names of the configuration, else it trusts the system's
/// authorities.
pub(crate) fn client() -> Result<Client, Failure> {
    let mut builder = Client::builder().no_proxy();
    let tls = TlsConfig::of_environment();
    if tls != TlsConfig::default() {
        let tls = tls.client()?;
        builder = builder.tls_backend_preconfigured(ClientConfig::clone(&tls));
    }
    let client = builder.build();
    client.map_err(|error| Failure::run(format!("cannot make an HTTP client: {error}")))
}

/// The address that API paths are joined to.
pub(crate) fn base_url(url: &str) -> Result<Url, Failure> {
    let with_slash = format!("{}/", url.trim_end_matches('/'));
    match Url::parse(&with_slash) {
        Ok(base) if ["http", "https"].contains(&base.scheme()) && base.has_host() => Ok(base),
        _ => Err(Failure::usage(format!(
            "--url {url}: write an address such as http://127.0.0.1:9090"
        ))),
    }
}

/// Why a request had no answer, with what to do.
pub(crate) fn explain(url: &Url, error: &reqwest::Error) -> String {
    let host = format!(
        "{}:{}",
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or(0)
    );
    if let Some(tls) = tls_error(error) {
        format!("{host}: {tls}{}", what_to_do(tls))
    } else if error.is_connect() {
        format!("nothing answers at {host}: is `tapewatch up` running there?")
    } else if error.is_timeout() {
        format!("{host} did not answer in time")
    } else {
        format!("{host}: {error}")
    }
}

/// Whether a request failed for a certificate: another attempt meets the same one.
pub(crate) fn is_for_certificate(error: &reqwest::Error) -> bool {
    tls_error(error).is_some_and(|tls| !what_to_do(tls).is_empty())
}

/// What to do about a certificate; nothing when it is not one that is wrong.
fn what_to_do(error: &rustls::Error) -> &'static str {
    use rustls::AlertDescription as Alert;
    use rustls::CertificateError as Wrong;
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                "; use the name that the server's certificate is for"
            }
            Wrong::UnknownIssuer => {
                "; TAPEWATCH_TLS__CA names the file of the authorities to trust"
            }
            _ => "; the server must show another certificate",
        },
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => {
            "; the server does not take this client's certificate: TAPEWATCH_TLS__CERT and TAPEWATCH_TLS__KEY \
             name the files of the one to show"
        }
        _ => "",
    }
}

/// What is wrong with the certificates, if it is that: somewhere inside of what the client says.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    // The source of an I/O error is not what it carries, but what is inside of that.
    let carried = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    carried
        .and_then(|carried| tls_error(carried))
        .or_else(|| tls_error(error.source()?))
}

/// A good answer, or its error as a failure.
pub(crate) async fn checked(
    url: &Url,
    response: reqwest::Result<Response>,
) -> Result<Response, Failure> {
    let response = response.map_err(|error| Failure::run(explain(url, &error)))?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(Failure::run(crate::feed::error_message(response).await))
}

/// The tables of a file or of a data directory; `None` when a running process is to be asked.
async fn local(args: &SqlArgs) -> Result<Option<Store>, Failure> {
    let mut config = Config::load(None, Vec::new())?;
    if let Some(file) = &args.file {
        if let Some(tables) = &args.reference {
            config.reference.clone_from(tables);
        }
        config.set_detectors(&args.detector, &args.set)?;
        let store = Store::in_memory(config.store_options()).map_err(Failure::run)?;
        let mut shards = Shards::new(&config.detect()?, Shard::WHOLE, 1)?;
        return tokio::task::block_in_place(|| fill(&store, &mut shards, file))
            .map(|()| Some(store));
    }
    match &args.data {
        Some(data) => {
            let options = config.store_options();
            let fold = recovery::read_only(data, &config.detect()?, options).await?;
            Ok(Some(fold.store))
        }
        None => Ok(None),
    }
}

/// Reads a file of orders into memory, with the hits that it gives.
fn fill(store: &Store, shards: &mut Shards, file: &Path) -> Result<(), Failure> {
    let mut source = open(file, &format_of(file)?)?;
    let mut progress = RowProgress::new("read");
    let (mut before, mut letters, mut hits) = (OrderBatch::default(), Vec::new(), Vec::new());
    let (mut rows, mut refused) = (0, 0);
    loop {
        let mut orders = OrderBatch::following(&before, BATCH_ROWS);
        let more = source.next_batch(BATCH_ROWS, &mut orders, &mut letters);
        if !more.map_err(Failure::run)? {
            break;
        }
        before = OrderBatch::following(&orders, 0);
        rows += (orders.len() + letters.len()) as u64;
        let orders = shards.apply(orders, &mut hits);
        store.append_orders(orders);
        store.append_hits(&hits);
        hits.clear();
        store.append_dead_letters(refused + 1, clock::now(), &letters);
        refused += letters.len() as u64;
        letters.clear();
        progress.show(rows, source.progress());
    }
    progress.finish();
    Ok(())
}

/// Runs a query and writes the answer.
pub(crate) async fn sql(args: &SqlArgs) -> Result<(), Failure> {
    let query = match args.query.as_str() {
        "-" => {
            let mut text = String::new();
            let input = std::io::stdin()
                .take(QUERY_BYTES_MAX)
                .read_to_string(&mut text);
            input.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
            text
        }
        query => query.to_owned(),
    };
    let binary = matches!(args.format, Format::Arrow | Format::Parquet);
    if binary && args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::usage(format!(
            "{} is not for a terminal: add --output FILE",
            args.format
        )));
    }
    let mut output = Output::open(args)?;
    match local(args).await? {
        Some(store) => {
            let result = store.sql(&query).await.map_err(Failure::run)?;
            result
                .write(args.format, &mut output.writer)
                .await
                .map_err(Failure::run)?;
        }
        None => {
            let url = base_url(&args.url.url)?
                .join("api/v1/sql")
                .map_err(Failure::usage)?;
            let body = serde_json::json!({ "query": query, "format": args.format.to_string() });
            let response = client()?.post(url.clone()).json(&body).send().await;
            let mut response = checked(&url, response).await?;
            let id = response.headers().get(QUERY_ID).cloned();
            loop {
                match response.chunk().await {
                    Ok(Some(chunk)) => output.writer.write_all(&chunk).map_err(broken)?,
                    Ok(None) => break,
                    Err(error) => {
                        let why = why_broken(&url, id.as_ref()).await;
                        return Err(Failure::run(why.unwrap_or_else(|| explain(&url, &error))));
                    }
                }
            }
        }
    }
    output.finish()
}

/// What the process says of a query whose answer broke off.
async fn why_broken(url: &Url, id: Option<&HeaderValue>) -> Option<String> {
    let url = url.join(&format!("queries/{}", id?.to_str().ok()?)).ok()?;
    let answer = client().ok()?.get(url).send().await.ok()?;
    let answer: serde_json::Value = answer.json().await.ok()?;
    let error = answer.get("error")?.as_str()?;
    Some(format!(
        "the answer broke off, what was written is not whole: {error}"
    ))
}

/// Moves today's rows to the history.
pub(crate) async fn end_of_day(args: &UrlArgs) -> Result<(), Failure> {
    let url = base_url(&args.url)?
        .join("api/v1/eod")
        .map_err(Failure::usage)?;
    let response = client()?.post(url.clone()).send().await;
    let answer: serde_json::Value = checked(&url, response)
        .await?
        .json()
        .await
        .map_err(|error| Failure::run(explain(&url, &error)))?;
    let count = |name: &str| {
        answer
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    };
    let dates = answer
        .get("dates")
        .and_then(|dates| dates.as_array())
        .cloned()
        .unwrap_or_default();
    let dates: Vec<_> = dates.iter().filter_map(|date| date.as_str()).collect();
    eprintln!(
        "moved to the history: {} orders, {} hits, {} dead letters{}{}",
        count("orders"),
        count("hits"),
        count("dead_letters"),
        if dates.is_empty() { "" } else { "; dates " },
        dates.join(", ")
    );
    Ok(())
}

/// Standard output, or a file that appears only when it is whole.
struct Output {
    writer: Box<dyn Write + Send>,
    rename: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Output {
    fn open(args: &SqlArgs) -> Result<Self, Failure> {
        let Some(path) = &args.output else {
            return Ok(Self {
                writer: Box::new(std::io::stdout()),
                rename: None,
            });
        };
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let file = std::fs::File::create(&part)
            .map_err(|error| Failure::run(format!("cannot create {}: {error}", path.display())))?;
        let writer = Box::new(std::io::BufWriter::new(file));
        Ok(Self {
            writer,
            rename: Some((part.into(), path.clone())),
        })
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(broken)?;
        match self.rename {
            Some((part, path)) => std::fs::rename(&part, &path)
                .map_err(|error| Failure::run(format!("cannot write {}: {error}", path.display()))),
            None => Ok(()),
        }
    }
}

fn broken(error: std::io::Error) -> Failure {
    Failure::run(format!("cannot write the answer: {error}"))
}
