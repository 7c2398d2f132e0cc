//! `information_schema`: the tables, their columns and the schemas, with the names of types that
//! Postgres has.
//!
//! Invariant: it tells of the tables that queries see, and of nothing else.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::Result;
use datafusion::datasource::{MemTable, TableType};

use super::{CATALOG, INFORMATION_SCHEMA, Named, PG_CATALOG, SCHEMA};
use crate::postgres;

type Named1 = (&'static str, Arc<Named>);

/// The schema.
pub(super) fn schema(named: &[Named1]) -> Result<Arc<dyn SchemaProvider>> {
    let schema = MemorySchemaProvider::new();
    for (name, batch) in [
        ("schemata", schemata()?),
        ("tables", tables(named)?),
        ("views", views(named)?),
        ("columns", columns(named)?),
    ] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        schema.register_table(name.to_owned(), Arc::new(table))?;
    }
    Ok(Arc::new(schema))
}

/// A column of texts.
fn texts<'t>(texts: impl IntoIterator<Item = Option<&'t str>>) -> ArrayRef {
    Arc::new(texts.into_iter().collect::<StringArray>())
}

/// The same text so many times.
fn same(text: Option<&str>, count: usize) -> ArrayRef {
    texts(std::iter::repeat_n(text, count))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns
        .into_iter()
        .map(|(name, column)| (name, column, true));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn schemata() -> Result<RecordBatch> {
    let names = [INFORMATION_SCHEMA, PG_CATALOG, SCHEMA];
    batch(vec![
        ("catalog_name", same(Some(CATALOG), names.len())),
        ("schema_name", texts(names.map(Some))),
        ("schema_owner", same(Some(CATALOG), names.len())),
    ])
}

fn tables(named: &[Named1]) -> Result<RecordBatch> {
    let kinds = named.iter().map(|(_, table)| match table.kind {
        TableType::View => "VIEW",
        TableType::Base | TableType::Temporary => "BASE TABLE",
    });
    batch(vec![
        ("table_catalog", same(Some(CATALOG), named.len())),
        ("table_schema", same(Some(SCHEMA), named.len())),
        (
            "table_name",
            texts(named.iter().map(|(name, _)| Some(*name))),
        ),
        ("table_type", texts(kinds.map(Some))),
        ("is_insertable_into", same(Some("NO"), named.len())),
    ])
}

fn views(named: &[Named1]) -> Result<RecordBatch> {
    let views = named
        .iter()
        .filter(|(_, table)| table.kind == TableType::View);
    let names: Vec<_> = views.map(|(name, _)| Some(*name)).collect();
    batch(vec![
        ("table_catalog", same(Some(CATALOG), names.len())),
        ("table_schema", same(Some(SCHEMA), names.len())),
        ("view_definition", same(None, names.len())),
        ("is_updatable", same(Some("NO"), names.len())),
        ("table_name", texts(names)),
    ])
}

fn columns(named: &[Named1]) -> Result<RecordBatch> {
    let all: Vec<_> = named
        .iter()
        .flat_map(|(table, named)| {
            let fields = (1..).zip(named.schema.fields());
            fields.map(move |(number, field)| (*table, number, field))
        })
        .collect();
    let kinds: Vec<_> = all
        .iter()
        .map(|(_, _, field)| postgres::TypeNames::of(field.data_type()))
        .collect();
    let count = all.len();
    let of =
        |one: fn(&postgres::TypeNames) -> &str| texts(kinds.iter().map(|kind| Some(one(kind))));
    let numbers = |one: fn(&postgres::TypeNames) -> Option<i32>| -> ArrayRef {
        Arc::new(kinds.iter().map(one).collect::<Int32Array>())
    };
    let nullable = |nullable| if nullable { "YES" } else { "NO" };
    let nullables = all
        .iter()
        .map(|(_, _, field)| Some(nullable(field.is_nullable())));
    let names = all.iter().map(|(_, _, field)| Some(field.name().as_str()));
    let places: Int32Array = all.iter().map(|(_, number, _)| Some(*number)).collect();
    batch(vec![
        ("table_catalog", same(Some(CATALOG), count)),
        ("table_schema", same(Some(SCHEMA), count)),
        (
            "table_name",
            texts(all.iter().map(|(table, _, _)| Some(*table))),
        ),
        ("column_name", texts(names)),
        ("ordinal_position", Arc::new(places)),
        ("column_default", same(None, count)),
        ("is_nullable", texts(nullables)),
        ("data_type", of(|kind| &kind.long)),
        ("udt_name", of(|kind| &kind.short)),
        ("udt_schema", same(Some(PG_CATALOG), count)),
        ("udt_catalog", same(Some(CATALOG), count)),
        ("numeric_precision", numbers(|kind| kind.precision)),
        ("numeric_scale", numbers(|kind| kind.scale)),
        ("character_maximum_length", numbers(|_| None)),
        ("is_updatable", same(Some("NO"), count)),
    ])
}
