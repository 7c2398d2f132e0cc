//! Orders to a Parquet file: the columns that [`super::ParquetOrders`] reads.
//!
//! Invariant: what was written is read back the same, sequence numbers aside; the file is whole when
//! [`OrderFileWriter::finish`] has returned.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tapewatch_model::{OrderBatch, SourceError};

use crate::order_arrays::rows;
use crate::schema::{PARTITION, Table};

/// The columns of the table of orders, but for what the store adds.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let schema = Table::Orders.schema();
    let fields = schema.fields().iter();
    let told = fields.filter(|field| !["seq", PARTITION].contains(&field.name().as_str()));
    Arc::new(Schema::new(told.cloned().collect::<Vec<_>>()))
});

/// A file that is being written.
pub struct OrderFileWriter {
    writer: ArrowWriter<File>,
    name: String,
}

impl std::fmt::Debug for OrderFileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("OrderFileWriter");
        debug.field("name", &self.name).finish_non_exhaustive()
    }
}

impl OrderFileWriter {
    /// Makes the file; one of that name is replaced.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be made.
    pub fn create(path: &Path) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|error| failed(&name, &error))?;
        let properties = WriterProperties::builder();
        let properties = properties.set_compression(Compression::SNAPPY).build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&SCHEMA), Some(properties));
        let writer = writer.map_err(|error| failed(&name, &error))?;
        Ok(Self { writer, name })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// [`SourceError`] when they cannot be written.
    pub fn write(&mut self, orders: &OrderBatch) -> Result<(), SourceError> {
        let batch = rows(orders, 0..orders.len(), &SCHEMA);
        let batch = batch.map_err(|error| failed(&self.name, &error))?;
        let written = self.writer.write(&batch);
        written.map_err(|error| failed(&self.name, &error))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`SourceError`] when its end cannot be written.
    pub fn finish(self) -> Result<(), SourceError> {
        let finished = self.writer.close();
        finished.map_err(|error| failed(&self.name, &error))?;
        Ok(())
    }
}

fn failed(name: &str, error: &dyn std::fmt::Display) -> SourceError {
    SourceError {
        source_name: name.to_owned(),
        message: format!("cannot be written: {error}"),
    }
}
