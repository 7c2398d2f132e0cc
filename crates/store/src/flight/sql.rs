//! Flight SQL: statements, prepared statements, questions about the catalogue, and cancelling.
//!
//! ```text
//! GetFlightInfo(statement) ──► handle in a ticket ──► DoGet ──► query ──► batches
//! CreatePreparedStatement ──► handle ──► DoPut(values) ──► handle with values ──► GetFlightInfo …
//! ```
//!
//! Invariant: it only reads, and keeps nothing between calls; a query runs from its DoGet on, under the
//! id in its handle, and ends with the stream.

mod catalog;
mod handle;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, Command, DoPutPreparedStatementResult,
    ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightData,
    FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, PutResult, SchemaAsIpc,
    Ticket as FlightTicket,
};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use prost::Message as _;
use tonic::{Code, Status};

use super::encode::{self, Encoder};
use crate::query::{Description, Door};
use crate::sql::SqlError;
use crate::store::Store;
use handle::Handle;

/// How the types of all commands are called.
const PREFIX: &str = "type.googleapis.com/arrow.flight.protocol.sql.";
/// What there is to do beside statements, and what each is for.
pub(super) const ACTIONS: [(&str, &str); 4] = [
    (
        "CreatePreparedStatement",
        "Checks a statement and gives a handle for it.",
    ),
    ("ClosePreparedStatement", "Nothing: no statement is kept."),
    ("CancelFlightInfo", "Ends the query of a FlightInfo."),
    ("CancelQuery", "The same, as older clients say it."),
];
/// Bytes of a message: clients take 4 MiB unless they say more.
const MESSAGE_BYTES: usize = 2 << 20;

impl From<SqlError> for Status {
    fn from(error: SqlError) -> Self {
        let code = match &error {
            SqlError::Memory { .. } | SqlError::Rows { .. } => Code::ResourceExhausted,
            SqlError::Timeout { .. } => Code::DeadlineExceeded,
            SqlError::Cancelled { .. } => Code::Cancelled,
            SqlError::Busy { .. } | SqlError::Cluster { .. } => Code::Unavailable,
            SqlError::Broken { .. } | SqlError::Write(_) => Code::Internal,
            SqlError::Syntax { .. }
            | SqlError::Plan { .. }
            | SqlError::ReadOnly { .. }
            | SqlError::Request { .. }
            | SqlError::Execution { .. } => Code::InvalidArgument,
        };
        Self::new(code, error.to_string())
    }
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

/// Whether a command or a ticket is one of Flight SQL.
pub(super) fn is_sql(bytes: &[u8]) -> bool {
    Any::decode(bytes).is_ok_and(|any| any.type_url.starts_with(PREFIX))
}

fn command(bytes: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Command::try_from(any).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn unknown(command: &Command) -> Status {
    let name = command.type_url().trim_start_matches(PREFIX);
    match name {
        "CommandStatementUpdate" | "CommandPreparedStatementUpdate" | "CommandStatementIngest" => {
            Status::invalid_argument(
                "only queries are allowed: publish orders with DoPut and the path orders",
            )
        }
        name => Status::unimplemented(format!("{name} is not known here")),
    }
}

/// The columns as clients get them: any may be NULL, and texts are plain.
fn described(schema: &Schema) -> Schema {
    let plain = |kind: &DataType| match kind {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) if **values == DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        kind => kind.clone(),
    };
    let fields = schema.fields().iter();
    let fields = fields.map(|field| Field::new(field.name(), plain(field.data_type()), true));
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), HashMap::new())
}

fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(internal)?;
    Ok(bytes)
}

