//! Types of columns and of parameters, as Postgres clients know them.
//!
//! Invariant: a type says how its values are written, in text and in binary; a type of Arrow that
//! Postgres has no like for is written as JSON.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use pgwire::api::Type;

/// What the catalogue's columns say of themselves: an identifier of a type, a table, …
const IDENTIFIER: &str = "pg.oid_alias";
/// And a single letter.
const LETTER: &str = "pg.char";

/// The type that values of a column are given as.
pub(super) fn of_field(field: &Field) -> Type {
    let metadata: &HashMap<String, String> = field.metadata();
    if *field.data_type() == DataType::Int32 {
        match metadata.get(IDENTIFIER).map(String::as_str) {
            Some("oid") => return Type::OID,
            Some("regclass") => return Type::REGCLASS,
            Some("regtype") => return Type::REGTYPE,
            Some("regproc") => return Type::REGPROC,
            Some("regnamespace") => return Type::REGNAMESPACE,
            Some("regrole") => return Type::REGROLE,
            _ => {}
        }
    }
    if metadata.contains_key(LETTER) {
        return Type::CHAR;
    }
    of(field.data_type())
}

/// The type that values of a type of Arrow are given as.
pub(super) fn of(kind: &DataType) -> Type {
    match kind {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => Type::INT2,
        DataType::UInt16 | DataType::Int32 => Type::INT4,
        DataType::UInt32 | DataType::Int64 => Type::INT8,
        DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Decimal32(..) | DataType::Decimal64(..) => Type::NUMERIC,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Dictionary(_, values) => of(values),
        DataType::List(element) | DataType::LargeList(element) => of_list(element.data_type()),
        DataType::FixedSizeList(element, _) => of_list(element.data_type()),
        DataType::Struct(_) | DataType::Map(..) => Type::JSON,
        _ => Type::TEXT,
    }
}

fn of_list(element: &DataType) -> Type {
    match of(element) {
        Type::BOOL => Type::BOOL_ARRAY,
        Type::INT2 => Type::INT2_ARRAY,
        Type::INT4 => Type::INT4_ARRAY,
        Type::INT8 => Type::INT8_ARRAY,
        Type::NUMERIC => Type::NUMERIC_ARRAY,
        Type::FLOAT4 => Type::FLOAT4_ARRAY,
        Type::FLOAT8 => Type::FLOAT8_ARRAY,
        Type::TIMESTAMPTZ => Type::TIMESTAMPTZ_ARRAY,
        Type::TIMESTAMP => Type::TIMESTAMP_ARRAY,
        Type::DATE => Type::DATE_ARRAY,
        Type::TEXT => Type::TEXT_ARRAY,
        _ => Type::JSON,
    }
}

/// Bytes of a value, as `pg_type.typlen` has them: -1 where they differ.
pub(super) fn size(kind: &Type) -> i16 {
    match *kind {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID | Type::REGCLASS | Type::REGTYPE => 4,
        Type::REGPROC | Type::REGNAMESPACE | Type::REGROLE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => 8,
        Type::INTERVAL => 16,
        _ => -1,
    }
}

/// The modifier of a type: of decimals how many digits they have; -1 for none.
pub(super) fn modifier(kind: &DataType) -> i32 {
    match kind {
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            ((i32::from(*precision) << 16) | i32::from(*scale)) + 4
        }
        _ => -1,
    }
}

/// The type of Arrow that a parameter of this type is read as; `None` when there is none that is read
/// here.
pub(super) fn parameter(kind: u32) -> Option<Read> {
    Some(match Type::from_oid(kind)? {
        Type::BOOL => Read::Bool,
        Type::INT2 => Read::Int(2),
        Type::INT4 | Type::OID => Read::Int(4),
        Type::INT8 => Read::Int(8),
        Type::FLOAT4 => Read::Float(4),
        Type::FLOAT8 => Read::Float(8),
        Type::NUMERIC => Read::Numeric,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::JSON => {
            Read::Text
        }
        Type::UNKNOWN => Read::Bare,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => Read::Time,
        Type::DATE => Read::Date,
        Type::BYTEA => Read::Bytes,
        Type::BOOL_ARRAY => Read::List(&Read::Bool),
        Type::INT2_ARRAY => Read::List(&Read::Int(2)),
        Type::INT4_ARRAY => Read::List(&Read::Int(4)),
        Type::INT8_ARRAY => Read::List(&Read::Int(8)),
        Type::FLOAT4_ARRAY => Read::List(&Read::Float(4)),
        Type::FLOAT8_ARRAY => Read::List(&Read::Float(8)),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY => Read::List(&Read::Text),
        Type::TIMESTAMP_ARRAY | Type::TIMESTAMPTZ_ARRAY => Read::List(&Read::Time),
        Type::DATE_ARRAY => Read::List(&Read::Date),
        _ => return None,
    })
}

/// How a parameter is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Bool,
    /// Of so many bytes.
    Int(usize),
    Float(usize),
    Numeric,
    Text,
    /// A text, to be read as the type of its place.
    Bare,
    Time,
    Date,
    Bytes,
    List(&'static Read),
}

impl Read {
    /// The type of Arrow that its values have; decimals have their own.
    pub(super) fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int(_) => DataType::Int64,
            Self::Float(_) => DataType::Float64,
            Self::Numeric => DataType::Decimal128(38, 9),
            Self::Text | Self::Bare => DataType::Utf8,
            Self::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
            Self::Bytes => DataType::Binary,
            Self::List(element) => DataType::List(std::sync::Arc::new(Field::new_list_field(
                element.arrow(),
                true,
            ))),
        }
    }
}
