//! The gRPC service: which call does what.
//!
//! Invariant: what a call needs is checked before its stream begins; streams and messages have limits.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaAsIpc,
    SchemaResult, Ticket as FlightTicket,
};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use super::encode::{self, Encoder};
use super::topic::{Ticket, Topic, no_table};
use super::{Desk, Part, Refusal, Rows, StoredRows, as_topic, lent, put, schema_of, sql};

/// Where the service is to be mounted: everything below it.
pub const FLIGHT_PATH: &str = "/arrow.flight.protocol.FlightService";
/// Bytes of a message that a client sends.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Streams that publish at a time.
const PUTS_MAX: usize = 256;

/// A stream of an answer.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + 'static>>;

/// The Flight service before a desk, to be mounted below [`FLIGHT_PATH`].
pub fn service<D, B>(
    desk: D,
) -> impl tonic::codegen::Service<
    tonic::codegen::http::Request<B>,
    Response = tonic::codegen::http::Response<tonic::body::Body>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ Sync
+ 'static
where
    D: Desk,
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<tonic::codegen::StdError> + Send + 'static,
{
    let puts = Arc::new(Semaphore::new(PUTS_MAX));
    FlightServiceServer::new(Flight { desk, puts })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

struct Flight<D> {
    desk: D,
    puts: Arc<Semaphore>,
}

impl<D: Desk> Flight<D> {
    fn subscribe(&self, ticket: Ticket) -> Result<Answers<FlightData>, Status> {
        let schema = schema_of(ticket.table);
        let first = encode::schema(&schema);
        let messages = Messages {
            parts: self.desk.subscribe(ticket)?,
            schema,
            encoder: Encoder::default(),
            stored: None,
        };
        let rest = stream::try_unfold(messages, Messages::next).map_ok(stream::iter);
        let rest = rest.map_ok(|messages| messages.map(Ok)).try_flatten();
        let first = stream::once(async move { Ok(first) });
        Ok(Box::pin(first.chain(rest)))
    }
}

/// The messages of one subscription.
struct Messages {
    parts: BoxStream<'static, Result<Part, Refusal>>,
    schema: SchemaRef,
    encoder: Encoder,
    /// The part of stored rows that is being read.
    stored: Option<Stored>,
}

struct Stored {
    result: StoredRows,
    next_seq: u64,
    /// The last message so far: only the last of all tells where to go on.
    held: Option<FlightData>,
}

impl Messages {
    /// The next messages, a batch or so; `None` at the end.
    async fn next(mut self) -> Result<Option<(Vec<FlightData>, Self)>, Status> {
        let internal = |error: arrow::error::ArrowError| Status::internal(error.to_string());
        let Some(mut stored) = self.stored.take() else {
            let Some(part) = self.parts.next().await else {
                return Ok(None);
            };
            let Part { rows, next_seq } = part?;
            let messages = match rows {
                Rows::Orders(orders) => self.encoder.orders(&orders, next_seq).map_err(internal)?,
                Rows::Stored(result) => {
                    self.stored = Some(Stored {
                        result,
                        next_seq,
                        held: None,
                    });
                    Vec::new()
                }
            };
            return Ok(Some((messages, self)));
        };
        let Some(batch) = stored.result.next().await.map_err(Refusal::from)? else {
            let last = stored.held.map(|mut last| {
                last.app_metadata = encode::position(stored.next_seq);
                last
            });
            return Ok(Some((last.into_iter().collect(), self)));
        };
        let batch = as_topic(&batch, &self.schema).map_err(internal)?;
        let mut messages: Vec<FlightData> = stored.held.take().into_iter().collect();
        messages.extend(self.encoder.rows(&batch).map_err(internal)?);
        stored.held = messages.pop();
        self.stored = Some(stored);
        Ok(Some((messages, self)))
    }
}

/// The answers to a stream: of one that binds values to a statement, or that publishes.
async fn answers<D: Desk>(
    desk: D,
    mut input: Streaming<FlightData>,
    seat: OwnedSemaphorePermit,
) -> Result<Answers<PutResult>, Status> {
    let first = tokio::select! {
        first = input.message() => first?,
        () = desk.stopped() => None,
    };
    let descriptor = first
        .as_ref()
        .and_then(|first| first.flight_descriptor.clone());
    let input = stream::iter(first.map(Ok)).chain(input).boxed();
    match descriptor {
        Some(descriptor) if sql::is_sql(&descriptor.cmd) => {
            let bound = sql::bind(&descriptor, input).await;
            Ok(Box::pin(stream::iter([bound])))
        }
        _ => Ok(Box::pin(put::answers(desk, input, seat))),
    }
}

/// What a descriptor asks for: a table by its path, or a ticket as its command.
pub(super) fn ticket_of(descriptor: &FlightDescriptor) -> Result<Ticket, Refusal> {
    if descriptor.r#type() == DescriptorType::Cmd {
        return Ticket::parse(&descriptor.cmd);
    }
    let named = |topic: &Topic| descriptor.path == [topic.name()];
    let topic = Topic::ALL.into_iter().find(named);
    let topic = topic.ok_or_else(|| no_table(descriptor.path.join("/")));
    topic.map(Ticket::of)
}