/// What a statement gives, or a question about the catalogue.
pub(super) async fn info(
    store: &Store,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let asked = command(&descriptor.cmd)?;
    let (handle, schema) = match asked {
        Command::CommandStatementQuery(command) => {
            let handle = Handle {
                id: store.new_query_id(),
                query: command.query,
                parameters: None,
            };
            let schema = describe(store, &handle).await?.schema;
            (Some(handle), described(&schema))
        }
        Command::CommandPreparedStatementQuery(command) => {
            let mut handle = Handle::decode(&command.prepared_statement_handle)?;
            handle.id = store.new_query_id();
            let schema = describe(store, &handle).await?.schema;
            (Some(handle), described(&schema))
        }
        other => match catalog::schema(other.clone())? {
            Some(schema) => (None, Schema::clone(&schema)),
            None => return Err(unknown(&other)),
        },
    };
    let (ticket, id) = match handle {
        None => (descriptor.cmd.clone(), String::new()),
        Some(handle) => {
            let statement_handle = handle.encode()?.into();
            let ticket = TicketStatementQuery { statement_handle };
            (ticket.as_any().encode_to_vec().into(), handle.id)
        }
    };
    let endpoint = FlightEndpoint::new().with_ticket(FlightTicket { ticket });
    Ok(FlightInfo::new()
        .try_with_schema(&schema)
        .map_err(internal)?
        .with_descriptor(descriptor)
        .with_app_metadata(id)
        .with_ordered(true)
        .with_endpoint(endpoint))
}

async fn describe(store: &Store, handle: &Handle) -> Result<Description, Status> {
    let request = handle.request()?;
    Ok(store
        .describe(Door::Flight, &request.text, &request.parameters)
        .await?)
}

/// The rows that a ticket is for.
pub(super) async fn rows(
    store: &Store,
    ticket: &[u8],
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Status> {
    let handle = match command(ticket)? {
        Command::TicketStatementQuery(ticket) => Handle::decode(&ticket.statement_handle)?,
        asked => {
            let batch = catalog::answer(store, asked.clone()).await?;
            let batch = batch.ok_or_else(|| unknown(&asked))?;
            let mut messages = vec![encode::schema(&batch.schema())];
            messages.extend(Encoder::default().rows(&batch).map_err(internal)?);
            return Ok(stream::iter(messages.into_iter().map(Ok)).boxed());
        }
    };
    let result = store.query(handle.request()?).await?;
    let schema = Arc::new(described(result.schema()));
    let first = encode::schema(&schema);
    let state = (result, schema, Encoder::default());
    let rest = stream::try_unfold(state, |(mut result, schema, mut encoder)| async move {
        let Some(batch) = result.next().await? else {
            return Ok::<_, SqlError>(None);
        };
        let messages = messages(&batch, &schema, &mut encoder);
        let messages = messages.map_err(|message| SqlError::Execution { message })?;
        Ok(Some((messages, (result, schema, encoder))))
    });
    // Encoding belongs to the work of the query.
    let rest = store.pump(rest).map_err(Status::from);
    let rest = rest
        .map_ok(|messages| stream::iter(messages.into_iter().map(Ok)))
        .try_flatten();
    Ok(stream::once(async move { Ok(first) }).chain(rest).boxed())
}

/// A batch as messages that every client takes.
fn messages(
    batch: &RecordBatch,
    schema: &SchemaRef,
    encoder: &mut Encoder,
) -> Result<Vec<FlightData>, String> {
    let text = |error: arrow::error::ArrowError| error.to_string();
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(text)?;
    let bytes = columns
        .iter()
        .map(|column| column.to_data().get_slice_memory_size());
    let bytes: usize = bytes.sum::<Result<_, _>>().map_err(text)?;
    let batch = RecordBatch::try_new(Arc::clone(schema), columns).map_err(text)?;
    let parts = bytes.div_ceil(MESSAGE_BYTES).max(1);
    let size = batch.num_rows().div_ceil(parts).max(1);
    let mut messages = Vec::new();
    let mut from = 0;
    while from < batch.num_rows() {
        let rows = size.min(batch.num_rows() - from);
        messages.extend(encoder.rows(&batch.slice(from, rows)).map_err(text)?);
        from += rows;
    }
    Ok(messages)
}

/// Binds values to a prepared statement: a new handle, with them inside.
pub(super) async fn bind(
    descriptor: &FlightDescriptor,
    input: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<PutResult, Status> {
    let asked = command(&descriptor.cmd)?;
    let Command::CommandPreparedStatementQuery(statement) = asked else {
        return Err(unknown(&asked));
    };
    let mut handle = Handle::decode(&statement.prepared_statement_handle)?;
    let input = input.map_err(|status| FlightError::Tonic(Box::new(status)));
    let mut batches = FlightRecordBatchStream::new_from_flight_data(input);
    let mut rows = None;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(Status::from)?;
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_rows() > 1 || rows.is_some() {
            let text = "a statement is run with one row of parameters at a time";
            return Err(Status::invalid_argument(text));
        }
        rows = Some(batch);
    }
    handle.parameters = rows;
    let answer = DoPutPreparedStatementResult {
        prepared_statement_handle: Some(handle.encode()?.into()),
    };
    Ok(PutResult {
        app_metadata: answer.encode_to_vec().into(),
    })
}

/// Does one of the [`ACTIONS`]: what is answered.
pub(super) async fn action(store: &Store, action: Action) -> Result<Option<Bytes>, Status> {
    let wrong = |error: prost::DecodeError| Status::invalid_argument(error.to_string());
    match action.r#type.as_str() {
        "CreatePreparedStatement" => {
            let any = Any::decode(action.body).map_err(wrong)?;
            let asked: Option<ActionCreatePreparedStatementRequest> =
                any.unpack().map_err(internal)?;
            let asked = asked.ok_or_else(|| Status::invalid_argument("no statement"))?;
            prepare(store, asked.query).await.map(Some)
        }
        "ClosePreparedStatement" => Ok(None),
        "CancelFlightInfo" => {
            let asked = CancelFlightInfoRequest::decode(action.body).map_err(wrong)?;
            cancel(store, asked.info)?;
            let status = CancelStatus::Cancelled.into();
            Ok(Some(
                CancelFlightInfoResult { status }.encode_to_vec().into(),
            ))
        }
        "CancelQuery" => {
            let any = Any::decode(action.body).map_err(wrong)?;
            let asked: Option<ActionCancelQueryRequest> = any.unpack().map_err(internal)?;
            let info = asked
                .map(|asked| FlightInfo::decode(asked.info))
                .transpose();
            cancel(store, info.map_err(wrong)?)?;
            let result = ActionCancelQueryResult {
                result: CancelStatus::Cancelled.into(),
            };
            Ok(Some(result.as_any().encode_to_vec().into()))
        }
        other => Err(Status::unimplemented(format!("there is no action {other}"))),
    }
}

