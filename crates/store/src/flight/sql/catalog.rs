//! What Flight SQL clients ask about the server and its tables.
//!
//! Invariant: the names and columns are those that a query has.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Command, Nullable, Searchable, SqlInfo, SqlSupportedCaseSensitivity, SqlSupportedTransaction,
    XdbcDataType,
};
use tonic::Status;

use super::{described, internal};
use crate::query::Door;
use crate::sql::{CATALOG, NAMES, SCHEMA, TABLES};
use crate::store::Store;

/// Types of the columns, with how many digits or characters they hold.
const TYPES: [(&str, XdbcDataType, Option<i32>, bool); 8] = [
    ("BIGINT", XdbcDataType::XdbcBigint, Some(19), false),
    ("INTEGER", XdbcDataType::XdbcInteger, Some(10), false),
    ("DOUBLE", XdbcDataType::XdbcDouble, Some(15), false),
    ("DECIMAL", XdbcDataType::XdbcDecimal, Some(38), false),
    ("VARCHAR", XdbcDataType::XdbcVarchar, None, true),
    ("BOOLEAN", XdbcDataType::XdbcBit, Some(1), false),
    ("DATE", XdbcDataType::XdbcDate, Some(10), true),
    ("TIMESTAMP", XdbcDataType::XdbcTimestamp, Some(30), true),
];

/// The columns of the answer to a question about the catalogue; `None` when it is none.
pub(super) fn schema(command: Command) -> Result<Option<SchemaRef>, Status> {
    Ok(Some(match command {
        Command::CommandGetCatalogs(command) => command.into_builder().schema(),
        Command::CommandGetDbSchemas(command) => command.into_builder().schema(),
        Command::CommandGetTables(command) => command.into_builder().schema(),
        Command::CommandGetTableTypes(command) => command.into_builder().schema(),
        Command::CommandGetSqlInfo(command) => {
            command.into_builder(&info().map_err(internal)?).schema()
        }
        Command::CommandGetXdbcTypeInfo(command) => {
            command.into_builder(&types().map_err(internal)?).schema()
        }
        _ => return Ok(None),
    }))
}

/// The answer; `None` when it is no question about the catalogue.
pub(super) async fn answer(store: &Store, command: Command) -> Result<Option<RecordBatch>, Status> {
    let answer = match command {
        Command::CommandGetCatalogs(command) => {
            let mut builder = command.into_builder();
            builder.append(CATALOG);
            builder.build()
        }
        Command::CommandGetDbSchemas(command) => {
            let mut builder = command.into_builder();
            builder.append(CATALOG, SCHEMA);
            builder.build()
        }
        Command::CommandGetTables(command) => {
            let mut builder = command.into_builder();
            for name in NAMES {
                let columns = store
                    .describe(Door::Flight, &format!("SELECT * FROM \"{name}\""), &[])
                    .await?;
                let kind = if TABLES.contains(&name) {
                    "TABLE"
                } else {
                    "VIEW"
                };
                let columns = described(&columns.schema);
                builder
                    .append(CATALOG, SCHEMA, name, kind, &columns)
                    .map_err(internal)?;
            }
            builder.build()
        }
        Command::CommandGetTableTypes(command) => {
            let mut builder = command.into_builder();
            ["TABLE", "VIEW"]
                .into_iter()
                .for_each(|kind| builder.append(kind));
            builder.build()
        }
        Command::CommandGetSqlInfo(command) => {
            command.into_builder(&info().map_err(internal)?).build()
        }
        Command::CommandGetXdbcTypeInfo(command) => {
            command.into_builder(&types().map_err(internal)?).build()
        }
        _ => return Ok(None),
    };
    answer.map(Some).map_err(internal)
}

fn info() -> Result<SqlInfoData, FlightError> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Tapewatch");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    let none = SqlSupportedTransaction::None as i32;
    info.append(SqlInfo::FlightSqlServerTransaction, none);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    let as_written =
        i64::from(SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32);
    info.append(SqlInfo::SqlIdentifierCase, as_written);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.build()
}

fn types() -> Result<XdbcTypeInfoData, FlightError> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, kind, size, quoted) in TYPES {
        let quote = quoted.then(|| "'".to_owned());
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type: kind,
            column_size: size,
            literal_prefix: quote.clone(),
            literal_suffix: quote,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: name == "VARCHAR",
            searchable: Searchable::Full,
            unsigned_attribute: size.filter(|_| !quoted).map(|_| false),
            sql_data_type: kind,
            num_prec_radix: size.filter(|_| !quoted).map(|_| 10),
            ..XdbcTypeInfo::default()
        });
    }
    types.build()
}
