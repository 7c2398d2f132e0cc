//! Connections of an executor to who lends it rows, by the ways that the process gives.
//!
//! Invariant: all bytes go through the given way, and with it through TLS where that is set; a lender
//! that is silent is an error after a while, not a wait without end.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use arrow_flight::Ticket;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use datafusion::common::DataFusionError;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

/// How long a lender may take to answer, and between messages when it is asked whether it lives.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a message.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A connection.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + ?Sized> Pipe for T {}

/// Opens a connection to `host:port`, or says why it cannot.
type Dial = dyn Fn(String) -> BoxFuture<'static, Result<Box<dyn Pipe>, String>> + Send + Sync;

/// How other processes are reached.
#[derive(Clone)]
pub struct Dialer(Arc<Dial>);

impl Dialer {
    /// What opens a connection to `host:port`, or says why it cannot.
    pub fn new<F>(dial: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Box<dyn Pipe>, String>> + Send + 'static,
    {
        Self(Arc::new(move |address| Box::pin(dial(address))))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}

/// The same for gRPC.
struct Connector {
    dialer: Dialer,
    address: String,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Pipe>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _place: Uri) -> Self::Future {
        let opened = (self.dialer.0)(self.address.clone());
        Box::pin(async move { opened.await.map(TokioIo::new).map_err(io::Error::other) })
    }
}

/// The rows that are lent at a place under a ticket.
pub(super) async fn fetch(
    dialer: &Dialer,
    at: &str,
    ticket: String,
) -> Result<BoxStream<'static, Result<RecordBatch, DataFusionError>>, DataFusionError> {
    let place = at.to_owned();
    let failed = move |why: String| {
        // An executor may try again what is of input and output.
        let text = format!("rows that {place} lends cannot be read: {why}");
        DataFusionError::IoError(io::Error::other(text))
    };
    let endpoint = Endpoint::from_shared(format!("http://{at}"));
    let endpoint = endpoint.map_err(|error| failed(error.to_string()))?;
    let connector = Connector {
        dialer: dialer.clone(),
        address: at.to_owned(),
    };
    let connected = endpoint
        .connect_timeout(ANSWER_WITHIN)
        .http2_keep_alive_interval(ANSWER_WITHIN)
        .keep_alive_timeout(ANSWER_WITHIN)
        .connect_with_connector(connector)
        .await
        .map_err(|error| failed(whole(&error)))?;
    let mut client =
        FlightServiceClient::new(connected).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let asked = tokio::time::timeout(ANSWER_WITHIN, client.do_get(Ticket::new(ticket))).await;
    let answer = match asked {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Err(refused(&status, &failed)),
        Err(_) => return Err(failed("it does not answer".to_owned())),
    };
    let messages = answer.map_err(|status| FlightError::Tonic(Box::new(status)));
    let rows = FlightRecordBatchStream::new_from_flight_data(messages);
    let rows = rows.map_err(move |error| match error {
        FlightError::Tonic(status) => refused(&status, &failed),
        other => failed(other.to_string()),
    });
    Ok(Pin::from(Box::new(rows)).boxed())
}

/// What a lender refuses for good would fail again.
fn refused(status: &Status, failed: &impl Fn(String) -> DataFusionError) -> DataFusionError {
    let text = status.message().to_owned();
    match status.code() {
        Code::Aborted | Code::NotFound => DataFusionError::Execution(text),
        _ => failed(text),
    }
}

/// An error with what lies behind it.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
