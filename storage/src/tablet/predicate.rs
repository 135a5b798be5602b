//! Exact evaluation of pushed-down predicates on Arrow columns, under SQL's logic: NULL matches nothing but `IS NULL`, -0.0 equals 0.0,
//! NaN compares as nothing but unequal, strings compare by bytes.

use crate::error::{Result, StorageError};
use crate::schema::{CompareOp, Predicate, Scalar};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use std::collections::HashSet;

/// Lists longer than this are searched by hash.
const LIST_SCAN: usize = 8;

/// The rows of `column` that match.
///
/// Errors: `Invalid` when the value is not of the column's type.
pub(super) fn evaluate(predicate: &Predicate, column: &ArrayRef) -> Result<BooleanBuffer> {
    let valid = |matches: BooleanBuffer| match column.nulls() {
        Some(nulls) => &matches & nulls.inner(),
        None => matches,
    };
    Ok(match predicate {
        Predicate::Compare { op, value, .. } => valid(compare(column, *op, value)?),
        Predicate::In { values, .. } => valid(within(column, values)?),
        Predicate::NotIn { values, .. } => valid(!&within(column, values)?),
        Predicate::Prefix { prefix, .. } => {
            let text = column.as_string_opt::<i32>().ok_or_else(|| mismatch(column))?;
            valid(BooleanBuffer::collect_bool(text.len(), |row| {
                text.value(row).as_bytes().starts_with(prefix.as_bytes())
            }))
        }
        Predicate::IsNull { .. } => match column.nulls() {
            Some(nulls) => !nulls.inner(),
            None => BooleanBuffer::new_unset(column.len()),
        },
        Predicate::IsNotNull { .. } => valid(BooleanBuffer::new_set(column.len())),
    })
}

fn mismatch(column: &ArrayRef) -> StorageError {
    StorageError::Invalid(format!("predicate value is not of the column's type {}", column.data_type()))
}

/// Runs `$run` with the column's values as a slice and the scalar's content in the column's type.
macro_rules! with_values {
    ($column:expr, $value:expr, $run:expr) => {{
        let column: &ArrayRef = $column;
        match (column.data_type(), $value) {
            (DataType::Int8, Scalar::Int(v)) => $run(values::<Int8Type>(column), |x| i64::from(x), *v),
            (DataType::Int16, Scalar::Int(v)) => $run(values::<Int16Type>(column), |x| i64::from(x), *v),
            (DataType::Int32, Scalar::Int(v)) => $run(values::<Int32Type>(column), |x| i64::from(x), *v),
            (DataType::Date32, Scalar::Int(v)) => $run(values::<Date32Type>(column), |x| i64::from(x), *v),
            (DataType::Int64, Scalar::Int(v)) => $run(values::<Int64Type>(column), |x| x, *v),
            (DataType::Timestamp(_, _), Scalar::Int(v)) => $run(values::<TimestampMicrosecondType>(column), |x| x, *v),
            (DataType::Decimal128(_, _), Scalar::Wide(v)) => $run(values::<Decimal128Type>(column), |x| x, *v),
            (DataType::Float32, Scalar::Float(v)) => $run(values::<Float32Type>(column), |x| f64::from(x), *v),
            (DataType::Float64, Scalar::Float(v)) => $run(values::<Float64Type>(column), |x| x, *v),
            _ => Err(mismatch(column)),
        }
    }};
}

fn values<T: ArrowPrimitiveType>(column: &ArrayRef) -> &[T::Native] {
    column.as_primitive::<T>().values()
}

fn compare(column: &ArrayRef, op: CompareOp, value: &Scalar) -> Result<BooleanBuffer> {
    match (column.data_type(), value) {
        (DataType::Boolean, Scalar::Bool(v)) => {
            let column = column.as_boolean();
            Ok(BooleanBuffer::collect_bool(column.len(), |row| holds(op, &column.value(row), v)))
        }
        (DataType::Utf8, Scalar::Text(v)) => {
            let text = column.as_string::<i32>();
            Ok(BooleanBuffer::collect_bool(text.len(), |row| holds(op, text.value(row).as_bytes(), v.as_bytes())))
        }
        _ => with_values!(column, value, |values, widen, v| Ok(compare_values(values, op, widen, v))),
    }
}

fn holds<T: PartialOrd + ?Sized>(op: CompareOp, a: &T, b: &T) -> bool {
    match op {
        CompareOp::Eq => a == b,
        CompareOp::Ne => a != b,
        CompareOp::Lt => a < b,
        CompareOp::Le => a <= b,
        CompareOp::Gt => a > b,
        CompareOp::Ge => a >= b,
    }
}

