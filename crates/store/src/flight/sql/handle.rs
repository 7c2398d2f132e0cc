//! What a statement is called between the calls of a client: the statement itself.
//!
//! Invariant: a handle is all that is needed to run its statement, so that the process keeps nothing
//! of a client between its calls, and any process with the tables can answer each of them.

use std::io::Cursor;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::common::ScalarValue;
use tonic::Status;

use crate::query::{Door, Parameter, Request};

/// Longest handle: it travels back and forth.
const BYTES_MAX: usize = 2 << 20;

/// A statement with its id and the values that are bound to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Handle {
    pub(super) id: String,
    pub(super) query: String,
    /// One row, a column a value.
    pub(super) parameters: Option<RecordBatch>,
}

impl Handle {
    /// Length and bytes of the id, length and bytes of the statement, then the values as Arrow's stream.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Status> {
        let mut bytes = Vec::new();
        for text in [&self.id, &self.query] {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        if let Some(batch) = &self.parameters {
            let written = StreamWriter::try_new(&mut bytes, &batch.schema()).and_then(|mut out| {
                out.write(batch)?;
                out.finish()
            });
            written.map_err(|error| Status::internal(error.to_string()))?;
        }
        match bytes.len() {
            ..=BYTES_MAX => Ok(bytes),
            length => Err(Status::invalid_argument(format!(
                "the statement and its parameters have {length} bytes: at most {BYTES_MAX}"
            ))),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Status> {
        let wrong = || Status::invalid_argument("this is no handle of a statement of this server");
        let text = |bytes: &[u8]| -> Option<(String, usize)> {
            let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
            let text = bytes.get(4..length.checked_add(4)?)?;
            Some((String::from_utf8(text.to_vec()).ok()?, length + 4))
        };
        let (id, taken) = text(bytes).ok_or_else(wrong)?;
        let rest = bytes.get(taken..).unwrap_or_default();
        let (query, taken) = text(rest).ok_or_else(wrong)?;
        let rest = rest.get(taken..).unwrap_or_default();
        let parameters = match rest.is_empty() {
            true => None,
            false => {
                let mut batches =
                    StreamReader::try_new(Cursor::new(rest), None).map_err(|_| wrong())?;
                Some(batches.next().ok_or_else(wrong)?.map_err(|_| wrong())?)
            }
        };
        Ok(Self {
            id,
            query,
            parameters,
        })
    }

    pub(super) fn request(&self) -> Result<Request, Status> {
        let columns = self.parameters.iter().flat_map(RecordBatch::columns);
        let values = columns.map(|column| {
            if column.is_null(0) {
                return Ok(Parameter::null());
            }
            // A text is read as the type of its place, as clients bind decimals and times.
            match column.data_type() {
                DataType::Utf8 => Ok(Parameter::text(column.as_string::<i32>().value(0))),
                DataType::LargeUtf8 => Ok(Parameter::text(column.as_string::<i64>().value(0))),
                _ => ScalarValue::try_from_array(column, 0).map(Parameter::value),
            }
        });
        let parameters: Result<_, _> = values.collect();
        Ok(Request {
            parameters: parameters
                .map_err(|error| Status::invalid_argument(error.strip_backtrace()))?,
            id: Some(self.id.clone()),
            ..Request::new(Door::Flight, &*self.query)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn a_handle_comes_back_whole_or_is_refused() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let batch = RecordBatch::try_from_iter([("1", column)]).unwrap();
        for parameters in [None, Some(batch)] {
            let handle = Handle {
                id: "a-1".to_owned(),
                query: "select '€'".to_owned(),
                parameters,
            };
            let bytes = handle.encode().unwrap();
            assert_eq!(Handle::decode(&bytes).unwrap(), handle);
            for length in 0..bytes.len() {
                // Cut inside of the texts it is none; behind them the values may be missing.
                let cut = Handle::decode(&bytes[..length]);
                assert!(cut.is_err() || length >= 20, "{length}");
            }
        }
        assert!(Handle::decode(&[255; 40]).is_err());
    }
}