fn info(ticket: &Ticket, bytes: Vec<u8>) -> Result<FlightInfo, Status> {
    let schema = schema_of(ticket.table);
    let internal = |error: arrow::error::ArrowError| Status::internal(error.to_string());
    let endpoint = FlightEndpoint::new().with_ticket(FlightTicket::new(bytes));
    let path = vec![ticket.table.name().to_owned()];
    Ok(FlightInfo::new()
        .try_with_schema(&schema)
        .map_err(internal)?
        .with_descriptor(FlightDescriptor::new_path(path))
        .with_ordered(true)
        .with_endpoint(endpoint))
}

fn ticket_bytes(descriptor: &FlightDescriptor, ticket: &Ticket) -> Vec<u8> {
    match descriptor.r#type() {
        DescriptorType::Cmd => descriptor.cmd.to_vec(),
        _ => format!("{{\"table\":\"{}\"}}", ticket.table.name()).into_bytes(),
    }
}

#[tonic::async_trait]
impl<D: Desk> FlightService for Flight<D> {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<ActionResult>;
    type ListActionsStream = Answers<ActionType>;

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented(
            "no handshake is needed: identity is the client's certificate",
        ))
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        let infos = Topic::ALL.map(|topic| {
            let ticket = Ticket::of(topic);
            let descriptor = FlightDescriptor::new_path(vec![topic.name().to_owned()]);
            info(&ticket, ticket_bytes(&descriptor, &ticket))
        });
        Ok(Response::new(Box::pin(stream::iter(infos))))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let descriptor = request.into_inner();
        if sql::is_sql(&descriptor.cmd) {
            return sql::info(&self.desk.tables()?, descriptor)
                .await
                .map(Response::new);
        }
        let ticket = ticket_of(&descriptor)?;
        info(&ticket, ticket_bytes(&descriptor, &ticket)).map(Response::new)
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented(
            "ask GetFlightInfo: it answers at once",
        ))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let descriptor = request.into_inner();
        if sql::is_sql(&descriptor.cmd) {
            let schema = sql::info(&self.desk.tables()?, descriptor).await?.schema;
            return Ok(Response::new(SchemaResult { schema }));
        }
        let schema = schema_of(ticket_of(&descriptor)?.table);
        let options = IpcWriteOptions::default();
        SchemaAsIpc::new(&schema, &options)
            .try_into()
            .map(Response::new)
            .map_err(|error: arrow::error::ArrowError| Status::internal(error.to_string()))
    }

    async fn do_get(
        &self,
        request: Request<FlightTicket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let ticket = request.into_inner().ticket;
        if sql::is_sql(&ticket) {
            let rows = sql::rows(&self.desk.tables()?, &ticket).await?;
            return Ok(Response::new(rows));
        }
        if let Some(rows) = lent::rows(&self.desk, &ticket) {
            return rows.map(Response::new);
        }
        let ticket = Ticket::parse(&ticket)?;
        self.subscribe(ticket).map(Response::new)
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let seat = Arc::clone(&self.puts).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("{PUTS_MAX} streams publish already: close one"))
        })?;
        let (desk, input) = (self.desk.clone(), request.into_inner());
        let answers = stream::once(async move { answers(desk, input, seat).await });
        Ok(Response::new(Box::pin(answers.try_flatten())))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let mut input = request.into_inner();
        let first = input.message().await?;
        let descriptor = first
            .and_then(|first| first.flight_descriptor)
            .ok_or_else(|| {
                Status::invalid_argument(
                    "the first message has no descriptor: say there what is wanted",
                )
            })?;
        let rows = self.subscribe(ticket_of(&descriptor)?)?;
        // The client's side stays open as long as the rows flow; what it says is not read.
        let rows = rows.inspect(move |_| {
            let _ = &input;
        });
        Ok(Response::new(Box::pin(rows)))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let body = sql::action(&self.desk.tables()?, request.into_inner()).await?;
        let answers = body.into_iter().map(|body| Ok(ActionResult { body }));
        Ok(Response::new(Box::pin(stream::iter(answers))))
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = sql::ACTIONS.map(|(name, does)| {
            Ok(ActionType {
                r#type: name.to_owned(),
                description: does.to_owned(),
            })
        });
        Ok(Response::new(Box::pin(stream::iter(actions))))
    }
}
