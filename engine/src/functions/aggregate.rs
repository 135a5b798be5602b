//! Aggregate functions: DataFusion's where name and type are ours too, wrapped where they are not.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate as df;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use super::avg::Avg;
use crate::types::LARGEINT;
use crate::types::coercion::{PRECISION_MAX, canonical, integer_rank, is_date, is_number, is_text};

/// GROUP_CONCAT's result has at most so many bytes (session variable `group_concat_max_len`).
const CONCAT_BYTES_MAX: usize = 1024;

/// All of them by name.
pub(super) fn functions() -> Vec<(&'static str, Arc<AggregateUDF>)> {
    let wrap = |name, inner, result, finish| Arc::new(AggregateUDF::from(Wrapped::new(name, inner, result, finish)));
    vec![
        ("count", df::count::count_udaf()),
        ("min", df::min_max::min_udaf()),
        ("max", df::min_max::max_udaf()),
        ("sum", wrap("sum", df::sum::sum_udaf(), sum_type, None)),
        ("avg", Arc::new(AggregateUDF::from(Avg::new()))),
        ("any_value", df::any_value::any_value_udaf()),
        ("stddev", df::stddev::stddev_pop_udaf()),
        ("std", df::stddev::stddev_pop_udaf()),
        ("stddev_pop", df::stddev::stddev_pop_udaf()),
        ("stddev_samp", df::stddev::stddev_udaf()),
        ("variance", df::variance::var_pop_udaf()),
        ("variance_pop", df::variance::var_pop_udaf()),
        ("var_pop", df::variance::var_pop_udaf()),
        ("variance_samp", df::variance::var_samp_udaf()),
        ("var_samp", df::variance::var_samp_udaf()),
        ("covar_pop", df::covariance::covar_pop_udaf()),
        ("covar_samp", df::covariance::covar_samp_udaf()),
        ("corr", df::correlation::corr_udaf()),
        ("bool_or", df::bool_and_or::bool_or_udaf()),
        ("bool_and", df::bool_and_or::bool_and_udaf()),
        ("bit_and", df::bit_and_or_xor::bit_and_udaf()),
        ("bit_or", df::bit_and_or_xor::bit_or_udaf()),
        ("bit_xor", df::bit_and_or_xor::bit_xor_udaf()),
        ("grouping", df::grouping::grouping_udaf()),
        ("grouping_id", df::grouping::grouping_udaf()),
        ("approx_count_distinct", wrap("approx_count_distinct", approx_distinct(), count_type, Some(to_bigint))),
        ("ndv", wrap("ndv", approx_distinct(), count_type, Some(to_bigint))),
        ("percentile_approx", wrap("percentile_approx", percentile_approx(), first_type, None)),
        ("percentile_cont", wrap("percentile_cont", df::percentile_cont::percentile_cont_udaf(), first_type, None)),
        ("__group_concat", wrap("group_concat", df::string_agg::string_agg_udaf(), text_type, Some(to_short_text))),
    ]
}

fn approx_distinct() -> Arc<AggregateUDF> {
    df::approx_distinct::approx_distinct_udaf()
}

fn percentile_approx() -> Arc<AggregateUDF> {
    df::approx_percentile_cont::approx_percentile_cont_udaf()
}

/// What the arguments of an aggregate call are cast to; none: nothing. An error is a type it has no overload for.
pub fn argument_types(name: &str, types: &[DataType]) -> Result<Option<Vec<DataType>>> {
    let types: Vec<DataType> = types.iter().map(canonical).collect();
    let none = || DataFusionError::Plan(super::no_matching_function(name, &types));
    Ok(match name {
        "sum" | "avg" => Some(types.iter().map(|ty| summed(name, ty).ok_or_else(none)).collect::<Result<_>>()?),
        "stddev" | "stddev_pop" | "stddev_samp" | "var" | "var_pop" | "var_samp" | "covar_pop" | "covar_samp"
        | "corr" | "percentile_approx" | "percentile_cont" => {
            let number = |ty: &DataType| ty.is_null() || is_number(ty) || is_text(ty) || is_date(ty);
            if !types.iter().all(number) {
                return Err(none());
            }
            let wanted = |(at, _): (usize, &DataType)| if at < 2 { DataType::Float64 } else { DataType::Int64 };
            Some(types.iter().enumerate().map(wanted).collect())
        }
        "bool_or" | "bool_and" => Some(vec![DataType::Boolean; types.len()]),
        "group_concat" => Some(vec![DataType::Utf8; types.len()]),
        "bit_and" | "bit_or" | "bit_xor" => Some(vec![DataType::Int64; types.len()]),
        "approx_count_distinct" | "ndv" => {
            let wanted = |ty: &DataType| if ty.is_floating() { DataType::Utf8 } else { ty.clone() };
            Some(types.iter().map(wanted).collect())
        }
        _ => None,
    })
}

fn summed(name: &str, ty: &DataType) -> Option<DataType> {
    match integer_rank(ty) {
        Some(5) if name == "avg" => Some(DataType::Float64),
        Some(5) => Some(LARGEINT),
        Some(_) if name == "avg" => Some(DataType::Float64),
        Some(_) => Some(DataType::Int64),
        None if matches!(ty, DataType::Decimal128(..)) => Some(ty.clone()),
        None if ty.is_null() || is_number(ty) || is_text(ty) || is_date(ty) => Some(DataType::Float64),
        None => None,
    }
}

