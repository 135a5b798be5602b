//! AVG: of DECIMAL exactly, as the division of the sum in DECIMAL(38, s) by the count; of other numbers DataFusion's,
//! in DOUBLE. The partial state is (count, sum) in either case.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, Decimal128Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, UInt64Type, i256};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use crate::types::coercion::{PRECISION_MAX, divide_scale};
use crate::types::parse::POW10;

/// See the head of the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Avg {
    signature: Signature,
}

impl Avg {
    pub(super) fn new() -> Avg {
        Avg { signature: Signature::any(1, Volatility::Immutable) }
    }
}

/// Scales of the argument and of the average.
fn scales(args: &AccumulatorArgs<'_>) -> Option<(i8, i8)> {
    match (args.expr_fields[0].data_type(), args.return_type()) {
        (DataType::Decimal128(_, from), DataType::Decimal128(_, to)) => Some((*from, *to)),
        _ => None,
    }
}

impl AggregateUDFImpl for Avg {
    fn name(&self) -> &str {
        "avg"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Decimal128(_, scale)] => Ok(DataType::Decimal128(PRECISION_MAX, divide_scale(*scale, 0)?)),
            [_] => Ok(DataType::Float64),
            _ => Err(DataFusionError::Plan(super::no_matching_function("avg", types))),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let Some((from, to)) = scales(&args) else {
            return avg_udaf().accumulator(args);
        };
        if args.is_distinct {
            return Ok(Box::new(DistinctAvg { seen: HashSet::new(), from, to }));
        }
        Ok(Box::new(DecimalAvg { count: 0, sum: 0, from, to }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let DataType::Decimal128(_, scale) = *args.input_fields[0].data_type() else {
            return avg_udaf().state_fields(args);
        };
        let sum = DataType::Decimal128(PRECISION_MAX, scale);
        if args.is_distinct {
            let list = Field::new_list(format!("{}[avg distinct]", args.name), Field::new_list_field(sum, true), false);
            return Ok(vec![Arc::new(list)]);
        }
        Ok(vec![
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::UInt64, true)),
            Arc::new(Field::new(format!("{}[sum]", args.name), sum, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        match scales(&args) {
            Some(_) => !args.is_distinct,
            None => avg_udaf().groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match scales(&args) {
            Some((from, to)) => Ok(Box::new(GroupedAvg { counts: Vec::new(), sums: Vec::new(), from, to })),
            None => avg_udaf().create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match scales(&args) {
            Some(_) => self.accumulator(args),
            None => avg_udaf().create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// `sum / count` in the average's scale, rounded half away from zero; none past 38 digits.
pub fn average(sum: i128, count: u64, from: i8, to: i8) -> Option<i128> {
    let count = i128::from(count);
    let power = POW10[(to - from).max(0) as usize];
    let value = match sum.checked_mul(power) {
        Some(lifted) => crate::types::arith::divide_half_up(lifted, count)?,
        None => {
            let lifted = i256::from_i128(sum).wrapping_mul(i256::from_i128(power));
            let half = i256::from_i128(if sum < 0 { -(count / 2) } else { count / 2 });
            lifted.wrapping_add(half).checked_div(i256::from_i128(count))?.to_i128()?
        }
    };
    (value.unsigned_abs() < POW10[38] as u128).then_some(value)
}

fn decimals(array: &ArrayRef) -> &Decimal128Array {
    array.as_primitive::<Decimal128Type>()
}

#[derive(Debug)]
struct DecimalAvg {
    count: u64,
    sum: i128,
    from: i8,
    to: i8,
}

impl Accumulator for DecimalAvg {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = decimals(&values[0]);
        self.count += (values.len() - values.null_count()) as u64;
        self.sum = values.iter().flatten().fold(self.sum, i128::wrapping_add);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Decimal128(average(self.sum, self.count, self.from, self.to), PRECISION_MAX, self.to))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::UInt64(Some(self.count)),
            ScalarValue::Decimal128(Some(self.sum), PRECISION_MAX, self.from),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.count += states[0].as_primitive::<UInt64Type>().iter().flatten().sum::<u64>();
        self.sum = decimals(&states[1]).iter().flatten().fold(self.sum, i128::wrapping_add);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = decimals(&values[0]);
        self.count -= (values.len() - values.null_count()) as u64;
        self.sum = values.iter().flatten().fold(self.sum, i128::wrapping_sub);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct DistinctAvg {
    seen: HashSet<i128>,
    from: i8,
    to: i8,
}

impl Accumulator for DistinctAvg {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.seen.extend(decimals(&values[0]).iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.seen.iter().fold(0i128, |sum, value| sum.wrapping_add(*value));
        Ok(ScalarValue::Decimal128(average(sum, self.seen.len() as u64, self.from, self.to), PRECISION_MAX, self.to))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.seen.capacity() * size_of::<i128>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let value = |value: &i128| ScalarValue::Decimal128(Some(*value), PRECISION_MAX, self.from);
        let values: Vec<ScalarValue> = self.seen.iter().map(value).collect();
        let ty = DataType::Decimal128(PRECISION_MAX, self.from);
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &ty))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in states[0].as_list::<i32>().iter().flatten() {
            self.seen.extend(decimals(&list).iter().flatten());
        }
        Ok(())
    }
}

#[derive(Debug)]
struct GroupedAvg {
    counts: Vec<u64>,
    sums: Vec<i128>,
    from: i8,
    to: i8,
}

impl GroupedAvg {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        self.sums.resize(groups, 0);
    }
}

impl GroupsAccumulator for GroupedAvg {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.grow(total);
        let values = decimals(&values[0]);
        let kept = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, &group) in groups.iter().enumerate() {
            if values.is_valid(row) && kept(row) {
                self.counts[group] += 1;
                self.sums[group] = self.sums[group].wrapping_add(values.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (counts, sums) = (emit.take_needed(&mut self.counts), emit.take_needed(&mut self.sums));
        let averages = sums.into_iter().zip(counts).map(|(sum, count)| average(sum, count, self.from, self.to));
        let averages: Decimal128Array = averages.collect();
        Ok(Arc::new(averages.with_precision_and_scale(PRECISION_MAX, self.to)?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let counts = UInt64Array::from(emit.take_needed(&mut self.counts));
        let sums = Decimal128Array::from(emit.take_needed(&mut self.sums));
        Ok(vec![Arc::new(counts), Arc::new(sums.with_data_type(DataType::Decimal128(PRECISION_MAX, self.from)))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.grow(total);
        let (counts, sums) = (states[0].as_primitive::<UInt64Type>(), decimals(&states[1]));
        for (row, &group) in groups.iter().enumerate() {
            if counts.is_valid(row) && sums.is_valid(row) {
                self.counts[group] += counts.value(row);
                self.sums[group] = self.sums[group].wrapping_add(sums.value(row));
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = decimals(&values[0]);
        let kept =
            |row: usize| values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let counts: UInt64Array = (0..values.len()).map(|row| Some(u64::from(kept(row)))).collect();
        let sums: Decimal128Array =
            (0..values.len()).map(|row| Some(if kept(row) { values.value(row) } else { 0 })).collect();
        Ok(vec![Arc::new(counts), Arc::new(sums.with_data_type(DataType::Decimal128(PRECISION_MAX, self.from)))])
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<u64>() + self.sums.capacity() * size_of::<i128>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_round_half_up_and_survive_wide_sums() {
        // (0.01 + 0.02) / 2 in scale 8.
        assert_eq!(average(3, 2, 2, 8), Some(1_500_000));
        assert_eq!(average(1, 3, 0, 6), Some(333_333));
        assert_eq!(average(2, 3, 0, 6), Some(666_667));
        assert_eq!(average(-2, 3, 0, 6), Some(-666_667));
        assert_eq!(average(1, 0, 0, 6), None);
        // The sum times 10^6 does not fit 128 bits; the average does.
        assert_eq!(average(POW10[36], 1_000_000, 2, 8), Some(POW10[36]));
        assert_eq!(average(POW10[36], 1000, 2, 8), None);
    }
}
