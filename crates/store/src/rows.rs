//! Hits and dead letters as Arrow columns, and orders back from them.
//!
//! Invariant: a row goes in and comes out the same to the last nanosecond and digit; the columns
//! are those of [`Table::schema`].

use arrow::array::{
    Array as _, ArrayBuilder, ArrayRef, Date32Builder, Decimal128Array, Decimal128Builder,
    Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StructBuilder, TimestampNanosecondBuilder,
};
use arrow::datatypes::DataType;
use tapewatch_model::{
    DeadLetter, Details, EventType, Flags, Hit, Price, Quantity, RowRef, Side, Time,
};

use crate::order_arrays::told;
use crate::schema::{MEASURED, PRICE, QUANTITY, Table, element, measure_fields, time_type};

/// Rows of one table that are being collected in Arrow's columns.
pub(crate) trait Rows: Default {
    /// The table.
    const TABLE: Table;

    /// The columns' builders, in the table's order.
    fn builders(&mut self) -> Vec<&mut dyn ArrayBuilder>;

    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether it is large enough to be sealed.
    fn is_full(&self) -> bool;

    /// The rows so far, copied.
    fn copy(&mut self) -> RecordBatch {
        let columns = self.builders();
        batch(
            Self::TABLE,
            columns.into_iter().map(|c| c.finish_cloned()).collect(),
        )
    }

    /// The rows so far, taken.
    fn take(&mut self) -> RecordBatch {
        let columns = self.builders();
        batch(
            Self::TABLE,
            columns.into_iter().map(|c| c.finish()).collect(),
        )
    }
}

fn batch(table: Table, columns: Vec<ArrayRef>) -> RecordBatch {
    match RecordBatch::try_new(table.schema(), columns) {
        Ok(batch) => batch,
        Err(error) => unreachable!("the builders are those of {}: {error}", table.name()),
    }
}

/// Rows in a sealed chunk: a query copies at most one chunk that is still open, in less than a
/// millisecond.
pub(crate) const CHUNK_ROWS: usize = 16_384;

/// Evidence numbers in a sealed chunk of hits.
const CHUNK_EVIDENCE: usize = 262_144;

/// The columns that hits and orders have in common.
struct EventRows {
    seq: Int64Builder,
    time: TimestampNanosecondBuilder,
    date: Date32Builder,
    sym: StringBuilder,
    event_type: StringBuilder,
    trader: StringBuilder,
    side: StringBuilder,
    order_id: StringBuilder,
    price: Decimal128Builder,
    quantity: Decimal128Builder,
    account: StringBuilder,
    exec_id: StringBuilder,
    display: Decimal128Builder,
    flags: StringBuilder,
}

fn times() -> TimestampNanosecondBuilder {
    TimestampNanosecondBuilder::new().with_data_type(time_type())
}

fn decimals(kind: DataType) -> Decimal128Builder {
    Decimal128Builder::new().with_data_type(kind)
}

impl Default for EventRows {
    fn default() -> Self {
        Self {
            seq: Int64Builder::new(),
            time: times(),
            date: Date32Builder::new(),
            sym: StringBuilder::new(),
            event_type: StringBuilder::new(),
            trader: StringBuilder::new(),
            side: StringBuilder::new(),
            order_id: StringBuilder::new(),
            price: decimals(PRICE),
            quantity: decimals(QUANTITY),
            account: StringBuilder::new(),
            exec_id: StringBuilder::new(),
            display: decimals(QUANTITY),
            flags: StringBuilder::new(),
        }
    }
}

impl EventRows {
    fn push(&mut self, seq: u64, row: &RowRef<'_>) {
        self.seq.append_value(seq.cast_signed());
        self.time.append_value(row.time.nanos());
        self.date.append_value(row.time.date().days());
        self.sym.append_value(row.sym);
        self.event_type.append_value(row.event_type.name());
        self.trader.append_value(row.trader);
        self.side.append_value(row.side.name());
        self.order_id.append_value(row.order_id);
        self.price.append_value(row.price.units().into());
        self.quantity.append_value(row.quantity.units().into());
        let details = &row.details;
        self.account.append_option(told(details.account));
        self.exec_id.append_option(told(details.exec_id));
        let display = details.display.map(|display| display.units().into());
        self.display.append_option(display);
        self.flags.append_option(told(&details.flags.to_string()));
    }
}