/// One loop per operator, so that each is a plain vector comparison.
fn compare_values<N: Copy, W: PartialOrd + Copy>(
    values: &[N],
    op: CompareOp,
    widen: impl Fn(N) -> W,
    v: W,
) -> BooleanBuffer {
    let run = |test: &dyn Fn(W) -> bool| BooleanBuffer::collect_bool(values.len(), |row| test(widen(values[row])));
    match op {
        CompareOp::Eq => BooleanBuffer::collect_bool(values.len(), |row| widen(values[row]) == v),
        CompareOp::Lt => BooleanBuffer::collect_bool(values.len(), |row| widen(values[row]) < v),
        CompareOp::Le => BooleanBuffer::collect_bool(values.len(), |row| widen(values[row]) <= v),
        CompareOp::Gt => BooleanBuffer::collect_bool(values.len(), |row| widen(values[row]) > v),
        CompareOp::Ge => BooleanBuffer::collect_bool(values.len(), |row| widen(values[row]) >= v),
        CompareOp::Ne => run(&|x| x != v),
    }
}

fn within(column: &ArrayRef, list: &[Scalar]) -> Result<BooleanBuffer> {
    if list.len() > LIST_SCAN
        && let Some(found) = within_set(column, list)
    {
        return Ok(found);
    }
    let mut found = BooleanBuffer::new_unset(column.len());
    for value in list {
        found = &found | &compare(column, CompareOp::Eq, value)?;
    }
    Ok(found)
}

/// Long lists of integers and strings; `None` for other types.
fn within_set(column: &ArrayRef, list: &[Scalar]) -> Option<BooleanBuffer> {
    if let Some(text) = column.as_string_opt::<i32>() {
        let set: Option<HashSet<&str>> =
            list.iter().map(|v| if let Scalar::Text(v) = v { Some(v.as_str()) } else { None }).collect();
        let set = set?;
        return Some(BooleanBuffer::collect_bool(text.len(), |row| set.contains(text.value(row))));
    }
    let set: Option<HashSet<i64>> = list.iter().map(|v| if let Scalar::Int(v) = v { Some(*v) } else { None }).collect();
    let set = set?;
    fn run<N: Copy + Into<i64>>(values: &[N], set: &HashSet<i64>) -> BooleanBuffer {
        BooleanBuffer::collect_bool(values.len(), |row| set.contains(&values[row].into()))
    }
    match column.data_type() {
        DataType::Int8 => Some(run(values::<Int8Type>(column), &set)),
        DataType::Int16 => Some(run(values::<Int16Type>(column), &set)),
        DataType::Int32 => Some(run(values::<Int32Type>(column), &set)),
        DataType::Date32 => Some(run(values::<Date32Type>(column), &set)),
        DataType::Int64 => Some(run(values::<Int64Type>(column), &set)),
        DataType::Timestamp(_, _) => Some(run(values::<TimestampMicrosecondType>(column), &set)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Decimal128Array, Float64Array, Int32Array, StringArray};
    use std::sync::Arc;

    fn rows(predicate: Predicate, column: ArrayRef) -> Vec<usize> {
        evaluate(&predicate, &column).unwrap().set_indices().collect()
    }

    fn op(op: CompareOp, value: Scalar) -> Predicate {
        Predicate::Compare { column: 0, op, value }
    }

    #[test]
    fn null_matches_nothing_but_is_null() {
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3), Some(-4)]));
        assert_eq!(rows(op(CompareOp::Ne, Scalar::Int(3)), ints.clone()), vec![0, 3]);
        assert_eq!(rows(op(CompareOp::Lt, Scalar::Int(i64::MAX)), ints.clone()), vec![0, 2, 3]);
        assert_eq!(rows(Predicate::IsNull { column: 0 }, ints.clone()), vec![1]);
        assert_eq!(rows(Predicate::IsNotNull { column: 0 }, ints.clone()), vec![0, 2, 3]);
        let list = |n: i64| (0..n).map(Scalar::Int).collect::<Vec<_>>();
        assert_eq!(rows(Predicate::In { column: 0, values: list(4) }, ints.clone()), vec![0, 2]);
        assert_eq!(rows(Predicate::In { column: 0, values: list(40) }, ints.clone()), vec![0, 2]);
        assert_eq!(rows(Predicate::NotIn { column: 0, values: list(2) }, ints.clone()), vec![2, 3]);
        assert_eq!(rows(Predicate::NotIn { column: 0, values: list(20) }, ints), vec![3]);
    }

    #[test]
    fn floats_text_decimals_booleans() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, f64::NAN, 1.5]));
        assert_eq!(rows(op(CompareOp::Eq, Scalar::Float(0.0)), floats.clone()), vec![0]);
        assert_eq!(rows(op(CompareOp::Ge, Scalar::Float(0.0)), floats), vec![0, 2]);
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("ab"), Some("b"), None, Some("abc")]));
        assert_eq!(rows(Predicate::Prefix { column: 0, prefix: "ab".into() }, text.clone()), vec![0, 3]);
        assert_eq!(rows(op(CompareOp::Gt, Scalar::Text("ab".into())), text), vec![1, 3]);
        let wide: ArrayRef = Arc::new(Decimal128Array::from(vec![i128::MAX, -1]));
        assert_eq!(rows(op(CompareOp::Lt, Scalar::Wide(0)), wide.clone()), vec![1]);
        assert!(evaluate(&op(CompareOp::Eq, Scalar::Int(1)), &wide).is_err(), "a value of another type");
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
        assert_eq!(rows(op(CompareOp::Eq, Scalar::Bool(true)), flags), vec![0]);
    }
}
