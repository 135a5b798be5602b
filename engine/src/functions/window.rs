//! Window functions: DataFusion's, with BIGINT where it counts in unsigned numbers.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_window as df;
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::window_state::WindowAggState;
use datafusion::logical_expr::{LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl};
use datafusion::physical_expr::PhysicalExpr;

/// All of them by name.
pub(super) fn functions() -> Vec<(&'static str, Arc<WindowUDF>)> {
    let signed = |inner: Arc<WindowUDF>| Arc::new(WindowUDF::from(Signed { inner }));
    vec![
        ("row_number", signed(df::row_number::row_number_udwf())),
        ("rank", signed(df::rank::rank_udwf())),
        ("dense_rank", signed(df::rank::dense_rank_udwf())),
        ("percent_rank", df::rank::percent_rank_udwf()),
        ("cume_dist", df::cume_dist::cume_dist_udwf()),
        ("ntile", signed(df::ntile::ntile_udwf())),
        ("lag", df::lead_lag::lag_udwf()),
        ("lead", df::lead_lag::lead_udwf()),
        ("first_value", df::nth_value::first_value_udwf()),
        ("last_value", df::nth_value::last_value_udwf()),
        ("nth_value", df::nth_value::nth_value_udwf()),
    ]
}

/// Whether a window function takes so many arguments. Some of DataFusion's admit none and then read the first.
fn takes_arguments(name: &str, count: usize) -> bool {
    match name {
        "ntile" | "first_value" | "last_value" => count == 1,
        "nth_value" => count == 2,
        "lag" | "lead" => (1..=3).contains(&count),
        _ => count == 0,
    }
}

/// What the arguments of a window call are cast to: counts are BIGINT, a default has the type of the value. An error for another number of arguments.
pub fn argument_types(name: &str, types: &[DataType]) -> Result<Vec<DataType>> {
    if !takes_arguments(name, types.len()) {
        return Err(DataFusionError::Plan(super::no_matching_function(name, types)));
    }
    let wanted = |(at, ty): (usize, &DataType)| match (name, at) {
        ("ntile", 0) | ("lag" | "lead" | "nth_value", 1) => DataType::Int64,
        ("lag" | "lead", 2) => types[0].clone(),
        _ => ty.clone(),
    };
    Ok(types.iter().enumerate().map(wanted).collect())
}

/// A function whose result is a number of rows, as BIGINT.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Signed {
    inner: Arc<WindowUDF>,
}

impl WindowUDFImpl for Signed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn expressions(&self, args: ExpressionArgs<'_>) -> Vec<Arc<dyn PhysicalExpr>> {
        self.inner.expressions(args)
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(SignedEvaluator { inner: self.inner.partition_evaluator_factory(args)? }))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.inner.field(args)?;
        Ok(Arc::new(Field::new(field.name(), DataType::Int64, field.is_nullable())))
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.inner.sort_options()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        match self.inner.reverse_expr() {
            ReversedUDWF::Reversed(inner) => ReversedUDWF::Reversed(Arc::new(WindowUDF::from(Signed { inner }))),
            other => other,
        }
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.inner.inner().limit_effect(args)
    }
}

#[derive(Debug)]
struct SignedEvaluator {
    inner: Box<dyn PartitionEvaluator>,
}

fn signed(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::UInt64 => Arc::new(array.as_primitive::<UInt64Type>().unary::<_, Int64Type>(|value| value as i64)),
        _ => array,
    }
}

impl PartitionEvaluator for SignedEvaluator {
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.inner.memoize(state)
    }

    fn get_range(&self, row: usize, rows: usize) -> Result<Range<usize>> {
        self.inner.get_range(row, rows)
    }

    fn is_causal(&self) -> bool {
        self.inner.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        self.inner.evaluate_all(values, rows).map(signed)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        Ok(match self.inner.evaluate(values, range)? {
            ScalarValue::UInt64(value) => ScalarValue::Int64(value.map(|value| value as i64)),
            other => other,
        })
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        self.inner.evaluate_all_with_rank(rows, ranks).map(signed)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.inner.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.inner.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.inner.include_rank()
    }
}