/// Hits that are being collected.
pub(crate) struct HitRows {
    event: EventRows,
    hit_id: StringBuilder,
    alert_id: StringBuilder,
    alert_hit: Int64Builder,
    alert_time: TimestampNanosecondBuilder,
    detector: StringBuilder,
    detector_version: Int32Builder,
    config_version: StringBuilder,
    measures: ListBuilder<StructBuilder>,
    lookback: Int64Builder,
    evidence: ListBuilder<Int64Builder>,
    evidence_total: Int64Builder,
    text: StringBuilder,
    suppressed: StringBuilder,
}

impl Default for HitRows {
    fn default() -> Self {
        let measure: Vec<Box<dyn ArrayBuilder>> = vec![
            Box::new(StringBuilder::new()),
            Box::new(decimals(MEASURED)),
            Box::new(decimals(MEASURED)),
        ];
        let measure = StructBuilder::new(measure_fields(), measure);
        Self {
            event: EventRows::default(),
            hit_id: StringBuilder::new(),
            alert_id: StringBuilder::new(),
            alert_hit: Int64Builder::new(),
            alert_time: times(),
            detector: StringBuilder::new(),
            detector_version: Int32Builder::new(),
            config_version: StringBuilder::new(),
            measures: ListBuilder::new(measure)
                .with_field(element(DataType::Struct(measure_fields()))),
            lookback: Int64Builder::new(),
            evidence: ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64)),
            evidence_total: Int64Builder::new(),
            text: StringBuilder::new(),
            suppressed: StringBuilder::new(),
        }
    }
}

impl HitRows {
    pub(crate) fn push(&mut self, hit: &Hit) {
        let order = &hit.order;
        self.event.push(order.seq, &order.as_row());
        self.hit_id.append_value(hit.hit_id.to_string());
        self.alert_id.append_value(hit.alert_id.to_string());
        self.alert_hit.append_value(hit.alert_hit.cast_signed());
        self.alert_time.append_value(hit.alert_time.nanos());
        self.detector.append_value(hit.detector);
        self.detector_version
            .append_value(hit.detector_version.cast_signed());
        self.config_version
            .append_value(hit.config_version.to_string());
        for measure in &hit.measures {
            let element = self.measures.values();
            if let Some(name) = element.field_builder::<StringBuilder>(0) {
                name.append_value(measure.name);
            }
            for (column, value) in [(1, measure.value), (2, measure.threshold)] {
                if let Some(decimal) = element.field_builder::<Decimal128Builder>(column) {
                    decimal.append_value(value.units());
                }
            }
            element.append(true);
        }
        self.measures.append(true);
        self.lookback.append_value(hit.lookback.nanos());
        let evidence = hit.evidence.iter().map(|seq| seq.cast_signed());
        self.evidence.values().extend(evidence.map(Some));
        self.evidence.append(true);
        self.evidence_total
            .append_value(hit.evidence_total.cast_signed());
        self.text.append_value(&hit.text);
        self.suppressed.append_option(told(&hit.suppressed));
    }
}

impl Rows for HitRows {
    const TABLE: Table = Table::Hits;

    fn builders(&mut self) -> Vec<&mut dyn ArrayBuilder> {
        let event = &mut self.event;
        vec![
            &mut event.seq,
            &mut event.time,
            &mut event.date,
            &mut self.hit_id,
            &mut self.alert_id,
            &mut self.alert_hit,
            &mut self.alert_time,
            &mut self.detector,
            &mut self.detector_version,
            &mut self.config_version,
            &mut event.sym,
            &mut event.event_type,
            &mut event.trader,
            &mut event.side,
            &mut event.order_id,
            &mut event.price,
            &mut event.quantity,
            &mut self.measures,
            &mut self.lookback,
            &mut self.evidence,
            &mut self.evidence_total,
            &mut self.text,
            &mut event.account,
            &mut event.exec_id,
            &mut event.display,
            &mut event.flags,
            &mut self.suppressed,
        ]
    }

    fn len(&self) -> usize {
        self.event.seq.len()
    }

    fn is_full(&self) -> bool {
        let evidence = self.evidence.values_ref().len();
        self.len() >= CHUNK_ROWS || evidence >= CHUNK_EVIDENCE
    }
}

/// Dead letters that are being collected.
pub(crate) struct LetterRows {
    seq: Int64Builder,
    received: TimestampNanosecondBuilder,
    date: Date32Builder,
    source: StringBuilder,
    line: Int64Builder,
    column: StringBuilder,
    reason: StringBuilder,
    raw: StringBuilder,
}

