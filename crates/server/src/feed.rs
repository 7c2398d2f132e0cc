//! `tapewatch feed`: publishes a file to a running process, bucket by bucket.
//!
//! Invariant: each bucket is numbered and sent until it is answered, so that a process that dies and
//! comes back gets every row exactly once. With `--strict` nothing is sent before the whole file was
//! found good.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::de::IgnoredAny;
use tapewatch_connect::{Bucketer, Pace, first_error};
use tapewatch_model::{Bucket, OrderSource as _, Origin, Tells, encode_bucket};
use tokio::time::Instant;

use crate::api::BUCKET_TYPE;
use crate::cli::{FeedArgs, FeedCommand};
use crate::failure::Failure;
use crate::in_force;
use crate::progress::{RowProgress, per_second, refused};
use crate::source::{AnySource, FileFormat, open};

/// First wait before a bucket is sent again; it doubles up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// An answer that takes longer is asked for again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Refused rows that are named on standard error; the dead-letter table has them all.
const NAMED_MAX: u64 = 10;

/// Publishes the file.
pub(crate) async fn run(command: &FeedCommand) -> Result<(), Failure> {
    let (args, format) = match command {
        FeedCommand::Csv(args) => (args, FileFormat::Csv),
        FeedCommand::Parquet(args) => (args, FileFormat::Parquet),
        FeedCommand::Dbn(args) => (args, FileFormat::Dbn),
        FeedCommand::Lobster(args) => (&args.feed, FileFormat::Lobster(args.options())),
    };
    publish(args, || open(&args.file, &format)).await
}

/// Publishes what `open` gives; it is opened twice when all of it is checked first.
pub(crate) async fn publish(
    args: &FeedArgs,
    open: impl Fn() -> Result<AnySource, Failure>,
) -> Result<(), Failure> {
    if args.strict {
        let mut source = open()?;
        if let Some(letter) = first_error(&mut source).map_err(Failure::run)? {
            return Err(Failure::strict(format!(
                "{}; nothing was published",
                refused(&letter)
            )));
        }
    }
    let source = open()?;
    let mut tells = Some(source.tells());
    let mut buckets = Bucketer::new(source, pace(args));
    let mut publisher = Publisher::new(&args.url.url, retry(args))?;
    let mut progress = RowProgress::new("feed");
    if args.clear {
        publisher.clear(&progress).await?;
    }
    let started = Instant::now();
    let (mut orders, mut letters) = (0, 0);
    while let Some(mut due) = buckets.next_bucket().map_err(Failure::run)? {
        tokio::time::sleep_until(started + due.after).await;
        for letter in &due.bucket.dead_letters {
            if letters < NAMED_MAX {
                progress.note(&format!("refused: {}", refused(letter)));
            }
            letters += 1;
        }
        orders += due.bucket.orders.len() as u64;
        publisher.publish(&mut due.bucket, &progress).await?;
        if let Some(tells) = tells.take() {
            publisher.say_what_is_off(tells, &progress).await;
        }
        progress.show(orders + letters, buckets.progress());
    }
    let time = progress.finish();
    let rate = per_second(orders + letters, time);
    eprintln!(
        "{}: {orders} orders published, {letters} rows refused, {:.2} s, {rate} rows/s",
        args.file.display(),
        time.as_secs_f64()
    );
    if letters > 0 {
        eprintln!("the refused rows and their reasons: tapewatch sql 'select * from dead_letters'");
    }
    Ok(())
}

fn pace(args: &FeedArgs) -> Pace {
    let rows_per_bucket = args.rows_per_bucket;
    match (args.interval, args.speed) {
        (Some(interval), _) => {
            let interval = Duration::from_nanos(interval.nanos().unsigned_abs());
            Pace::Interval {
                rows_per_bucket,
                interval,
            }
        }
        (None, Some(speed)) => Pace::EventTime { speed },
        (None, None) => Pace::Fastest { rows_per_bucket },
    }
}

fn retry(args: &FeedArgs) -> Duration {
    Duration::from_nanos(args.retry.nanos().unsigned_abs())
}

/// Sends buckets to a running process.
struct Publisher {
    client: Client,
    orders: Url,
    clear: Url,
    status: Url,
    origin: Origin,
    retry: Duration,
    body: Vec<u8>,
}

/// What a try came to.
enum Tried {
    Taken,
    Again(String),
    Refused(String),
}

