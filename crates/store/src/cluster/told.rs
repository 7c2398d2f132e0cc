//! What an executor says of a step that failed, through the scheduler, which hands on text alone.
//!
//! Invariant: an error that a query would have here has the same kind and the same words from there.

use ballista_core::error::BallistaError;
use datafusion::common::DataFusionError;

use crate::sql::{SqlError, failed, first_line};

/// What stands before the kind and the message, which is in hexadecimal digits: whatever is done to
/// the text on its way, these stay.
const MARK: &str = "tapewatch-told-";

/// The error with its kind and its message as [`of`] finds them. One of the network or of a disk stays
/// as it is: such a step is tried again.
pub(super) fn mark(error: DataFusionError) -> DataFusionError {
    let (kind, message) = match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref().and_then(within) {
            Some(told) => told,
            None => return error,
        },
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => return error,
        _ => match SqlError::of(error, "") {
            SqlError::Memory { message, .. } => ("memory", message),
            SqlError::Plan { message, .. } => ("plan", message),
            SqlError::Execution { message } => ("execution", message),
            other => ("execution", other.to_string()),
        },
    };
    let digits: String = message.bytes().map(|byte| format!("{byte:02x}")).collect();
    DataFusionError::Execution(format!("{MARK}{kind}-{digits}-"))
}

/// What Ballista has wrapped on its way out of a step.
fn within(error: &BallistaError) -> Option<(&'static str, String)> {
    let error = match error {
        BallistaError::ArrowError(_) => return Some(("execution", first_line(&error.to_string()))),
        BallistaError::DataFusionError(error) => error.find_root(),
        _ => return None,
    };
    let message = first_line(&error.strip_backtrace());
    match error {
        DataFusionError::External(inner) => inner.downcast_ref().and_then(within),
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => None,
        DataFusionError::ResourcesExhausted(message) => Some(("memory", first_line(message))),
        DataFusionError::Plan(_) => Some(("plan", message)),
        _ => Some(("execution", message)),
    }
}

/// What the scheduler says of a job that failed.
pub(super) fn of(text: &str) -> SqlError {
    marked(text).unwrap_or_else(|| SqlError::Cluster {
        message: first_line(text.trim()),
    })
}

fn marked(text: &str) -> Option<SqlError> {
    let (_, marked) = text.split_once(MARK)?;
    let mut parts = marked.splitn(3, '-');
    let (kind, digits) = (parts.next()?, parts.next()?);
    let pairs = digits.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let message = String::from_utf8(bytes.collect::<Option<_>>()?).ok()?;
    Some(match kind {
        "memory" => SqlError::Memory {
            message,
            limit: None,
        },
        "plan" => SqlError::Plan {
            message,
            place: None,
        },
        _ => SqlError::Execution {
            message: failed(message),
        },
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::error::ArrowError;

    use super::*;

    #[test]
    fn an_error_keeps_its_kind_and_its_words() {
        let divided = || DataFusionError::from(ArrowError::DivideByZero);
        let here = SqlError::of(divided(), "").to_string();
        let sent = format!("Job failed: Task failed: {:?}", mark(divided()));
        assert_eq!(of(&sent).to_string(), here);
        let full = DataFusionError::ResourcesExhausted("x-y \"z\"".to_owned());
        let sent = format!("{:?}", format!("{:?}", mark(full)));
        assert!(matches!(of(&sent), SqlError::Memory { message, .. } if message == "x-y \"z\""));
        let lost = of("all executors were lost\nand more");
        assert!(
            matches!(lost, SqlError::Cluster { message } if message == "all executors were lost")
        );
    }

    #[test]
    fn what_ballista_wraps_is_found() {
        let wrapped = BallistaError::from(ArrowError::DivideByZero).into_datafusion();
        let shared = DataFusionError::Shared(std::sync::Arc::new(wrapped));
        let here = SqlError::of(DataFusionError::from(ArrowError::DivideByZero), "");
        let sent = format!("{:?}", mark(shared));
        assert_eq!(of(&sent).to_string(), here.to_string());
    }

    #[test]
    fn what_may_be_tried_again_stays_as_it_is() {
        let away = DataFusionError::IoError(std::io::Error::other("away"));
        assert!(matches!(mark(away), DataFusionError::IoError(_)));
    }
}