async fn prepare(store: &Store, query: String) -> Result<Bytes, Status> {
    let description = store.describe(Door::Flight, &query, &[]).await?;
    let handle = Handle {
        id: String::new(),
        query,
        parameters: None,
    };
    let fields = (1..).zip(&description.parameters).map(|(number, kind)| {
        // A place of which nothing is known takes what a client binds.
        let kind = kind.clone().unwrap_or(DataType::Null);
        Field::new(format!("${number}"), kind, true)
    });
    let fields: Vec<_> = fields.collect();
    let result = ActionCreatePreparedStatementResult {
        prepared_statement_handle: handle.encode()?.into(),
        dataset_schema: ipc(&described(&description.schema))?,
        parameter_schema: ipc(&Schema::new(fields))?,
    };
    Ok(result.as_any().encode_to_vec().into())
}

fn cancel(store: &Store, info: Option<FlightInfo>) -> Result<(), Status> {
    let endpoint = info.and_then(|info| info.endpoint.into_iter().next());
    let ticket = endpoint
        .and_then(|endpoint| endpoint.ticket)
        .unwrap_or_default();
    let Command::TicketStatementQuery(ticket) = command(&ticket.ticket)? else {
        return Err(Status::invalid_argument(
            "this FlightInfo is not that of a statement",
        ));
    };
    let id = Handle::decode(&ticket.statement_handle)?.id;
    match store.cancel_query(&id) {
        true => Ok(()),
        false => Err(Status::not_found(format!("no query {id} waits or runs"))),
    }
}