impl Publisher {
    fn new(url: &str, retry: Duration) -> Result<Self, Failure> {
        let base = crate::query::base_url(url)?;
        let join = |path: &str| {
            base.join(path)
                .map_err(|error| Failure::usage(format!("{url}: {error}")))
        };
        // Unique to this run: no two processes share a number at the same nanosecond.
        let producer = format!(
            "feed-{}-{}",
            std::process::id(),
            crate::clock::now().nanos()
        );
        Ok(Self {
            client: crate::query::client()?,
            orders: join("api/v1/orders")?,
            clear: join("api/v1/clear")?,
            status: join("api/v1/status")?,
            origin: Origin { producer, batch: 0 },
            retry,
            body: Vec::new(),
        })
    }

    async fn clear(&self, progress: &RowProgress) -> Result<(), Failure> {
        self.deliver(|| self.client.post(self.clear.clone()), progress)
            .await
    }

    /// Names the detectors of the process that a source that tells this does not serve. Nothing is
    /// lost when it does not answer: its status names them all.
    async fn say_what_is_off(&self, tells: Tells, progress: &RowProgress) {
        let status = self.client.get(self.status.clone()).timeout(ANSWER_TIMEOUT);
        let Ok(response) = status.send().await else {
            return;
        };
        let status: serde_json::Value = response.json().await.unwrap_or_default();
        let detectors = status.get("detectors").and_then(|list| list.as_array());
        let named = detectors.into_iter().flatten();
        let names: Vec<&str> = named.filter_map(|one| one.get("name")?.as_str()).collect();
        for line in in_force::missing_in_source(&names, tells) {
            progress.note(&line);
        }
    }

    /// Sends a bucket until it is taken.
    async fn publish(
        &mut self,
        bucket: &mut Bucket,
        progress: &RowProgress,
    ) -> Result<(), Failure> {
        self.origin.batch += 1;
        bucket.origin = self.origin.clone();
        self.body.clear();
        encode_bucket(bucket, &mut self.body);
        let request = || {
            self.client
                .post(self.orders.clone())
                .header(reqwest::header::CONTENT_TYPE, BUCKET_TYPE)
                .body(self.body.clone())
        };
        self.deliver(request, progress).await
    }

    /// Makes a request until it is answered.
    async fn deliver(
        &self,
        request: impl Fn() -> RequestBuilder,
        progress: &RowProgress,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + self.retry;
        let mut wait = RETRY_MIN;
        let mut told = false;
        loop {
            match self.try_once(request()).await {
                Tried::Taken => return Ok(()),
                Tried::Refused(message) => return Err(Failure::run(message)),
                Tried::Again(message) if Instant::now() + wait > deadline => {
                    return Err(Failure::run(format!(
                        "{message}; given up after {} s: all rows before this bucket are published",
                        self.retry.as_secs()
                    )));
                }
                Tried::Again(message) => {
                    if !told {
                        progress.note(&format!("{message}; trying again"));
                        told = true;
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// A certificate that is wrong is wrong again in a moment; anything else may pass.
    fn unanswered(&self, error: &reqwest::Error) -> Tried {
        let message = crate::query::explain(&self.orders, error);
        match crate::query::is_for_certificate(error) {
            true => Tried::Refused(message),
            false => Tried::Again(message),
        }
    }

    async fn try_once(&self, request: RequestBuilder) -> Tried {
        let response = match request.timeout(ANSWER_TIMEOUT).send().await {
            Ok(response) => response,
            Err(error) => return self.unanswered(&error),
        };
        let status = response.status();
        if status.is_success() {
            return match response.text().await {
                // Ours, whole: nothing, or JSON.
                Ok(text)
                    if text.is_empty() || serde_json::from_str::<IgnoredAny>(&text).is_ok() =>
                {
                    Tried::Taken
                }
                Ok(_) => Tried::Again(format!("{} did not answer as tapewatch does", self.orders)),
                Err(error) => self.unanswered(&error),
            };
        }
        let message = error_message(response).await;
        let again = matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT // taken or not: its name and number make it once
                | StatusCode::INSUFFICIENT_STORAGE
                | StatusCode::TOO_MANY_REQUESTS
        );
        if again {
            Tried::Again(message)
        } else {
            Tried::Refused(message)
        }
    }
}

/// The message in an error answer.
pub(crate) async fn error_message(response: Response) -> String {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    match json
        .pointer("/error/message")
        .and_then(serde_json::Value::as_str)
    {
        Some(message) => message.to_owned(),
        None => format!("the server answered {status}: {text}"),
    }
}
