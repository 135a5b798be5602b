//! How rows lie on the cores: the property that the pass carries bottom-up. Only what is written here may skip an exchange.
//!
//! Two inputs can be joined core by core when equal keys are on one core: their key columns agree in order, each position is of one
//! [`HashClass`] (equal values hash equally), and their [`Routing`] is the same.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, TryCastExpr};

/// Types within which equal values have equal bucket hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashClass {
    /// BOOLEAN.
    Bool,
    /// Integers of all widths, and decimals without fraction.
    Int,
    /// Decimals of one scale.
    Decimal(i8),
    /// FLOAT and DOUBLE.
    Float,
    /// DATE.
    Date,
    /// DATETIME.
    DateTime,
    /// CHAR and VARCHAR.
    Text,
}

impl HashClass {
    /// The class of an Arrow type; `None`: the bucket hash does not take it.
    pub fn of(ty: &DataType) -> Option<HashClass> {
        Some(match ty {
            DataType::Boolean => HashClass::Bool,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => HashClass::Int,
            DataType::Decimal128(_, 0) | DataType::Decimal256(_, 0) => HashClass::Int,
            DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => HashClass::Decimal(*scale),
            DataType::Float32 | DataType::Float64 => HashClass::Float,
            DataType::Date32 => HashClass::Date,
            DataType::Timestamp(TimeUnit::Microsecond, None) => HashClass::DateTime,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => HashClass::Text,
            _ => return None,
        })
    }
}

/// Whether every value keeps its bucket hash when cast from one type to the other.
fn cast_keeps_hash(from: &DataType, to: &DataType) -> bool {
    let width = |ty: &DataType| match ty {
        DataType::Int8 => Some(3),
        DataType::Int16 => Some(5),
        DataType::Int32 => Some(10),
        DataType::Int64 => Some(19),
        DataType::Decimal128(p, 0) | DataType::Decimal256(p, 0) => Some(*p),
        _ => None,
    };
    match (HashClass::of(from), HashClass::of(to)) {
        // A narrowing cast turns what does not fit into NULL or an error.
        (Some(HashClass::Int), Some(HashClass::Int)) => width(from) <= width(to),
        (Some(HashClass::Decimal(a)), Some(HashClass::Decimal(b))) => {
            a == b && from.primitive_width() <= to.primitive_width()
        }
        (Some(HashClass::Float), Some(HashClass::Float)) => from == to || *to == DataType::Float64,
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// The input column that an expression passes on with its bucket hash intact: a column, or lossless casts of one.
pub fn hashed_column(expr: &Arc<dyn PhysicalExpr>, input: &datafusion::arrow::datatypes::Schema) -> Option<usize> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(column.index());
    }
    let (inner, to) = match (expr.downcast_ref::<CastExpr>(), expr.downcast_ref::<TryCastExpr>()) {
        (Some(cast), _) => (cast.expr(), cast.cast_type()),
        (_, Some(cast)) => (cast.expr(), cast.cast_type()),
        _ => return None,
    };
    let from = inner.data_type(input).ok()?;
    if cast_keeps_hash(&from, to) { hashed_column(inner, input) } else { None }
}

/// The core of each bucket, in bucket order: `core = routing[hash % routing.len()]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing(pub Arc<[u16]>);

impl Routing {
    /// One bucket a core.
    pub fn by_core(cores: u16) -> Routing {
        Routing((0..cores).collect())
    }

    /// How many buckets.
    pub fn buckets(&self) -> usize {
        self.0.len()
    }

    /// The core of a hash.
    pub fn core(&self, hash: u64) -> usize {
        usize::from(self.0[(hash % self.0.len() as u64) as usize])
    }
}

/// Rows whose core follows from the hash of some columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucketed {
    /// Per hashed position the output columns that hold its value (an inner join makes both sides' columns equal).
    pub columns: Vec<Vec<usize>>,
    /// Per hashed position the class of its values.
    pub classes: Vec<HashClass>,
    /// Hash to core.
    pub routing: Routing,
}

impl Bucketed {
    /// The property seen through a node whose output column `i` is the input column `source(i)`.
    pub fn through(&self, outputs: usize, source: impl Fn(usize) -> Option<usize>) -> Option<Bucketed> {
        let find = |old: &Vec<usize>| -> Vec<usize> {
            (0..outputs).filter(|&i| source(i).is_some_and(|s| old.contains(&s))).collect()
        };
        let columns: Vec<Vec<usize>> = self.columns.iter().map(find).collect();
        if columns.iter().any(Vec::is_empty) {
            return None;
        }
        Some(Bucketed { columns, ..self.clone() })
    }

    /// For each hashed position, which of `keys` (columns) it is; `None` when one of them is not among the keys.
    pub fn within(&self, keys: &[Option<usize>]) -> Option<Vec<usize>> {
        let find = |columns: &Vec<usize>| keys.iter().position(|key| key.is_some_and(|k| columns.contains(&k)));
        self.columns.iter().map(find).collect()
    }

    /// Whether rows with equal values in `keys` are on one core.
    pub fn covers(&self, keys: &[Option<usize>]) -> bool {
        self.within(keys).is_some()
    }
}

/// Where the rows of a plan node are.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// All in one partition.
    One,
    /// A partition on each core, by the hash of some columns or with no order known.
    Spread(Option<Bucketed>),
}

impl Distribution {
    /// Whether there is one partition only.
    pub fn is_one(&self) -> bool {
        matches!(self, Distribution::One)
    }

    /// The bucketing, where there is one.
    pub fn bucketed(&self) -> Option<&Bucketed> {
        match self {
            Distribution::Spread(Some(bucketed)) => Some(bucketed),
            _ => None,
        }
    }
}
