//! The three tables: their names, their columns in SQL and their columns on disk.
//!
//! Invariant: the disk has the same columns in the same order as SQL, except that a point in time
//! is whole nanoseconds there (`time_ns`), because Delta's own timestamps stop at microseconds.
//! These columns are a promise to every other reader of the Delta tables: they are only added to, at
//! the end, as columns that may be NULL.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::{ArrayType, DataType as DeltaType, PrimitiveType, StructField, StructType};

/// Column that the tables are partitioned by.
pub(crate) const PARTITION: &str = "date";

/// One of the three tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Orders,
    Hits,
    DeadLetters,
}

impl Table {
    /// In the order in which they are moved to history: what is referred to goes first.
    pub(crate) const ALL: [Self; 3] = [Self::Orders, Self::Hits, Self::DeadLetters];

    /// Name in SQL and of the directory.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Hits => "hits",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// Its columns in SQL and in memory.
    pub(crate) fn schema(self) -> SchemaRef {
        Arc::clone(match self {
            Self::Orders => &ORDERS,
            Self::Hits => &HITS,
            Self::DeadLetters => &DEAD_LETTERS,
        })
    }

    /// Its columns on disk.
    pub(crate) fn delta_columns(self) -> Vec<StructField> {
        self.schema()
            .fields()
            .iter()
            .map(|field| delta_column(field))
            .collect()
    }
}

/// A column on disk.
pub(crate) fn delta_column(field: &Field) -> StructField {
    StructField::new(
        disk_name(field),
        delta_type(field.data_type()),
        field.is_nullable(),
    )
}

/// One value for each table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PerTable<T> {
    pub(crate) orders: T,
    pub(crate) hits: T,
    pub(crate) dead_letters: T,
}

impl<T> PerTable<T> {
    pub(crate) fn get(&self, table: Table) -> &T {
        match table {
            Table::Orders => &self.orders,
            Table::Hits => &self.hits,
            Table::DeadLetters => &self.dead_letters,
        }
    }

    pub(crate) fn get_mut(&mut self, table: Table) -> &mut T {
        match table {
            Table::Orders => &mut self.orders,
            Table::Hits => &mut self.hits,
            Table::DeadLetters => &mut self.dead_letters,
        }
    }
}

/// Type of a point in time in SQL.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// Type of a price.
pub(crate) const PRICE: DataType = DataType::Decimal128(19, 9);
/// Type of a quantity.
pub(crate) const QUANTITY: DataType = DataType::Decimal128(19, 8);
/// Type of a measured value and of its threshold.
pub(crate) const MEASURED: DataType = DataType::Decimal128(38, 9);

/// Name of a column on disk.
pub(crate) fn disk_name(field: &Field) -> String {
    match field.data_type() {
        DataType::Timestamp(..) => format!("{}_ns", field.name()),
        _ => field.name().clone(),
    }
}

/// The fields of one measure.
pub(crate) fn measure_fields() -> Fields {
    Fields::from(vec![
        field("name", DataType::Utf8),
        field("value", MEASURED),
        field("threshold", MEASURED),
    ])
}

/// The element of a list column.
pub(crate) fn element(kind: DataType) -> Arc<Field> {
    Arc::new(field("element", kind))
}

fn field(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

/// What not every source tells, of orders and of the orders of hits: NULL where it is not told.
/// Behind all other columns, as in tables that were made before there were these.
pub(crate) const DETAILS: [(&str, DataType); 4] = [
    ("account", DataType::Utf8),
    ("exec_id", DataType::Utf8),
    ("display_quantity", QUANTITY),
    ("flags", DataType::Utf8),
];

fn details() -> impl Iterator<Item = Field> {
    DETAILS
        .into_iter()
        .map(|(name, kind)| Field::new(name, kind, true))
}

/// The columns that orders and hits have in common.
fn order_event() -> Vec<Field> {
    vec![
        field("sym", DataType::Utf8),
        field("event_type", DataType::Utf8),
        field("trader", DataType::Utf8),
        field("side", DataType::Utf8),
        field("order_id", DataType::Utf8),
        field("price", PRICE),
        field("quantity", QUANTITY),
    ]
}

static ORDERS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = vec![
        field("seq", DataType::Int64),
        field("time", time_type()),
        field(PARTITION, DataType::Date32),
    ];
    fields.extend(order_event());
    fields.extend(details());
    Arc::new(Schema::new(fields))
});

static HITS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let mut fields = vec![
        field("seq", DataType::Int64),
        field("time", time_type()),
        field(PARTITION, DataType::Date32),
        field("hit_id", DataType::Utf8),
        field("alert_id", DataType::Utf8),
        field("alert_hit", DataType::Int64),
        field("alert_time", time_type()),
        field("detector", DataType::Utf8),
        field("detector_version", DataType::Int32),
        field("config_version", DataType::Utf8),
    ];
    fields.extend(order_event());
    fields.extend([
        field(
            "measures",
            DataType::List(element(DataType::Struct(measure_fields()))),
        ),
        field("lookback_ns", DataType::Int64),
        field("evidence", DataType::List(element(DataType::Int64))),
        field("evidence_total", DataType::Int64),
        field("text", DataType::Utf8),
    ]);
    fields.extend(details());
    fields.push(Field::new("suppressed", DataType::Utf8, true));
    Arc::new(Schema::new(fields))
});

static DEAD_LETTERS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        field("seq", DataType::Int64),
        field("received", time_type()),
        field(PARTITION, DataType::Date32),
        field("source", DataType::Utf8),
        field("line", DataType::Int64),
        field("column", DataType::Utf8),
        field("reason", DataType::Utf8),
        field("raw", DataType::Utf8),
    ]))
});

fn delta_type(kind: &DataType) -> DeltaType {
    match kind {
        DataType::Int64 | DataType::Timestamp(..) => DeltaType::LONG,
        DataType::Int32 => DeltaType::INTEGER,
        DataType::Date32 => DeltaType::DATE,
        DataType::Utf8 => DeltaType::STRING,
        DataType::Decimal128(precision, scale) => {
            match PrimitiveType::decimal(*precision, scale.unsigned_abs()) {
                Ok(kind) => DeltaType::Primitive(kind),
                Err(error) => unreachable!("the tables' decimals are Delta's: {error}"),
            }
        }
        DataType::List(element) => DeltaType::Array(Box::new(ArrayType::new(
            delta_type(element.data_type()),
            element.is_nullable(),
        ))),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| {
                StructField::new(
                    field.name(),
                    delta_type(field.data_type()),
                    field.is_nullable(),
                )
            });
            match StructType::try_new(fields) {
                Ok(kind) => DeltaType::Struct(Box::new(kind)),
                Err(error) => unreachable!("a struct's names are distinct: {error}"),
            }
        }
        other => unreachable!("the tables have no column of type {other}"),
    }
}
