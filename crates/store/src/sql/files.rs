//! The history of a table as the Parquet files that it is made of: what another process needs to read
//! the same rows is their names.
//!
//! Invariant: it has the rows and the columns of one version of the Delta table. A file is left out
//! only when the table's log says that none of its rows is wanted.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, exec_err};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::TableProviderFilterPushDown;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::{PruningPredicateBuilder, PruningStatistics};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::prelude::Expr;
use deltalake::DeltaTable;
use object_store::path::Path;
use tapewatch_model::Date;
use url::Position;

use crate::schema::PARTITION;

/// The table.
pub(super) struct FilesTable {
    delta: DeltaTable,
    schema: TableSchema,
}

impl FilesTable {
    pub(super) fn new(delta: &DeltaTable) -> Result<Self> {
        let stored = delta
            .snapshot()
            .map_err(external)?
            .snapshot()
            .arrow_schema();
        let (days, columns): (Vec<_>, Vec<_>) = stored
            .fields()
            .iter()
            .cloned()
            .partition(|field| field.name() == PARTITION);
        let days: Vec<Arc<Field>> = days;
        Ok(Self {
            delta: delta.clone(),
            schema: TableSchema::builder(Arc::new(Schema::new(columns)))
                .with_table_partition_cols(days)
                .build(),
        })
    }

    /// The files that may have wanted rows.
    fn files(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let snapshot = self.delta.snapshot().map_err(external)?;
        let known = snapshot.log_data();
        let root = Path::from_url_path(self.delta.table_url().path())?;
        let mut kept = self.kept(state, filters, &known).into_iter();
        let mut files = Vec::new();
        for file in known.iter() {
            let wanted = kept.next().unwrap_or(true);
            let path = file.path();
            if file.deletion_vector_descriptor().is_some() {
                return exec_err!("{path} has rows that are marked as deleted");
            }
            let day = file.partition_values_map().remove(PARTITION).flatten();
            let day = day.and_then(|day| Date::parse(day.as_bytes()).ok());
            let Some(day) = day else {
                return exec_err!("{path} has no date");
            };
            if wanted {
                let within = Path::from(&*path);
                let whole: Path = root.parts().chain(within.parts()).collect();
                let mut found = PartitionedFile::new(String::new(), file.size().unsigned_abs());
                found.object_meta.location = whole;
                let days = vec![ScalarValue::Date32(Some(day.days()))];
                files.push(found.with_partition_values(days));
            }
        }
        Ok(files)
    }

    /// Which files may have wanted rows, as the log says; all where it says nothing.
    fn kept(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        known: &impl PruningStatistics,
    ) -> Vec<bool> {
        let schema = self.schema();
        let kept = || {
            let wanted = conjunction(filters.iter().cloned())?;
            let columns = DFSchema::try_from(Arc::clone(&schema)).ok()?;
            let wanted = state.create_physical_expr(wanted, &columns).ok()?;
            let predicate = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&schema));
            predicate.try_build(wanted).ok()?.prune(known).ok()
        };
        kept().unwrap_or_default()
    }
}

impl fmt::Debug for FilesTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "files of {}", self.delta.table_url())
    }
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.files(state, filters)?;
        if files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema().project(columns)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let place = &self.delta.table_url()[..Position::BeforePath];
        let parts = state.config().target_partitions();
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let source = ParquetSource::new(self.schema.clone()).with_table_parquet_options(options);
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse(place)?, Arc::new(source))
            .with_file_groups(FileGroup::new(files).split_files(parts))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

fn external(error: deltalake::DeltaTableError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