fn sum_type(types: &[DataType]) -> Option<DataType> {
    match types {
        [DataType::Decimal128(_, scale)] => Some(DataType::Decimal128(PRECISION_MAX, *scale)),
        [ty] => summed("sum", ty),
        _ => None,
    }
}

fn count_type(types: &[DataType]) -> Option<DataType> {
    (types.len() == 1).then_some(DataType::Int64)
}

fn first_type(types: &[DataType]) -> Option<DataType> {
    (types.len() >= 2).then_some(DataType::Float64)
}

fn text_type(types: &[DataType]) -> Option<DataType> {
    (types.len() == 2).then_some(DataType::Utf8)
}

fn to_bigint(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::UInt64(value) => ScalarValue::Int64(value.map(|v| v as i64)),
        other => other,
    }
}

fn to_short_text(value: ScalarValue) -> ScalarValue {
    let text = match value {
        ScalarValue::LargeUtf8(text) | ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) => text,
        _ => None,
    };
    ScalarValue::Utf8(text.map(|mut text| {
        text.truncate(text.floor_char_boundary(CONCAT_BYTES_MAX));
        text
    }))
}

/// A function of DataFusion's under our name, result type or both.
#[derive(Debug, Clone)]
struct Wrapped {
    name: &'static str,
    inner: Arc<AggregateUDF>,
    result: fn(&[DataType]) -> Option<DataType>,
    /// From DataFusion's result to ours.
    finish: Option<fn(ScalarValue) -> ScalarValue>,
    signature: Signature,
}

impl Wrapped {
    fn new(
        name: &'static str,
        inner: Arc<AggregateUDF>,
        result: fn(&[DataType]) -> Option<DataType>,
        finish: Option<fn(ScalarValue) -> ScalarValue>,
    ) -> Wrapped {
        Wrapped { name, inner, result, finish, signature: Signature::variadic_any(Volatility::Immutable) }
    }

    /// The arguments as DataFusion's function would have them.
    fn inner_field(&self, args: &AccumulatorArgs<'_>) -> Result<FieldRef> {
        match self.finish {
            Some(_) => self.inner.return_field(args.expr_fields),
            None => Ok(args.return_field.clone()),
        }
    }

    fn finished(&self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        match self.finish {
            Some(finish) => Box::new(Finished { inner, finish }),
            None => inner,
        }
    }
}

// The registry makes one of each name.
impl PartialEq for Wrapped {
    fn eq(&self, other: &Wrapped) -> bool {
        self.name == other.name && self.inner == other.inner
    }
}

impl Eq for Wrapped {}

impl std::hash::Hash for Wrapped {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Wrapped {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        (self.result)(types).ok_or_else(|| DataFusionError::Plan(super::no_matching_function(self.name, types)))
    }

    fn accumulator(&self, mut args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        args.return_field = self.inner_field(&args)?;
        Ok(self.finished(self.inner.accumulator(args)?))
    }

    fn state_fields(&self, mut args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if self.finish.is_some() {
            args.return_field = self.inner.return_field(args.input_fields)?;
        }
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.finish.is_none() && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, mut args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        args.return_field = self.inner_field(&args)?;
        Ok(self.finished(self.inner.create_sliding_accumulator(args)?))
    }

    fn with_beneficial_ordering(self: Arc<Self>, beneficial: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let inner = self.inner.as_ref().clone().with_beneficial_ordering(beneficial)?;
        Ok(inner.map(|inner| {
            let wrapped: Arc<dyn AggregateUDFImpl> =
                Arc::new(Wrapped { inner: Arc::new(inner), ..self.as_ref().clone() });
            wrapped
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(inner) => {
                ReversedUDAF::Reversed(Arc::new(AggregateUDF::from(Wrapped { inner, ..self.clone() })))
            }
            ReversedUDAF::Identical => ReversedUDAF::Identical,
            ReversedUDAF::NotSupported => ReversedUDAF::NotSupported,
        }
    }
}

/// An accumulator whose result is converted.
#[derive(Debug)]
struct Finished {
    inner: Box<dyn Accumulator>,
    finish: fn(ScalarValue) -> ScalarValue,
}

impl Accumulator for Finished {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate().map(self.finish)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// A field of a type; for tests of state fields.
#[cfg(test)]
fn field(ty: DataType) -> FieldRef {
    Arc::new(datafusion::arrow::datatypes::Field::new("x", ty, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_types_of_section_2_2() {
        let all = functions();
        let result = |name: &str, ty: DataType| {
            let (_, function) = all.iter().find(|(n, _)| *n == name).unwrap();
            function.return_field(&[field(ty)]).unwrap().data_type().clone()
        };
        assert_eq!(result("sum", DataType::Int64), DataType::Int64);
        assert_eq!(result("sum", DataType::Decimal128(10, 2)), DataType::Decimal128(38, 2));
        assert_eq!(result("sum", LARGEINT), LARGEINT);
        assert_eq!(result("avg", DataType::Int64), DataType::Float64);
        assert_eq!(result("avg", DataType::Decimal128(10, 2)), DataType::Decimal128(38, 8));
        assert_eq!(result("avg", DataType::Decimal128(18, 10)), DataType::Decimal128(38, 12));
        assert_eq!(result("avg", DataType::Decimal128(38, 20)), DataType::Decimal128(38, 20));
        assert_eq!(result("count", DataType::Utf8), DataType::Int64);
        assert_eq!(result("ndv", DataType::Utf8), DataType::Int64);
    }
}
