//! Orders out of the messages of a stream that a client puts.
//!
//! Invariant: a batch becomes orders whole, or a sentence that names the row and the column; what a
//! client sends is checked before it is believed, and what is kept between messages is bounded.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, BinaryArray};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{read_dictionary, read_record_batch};
use arrow::ipc::{DictionaryBatch, Message, MessageHeader, MetadataVersion, RecordBatch};
use arrow_flight::FlightData;
use tapewatch_model::OrderBatch;

use crate::order_file::OrderRows;

/// Rows in one batch: it is one bucket of the journal.
pub(super) const BATCH_ROWS_MAX: usize = 65_536;
/// Texts in one dictionary.
const DICTIONARY_MAX: usize = 1 << 20;

/// Reads the messages of one stream in order.
#[derive(Default)]
pub(super) struct Decoder {
    open: Option<Open>,
}

/// What holds once the schema is known.
struct Open {
    schema: SchemaRef,
    rows: OrderRows,
    dictionaries: HashMap<i64, ArrayRef>,
}

impl Decoder {
    /// The orders of a message, not numbered; `None` for one that only prepares the next.
    ///
    /// # Errors
    /// What is wrong, without a subject.
    pub(super) fn take(&mut self, data: &FlightData) -> Result<Option<OrderBatch>, String> {
        if data.data_header.is_empty() && data.data_body.is_empty() {
            return Ok(None);
        }
        let message = arrow::ipc::root_as_message(&data.data_header)
            .map_err(|error| format!("is no Arrow message: {error}"))?;
        if message.header_type() == MessageHeader::Schema {
            return self.begin(data).map(|()| None);
        }
        let open = self.open.as_mut().ok_or("came before any schema")?;
        let body = Buffer::from(data.data_body.clone());
        if let Some(dictionary) = message.header_as_dictionary_batch() {
            return open.dictionary(&message, dictionary, &body).map(|()| None);
        }
        let Some(batch) = message.header_as_record_batch() else {
            let kind = message.header_type().variant_name().unwrap_or("unknown");
            return Err(format!(
                "is a message of kind {kind}: a record batch is wanted"
            ));
        };
        open.orders(&message, batch, &body).map(Some)
    }

    fn begin(&mut self, data: &FlightData) -> Result<(), String> {
        if self.open.is_some() {
            return Err("brings another schema: open another stream for it".to_owned());
        }
        let schema = Schema::try_from(data).map_err(|error| format!("has no schema: {error}"))?;
        let rows = OrderRows::of(&schema)?;
        self.open = Some(Open {
            schema: Arc::new(schema),
            rows,
            dictionaries: HashMap::new(),
        });
        Ok(())
    }

    /// Whether the schema is known.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

impl Open {
    fn orders(
        &mut self,
        message: &Message<'_>,
        batch: RecordBatch<'_>,
        body: &Buffer,
    ) -> Result<OrderBatch, String> {
        let rows = usize::try_from(batch.length()).unwrap_or(usize::MAX);
        if rows > BATCH_ROWS_MAX {
            return Err(format!(
                "has {rows} rows: send at most {BATCH_ROWS_MAX} in a batch"
            ));
        }
        let (schema, version) = (Arc::clone(&self.schema), message.version());
        let read = read_record_batch(body, batch, schema, &self.dictionaries, None, &version);
        match read {
            Ok(batch) => self.rows.read(&batch).map_err(|error| error.to_string()),
            Err(error) => Err(self
                .not_utf8(batch, body, &version)
                .unwrap_or_else(|| unreadable(&error))),
        }
    }

    fn dictionary(
        &mut self,
        message: &Message<'_>,
        batch: DictionaryBatch<'_>,
        body: &Buffer,
    ) -> Result<(), String> {
        let version = message.version();
        let (schema, dictionaries) = (&self.schema, &mut self.dictionaries);
        if let Err(error) = read_dictionary(body, batch, schema, dictionaries, &version) {
            let mut raw = HashMap::new();
            let as_bytes = bytes_schema(schema);
            let bad = read_dictionary(body, batch, &as_bytes, &mut raw, &version).ok();
            let bad = bad.and_then(|()| first_not_utf8(raw.get(&batch.id())?));
            return Err(bad.map_or_else(
                || unreadable(&error),
                |at| format!("has a dictionary whose text {at} is not UTF-8"),
            ));
        }
        let longest = dictionaries.values().map(|values| values.len()).max();
        if longest > Some(DICTIONARY_MAX) {
            return Err(format!(
                "has a dictionary of more than {DICTIONARY_MAX} texts: send them as plain text"
            ));
        }
        Ok(())
    }

    /// Which text of a batch that cannot be read is not UTF-8, if one is.
    fn not_utf8(
        &self,
        batch: RecordBatch<'_>,
        body: &Buffer,
        version: &MetadataVersion,
    ) -> Option<String> {
        let schema = Arc::new(bytes_schema(&self.schema));
        let fields = self.schema.fields().iter().enumerate();
        fields
            .filter(|(_, field)| as_bytes(field.data_type()).is_some())
            .find_map(|(at, field)| {
                let (schema, dictionaries) = (Arc::clone(&schema), &self.dictionaries);
                let one = [at];
                let only = Some(&one[..]);
                let column =
                    read_record_batch(body, batch, schema, dictionaries, only, version).ok()?;
                let row = first_not_utf8(column.columns().first()?)?;
                Some(format!("row {row}: column {}: is not UTF-8", field.name()))
            })
    }
}

fn unreadable(error: &ArrowError) -> String {
    format!("cannot be read: {error}")
}

/// The first value that is no text.
fn first_not_utf8(column: &ArrayRef) -> Option<usize> {
    let bytes = cast(column, &DataType::Binary).ok()?;
    let bytes: &BinaryArray = bytes.as_binary();
    let bad = |row: &usize| bytes.is_valid(*row) && std::str::from_utf8(bytes.value(*row)).is_err();
    (0..bytes.len()).find(bad)
}

/// The same layout of bytes without the promise that they are text.
fn as_bytes(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Utf8 => DataType::Binary,
        DataType::LargeUtf8 => DataType::LargeBinary,
        DataType::Utf8View => DataType::BinaryView,
        _ => return None,
    })
}

fn bytes_schema(schema: &Schema) -> Schema {
    let field = |field: &FieldRef| -> Field {
        let kind = match field.data_type() {
            DataType::Dictionary(key, values) => {
                as_bytes(values).map(|values| DataType::Dictionary(key.clone(), Box::new(values)))
            }
            other => as_bytes(other),
        };
        match kind {
            Some(kind) => field.as_ref().clone().with_data_type(kind),
            None => field.as_ref().clone(),
        }
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}