impl Default for LetterRows {
    fn default() -> Self {
        Self {
            seq: Int64Builder::new(),
            received: times(),
            date: Date32Builder::new(),
            source: StringBuilder::new(),
            line: Int64Builder::new(),
            column: StringBuilder::new(),
            reason: StringBuilder::new(),
            raw: StringBuilder::new(),
        }
    }
}

impl LetterRows {
    pub(crate) fn push(&mut self, seq: u64, received: Time, letter: &DeadLetter) {
        self.seq.append_value(seq.cast_signed());
        self.received.append_value(received.nanos());
        self.date.append_value(received.date().days());
        self.source.append_value(&letter.source);
        self.line.append_value(letter.line.cast_signed());
        self.column.append_value(&letter.column);
        self.reason.append_value(&letter.reason);
        self.raw.append_value(&letter.raw);
    }
}

impl Rows for LetterRows {
    const TABLE: Table = Table::DeadLetters;

    fn builders(&mut self) -> Vec<&mut dyn ArrayBuilder> {
        vec![
            &mut self.seq,
            &mut self.received,
            &mut self.date,
            &mut self.source,
            &mut self.line,
            &mut self.column,
            &mut self.reason,
            &mut self.raw,
        ]
    }

    fn len(&self) -> usize {
        self.seq.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= CHUNK_ROWS
    }
}

/// The columns of a batch of orders, to read its rows.
pub(crate) struct OrderColumns<'a> {
    seq: &'a [i64],
    time: &'a [i64],
    sym: &'a StringArray,
    event_type: &'a StringArray,
    trader: &'a StringArray,
    side: &'a StringArray,
    order_id: &'a StringArray,
    price: &'a [i128],
    quantity: &'a [i128],
    account: &'a StringArray,
    exec_id: &'a StringArray,
    display: &'a Decimal128Array,
    flags: &'a StringArray,
}

impl<'a> OrderColumns<'a> {
    /// `None` when the batch is not one of orders.
    pub(crate) fn of(batch: &'a RecordBatch) -> Option<Self> {
        use arrow::array::AsArray as _;
        use arrow::datatypes::{Decimal128Type, TimestampNanosecondType};
        let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
        let decimal = |name| {
            batch
                .column_by_name(name)?
                .as_primitive_opt::<Decimal128Type>()
        };
        Some(Self {
            seq: seqs(batch)?,
            time: batch
                .column_by_name("time")?
                .as_primitive_opt::<TimestampNanosecondType>()?
                .values(),
            sym: text("sym")?,
            event_type: text("event_type")?,
            trader: text("trader")?,
            side: text("side")?,
            order_id: text("order_id")?,
            price: decimal("price")?.values(),
            quantity: decimal("quantity")?.values(),
            account: text("account")?,
            exec_id: text("exec_id")?,
            display: decimal("display_quantity")?,
            flags: text("flags")?,
        })
    }

    /// The row at `index` with its sequence number; `None` when it is not a valid row.
    pub(crate) fn row(&self, index: usize) -> Option<(u64, RowRef<'a>)> {
        let seq = self.seq.get(index)?.cast_unsigned();
        let row = RowRef {
            time: Time::from_nanos(*self.time.get(index)?),
            sym: self.sym.value(index),
            event_type: EventType::parse(self.event_type.value(index).as_bytes())?,
            trader: self.trader.value(index),
            side: Side::parse(self.side.value(index).as_bytes())?,
            order_id: self.order_id.value(index),
            price: Price::from_units(i64::try_from(*self.price.get(index)?).ok()?),
            quantity: quantity(*self.quantity.get(index)?)?,
            details: Details {
                account: text_at(self.account, index),
                exec_id: text_at(self.exec_id, index),
                display: match self.display.is_valid(index) {
                    true => Some(quantity(self.display.value(index))?),
                    false => None,
                },
                flags: Flags::parse(text_at(self.flags, index).as_bytes()).ok()?,
            },
        };
        Some((seq, row))
    }
}

fn quantity(units: i128) -> Option<Quantity> {
    Quantity::from_units(i64::try_from(units).ok()?).ok()
}

/// Nothing where it is not told.
fn text_at(texts: &StringArray, index: usize) -> &str {
    if texts.is_valid(index) {
        texts.value(index)
    } else {
        ""
    }
}

/// The sequence numbers of a batch of any table.
pub(crate) fn seqs(batch: &RecordBatch) -> Option<&[i64]> {
    use arrow::array::AsArray as _;
    use arrow::datatypes::Int64Type;
    let seq = batch.column_by_name("seq")?;
    Some(seq.as_primitive_opt::<Int64Type>()?.values())
}
