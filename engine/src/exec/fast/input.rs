//! Where the rows of a pipeline come from. LARGEINT is widened here: storage keeps 128 bits, expressions see 39 digits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal256Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Decimal128Type, SchemaRef, i256};
use starling_storage::ids::{Seq, TabletId};
use starling_storage::tablet::ScanCounters;

use super::{Clock, Result};
use crate::error::EngineError;
use crate::exec::channel::Inlet;
use crate::exec::site::{ReadSpec, Reader};
use crate::plan::ScanExec;
use crate::plan::lanes::{Input, Pipeline};
use datafusion::physical_plan::ExecutionPlan;

/// The schema of the rows that enter a pipeline.
pub fn schema(pipeline: &Pipeline) -> SchemaRef {
    match &pipeline.input {
        Input::Scan(scan) => scan.schema(),
        Input::Rows(rows) => rows.first().map_or_else(|| pipeline.schema.clone(), RecordBatch::schema),
        Input::Exchange(_, schema) => schema.clone(),
    }
}

/// Where rows come from.
pub enum Source {
    Tablets(Tablets),
    Exchange(Inlet),
    Rows(std::vec::IntoIter<RecordBatch>),
}

impl Source {
    pub fn new(pipeline: &Pipeline, inlet: Option<Inlet>, at: Seq, core: usize) -> Source {
        match (&pipeline.input, inlet) {
            (Input::Scan(scan), _) => Source::Tablets(Tablets::new(scan, at, core)),
            (Input::Rows(rows), _) => Source::Rows(rows.clone().into_iter()),
            (Input::Exchange(..), Some(inlet)) => Source::Exchange(inlet),
            (Input::Exchange(..), None) => Source::Rows(Vec::new().into_iter()),
        }
    }

    pub async fn next(&mut self, clock: &mut Clock) -> Result<Option<RecordBatch>> {
        match self {
            Source::Tablets(tablets) => tablets.next(clock).await,
            Source::Rows(rows) => Ok(rows.next()),
            Source::Exchange(inlet) => {
                let next = inlet.next().await;
                // Senders of a query that failed go away too.
                clock.shared.check()?;
                Ok(next)
            }
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Source::Tablets(_) => "OlapScan",
            Source::Exchange(_) => "EXCHANGE",
            Source::Rows(_) => "VALUES",
        }
    }

    pub fn note(&self) -> String {
        match self {
            Source::Tablets(tablets) => {
                let ScanCounters { vectors_read, vectors_pruned, rows_read, .. } = tablets.counters;
                let tablets = tablets.read;
                format!("tablets={tablets} vectors={vectors_read} pruned={vectors_pruned} rows_read={rows_read}")
            }
            _ => String::new(),
        }
    }
}

/// The tablets of one core, one after the other.
pub struct Tablets {
    left: std::vec::IntoIter<TabletId>,
    table: String,
    current: Option<Box<dyn Reader>>,
    at: Seq,
    spec: ReadSpec,
    schema: SchemaRef,
    read: usize,
    counters: ScanCounters,
}

impl Tablets {
    fn new(scan: &Arc<ScanExec>, at: Seq, core: usize) -> Tablets {
        let spec =
            ReadSpec { columns: scan.columns().to_vec(), predicates: scan.predicates().to_vec(), limit: scan.limit() };
        let left = scan.tablets()[core].clone().into_iter();
        Tablets {
            left,
            table: scan.table().full_name(),
            current: None,
            at,
            spec,
            schema: scan.schema(),
            read: 0,
            counters: ScanCounters::default(),
        }
    }

    async fn next(&mut self, clock: &mut Clock) -> Result<Option<RecordBatch>> {
        loop {
            if self.spec.limit == Some(0) {
                return Ok(None);
            }
            let Some(reader) = &mut self.current else {
                let Some(tablet) = self.left.next() else { return Ok(None) };
                self.current = Some(clock.site.read(tablet, self.at, &self.spec).map_err(|e| self.named(e))?);
                self.read += 1;
                continue;
            };
            match reader.next().await? {
                Some(batch) if batch.num_rows() == 0 => clock.tick().await?,
                Some(batch) => {
                    let batch = self.limited(batch);
                    return widened(&batch, &self.schema).map(Some);
                }
                None => {
                    let done = reader.counters();
                    self.counters.vectors_read += done.vectors_read;
                    self.counters.vectors_pruned += done.vectors_pruned;
                    self.counters.rows_read += done.rows_read;
                    self.current = None;
                }
            }
        }
    }

    fn limited(&mut self, batch: RecordBatch) -> RecordBatch {
        let Some(limit) = &mut self.spec.limit else { return batch };
        let taken = batch.num_rows().min(*limit);
        *limit -= taken;
        batch.slice(0, taken)
    }

    /// A tablet that is not there was dropped after the statement was planned.
    fn named(&self, error: EngineError) -> EngineError {
        if error.code == EngineError::table_gone("").code { EngineError::table_gone(&self.table) } else { error }
    }
}

/// The rows in the types of expressions, under the schema of the plan.
fn widened(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        let wide = matches!(field.data_type(), DataType::Decimal256(..)) && column.data_type() != field.data_type();
        if wide { wide_column(column) } else { Ok(column.clone()) }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(EngineError::internal)
}

/// Raw 128-bit integers as decimals of 39 digits.
pub(in crate::exec) fn wide_column(column: &ArrayRef) -> Result<ArrayRef> {
    let values = column.as_primitive::<Decimal128Type>();
    let wide: Decimal256Array = values.iter().map(|v| v.map(i256::from_i128)).collect();
    Ok(Arc::new(wide.with_precision_and_scale(39, 0).map_err(EngineError::internal)?))
}
