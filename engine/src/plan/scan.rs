//! `ScanExec`: the leaf that reads a table, one partition a core. It is a description only: `exec` reads the tablets on their owners'
//! reactors, whichever lane the operators above run in.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, StringArray,
};
use datafusion::arrow::array::{Int64Array, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err, stats::Precision};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use starling_storage::ids::TabletId;
use starling_storage::key::bucket_hash;
use starling_storage::schema::{ColumnType, CompareOp, Predicate, Scalar};

use super::placement::{Bucketed, HashClass, Routing};
use super::table::sql_schema;
use crate::catalog::Table;

/// Reads some columns of the rows that satisfy all predicates.
#[derive(Debug)]
pub struct ScanExec {
    table: Arc<Table>,
    /// Positions in the table, in output order.
    columns: Vec<usize>,
    predicates: Vec<Predicate>,
    limit: Option<usize>,
    /// Tablets to read, by core, after bucket pruning.
    tablets: Vec<Vec<TabletId>>,
    rows: Option<u64>,
    properties: Arc<PlanProperties>,
}

impl ScanExec {
    /// `limit` is an upper bound on the rows wanted in all; each core reads no more than that.
    pub fn new(
        table: Arc<Table>,
        cores: u16,
        columns: Vec<usize>,
        predicates: Vec<Predicate>,
        limit: Option<usize>,
        rows: Option<u64>,
    ) -> Result<ScanExec> {
        let schema = Arc::new(sql_schema(&table.schema).project(&columns)?);
        let partitioning = Partitioning::UnknownPartitioning(usize::from(cores));
        let properties = leaf_properties(schema, partitioning);
        let only = only_bucket(&table, &predicates);
        let mut tablets = vec![Vec::new(); usize::from(cores)];
        for (bucket, tablet) in (0u32..).zip(&table.tablets) {
            if only.is_none_or(|b| b == bucket) {
                tablets[usize::from(table.owner(bucket, cores).0)].push(*tablet);
            }
        }
        Ok(ScanExec { table, columns, predicates, limit, tablets, rows, properties })
    }

    /// The catalog's entry.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Positions of the columns read, in output order.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// What storage filters by.
    pub fn predicates(&self) -> &[Predicate] {
        &self.predicates
    }

    /// No core needs to read more rows than this.
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Tablets to read, by core.
    pub fn tablets(&self) -> &[Vec<TabletId>] {
        &self.tablets
    }

    /// Rows that come out, roughly.
    pub fn estimate(&self) -> Option<f64> {
        let selectivity: f64 = self.predicates.iter().map(selectivity).product();
        let rows = self.rows? as f64 * selectivity;
        Some(self.limit.map_or(rows, |limit| rows.min(limit as f64 * self.tablets.len() as f64)))
    }

    /// How the rows lie, in terms of output columns; `None` when a bucket column is not read.
    pub fn bucketed(&self) -> Option<Bucketed> {
        let (table, schema) = (&self.table, &self.table.schema);
        if schema.bucket_columns.is_empty() {
            return None;
        }
        let cores = self.tablets.len() as u16;
        let routing = Routing((0..table.buckets).map(|bucket| table.owner(bucket, cores).0).collect());
        let mut bucketed = Bucketed { columns: Vec::new(), classes: Vec::new(), routing };
        for position in schema.bucket_positions() {
            let output = self.columns.iter().position(|&c| c == position)?;
            bucketed.columns.push(vec![output]);
            bucketed.classes.push(HashClass::of(self.schema().field(output).data_type())?);
        }
        Some(bucketed)
    }
}

/// How much of a table a predicate leaves, by the customary guesses.
fn selectivity(predicate: &Predicate) -> f64 {
    match predicate {
        Predicate::Compare { op: CompareOp::Eq, .. } => 0.05,
        Predicate::In { values, .. } => (0.05 * values.len() as f64).min(0.5),
        Predicate::Compare { op: CompareOp::Ne, .. } | Predicate::NotIn { .. } | Predicate::IsNotNull { .. } => 0.95,
        Predicate::Prefix { .. } | Predicate::IsNull { .. } => 0.1,
        Predicate::Compare { .. } => 0.35,
    }
}

/// The one bucket that can hold matching rows, when every bucket column is compared with `=`.
fn only_bucket(table: &Table, predicates: &[Predicate]) -> Option<u32> {
    let value_of = |column: usize| {
        predicates.iter().find_map(|p| match p {
            Predicate::Compare { column: c, op: CompareOp::Eq, value } if *c as usize == column => Some(value),
            _ => None,
        })
    };
    let positions = table.schema.bucket_positions();
    if positions.is_empty() {
        return None;
    }
    let values =
        positions.iter().map(|&c| value_array(value_of(c)?, table.schema.columns[c].ty)).collect::<Option<Vec<_>>>()?;
    let hash = bucket_hash(&values, 1).ok()?;
    Some(table.bucket_of(*hash.first()?))
}

fn value_array(value: &Scalar, ty: ColumnType) -> Option<ArrayRef> {
    Some(match (value, ty) {
        (Scalar::Bool(v), ColumnType::Boolean) => Arc::new(BooleanArray::from(vec![*v])),
        (Scalar::Int(v), ColumnType::Date) => Arc::new(Date32Array::from(vec![i32::try_from(*v).ok()?])),
        (Scalar::Int(v), ColumnType::DateTime) => Arc::new(TimestampMicrosecondArray::from(vec![*v])),
        (Scalar::Int(v), ty) if ty.is_integer() => Arc::new(Int64Array::from(vec![*v])),
        (Scalar::Wide(v), ColumnType::LargeInt | ColumnType::Decimal { .. }) => {
            Arc::new(Decimal128Array::from(vec![*v]))
        }
        (Scalar::Float(v), ColumnType::Float) => Arc::new(Float32Array::from(vec![*v as f32])),
        (Scalar::Float(v), ColumnType::Double) => Arc::new(Float64Array::from(vec![*v])),
        (Scalar::Text(v), ColumnType::Char(_) | ColumnType::Varchar(_)) => {
            Arc::new(StringArray::from(vec![v.as_str()]))
        }
        _ => return None,
    })
}

/// Properties of a leaf that yields as it goes.
pub(super) fn leaf_properties(schema: SchemaRef, partitioning: Partitioning) -> Arc<PlanProperties> {
    let equivalence = EquivalenceProperties::new(schema);
    let properties = PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded);
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let read: usize = self.tablets.iter().map(Vec::len).sum();
        write!(f, "ScanExec: {} tabletRatio={read}/{}", self.table.full_name(), self.table.tablets.len())
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a scan is read on the reactor of its owner; the planner cuts above it")
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], _args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        statistics.num_rows = self.estimate().map_or(Precision::Absent, |rows| Precision::Inexact(rows as usize));
        Ok(Arc::new(statistics))
    }
}
