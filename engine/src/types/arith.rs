//! Arithmetic and bit operators as functions of a plan: integers wrap, a divisor of zero gives NULL, a DECIMAL that
//! does not fit its type gives NULL. The result's type follows from the operands' by [`coercion::arithmetic`], so the
//! function may be planned before its operands are typed. `plain` says which calls DataFusion's own operator can do.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::ArrowPrimitiveType;
use datafusion::arrow::array::{Array, ArrayRef, BooleanBufferBuilder, PrimitiveArray, new_null_array};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, i256,
};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::LARGEINT;
use super::cast::cast_values;
use super::coercion::{self, ArithOp, ArithTypes, PRECISION_MAX};
use super::parse::POW10;

/// One operator.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Arith {
    op: ArithOp,
    signature: Signature,
}

impl Arith {
    /// The call `left op right`.
    pub fn call(op: ArithOp, left: Expr, right: Expr) -> Expr {
        Self::function(op).call(vec![left, right])
    }

    /// The operator as a function.
    pub fn function(op: ArithOp) -> ScalarUDF {
        ScalarUDF::from(Arith { op, signature: Signature::user_defined(Volatility::Immutable) })
    }

    /// The operator.
    pub fn op(&self) -> ArithOp {
        self.op
    }
}

/// DataFusion's operator, where it does the same on operands of the given type: wrapping `+ - *` of integers and of
/// DOUBLE.
pub fn plain(op: ArithOp, ty: &DataType) -> Option<Operator> {
    let ty_is_plain =
        matches!(ty, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Float64);
    match op {
        ArithOp::Add if ty_is_plain => Some(Operator::Plus),
        ArithOp::Subtract if ty_is_plain => Some(Operator::Minus),
        ArithOp::Multiply if ty_is_plain => Some(Operator::Multiply),
        _ => None,
    }
}

impl ScalarUDFImpl for Arith {
    fn name(&self) -> &str {
        match self.op {
            ArithOp::Add => "add",
            ArithOp::Subtract => "subtract",
            ArithOp::Multiply => "multiply",
            ArithOp::Divide => "divide",
            ArithOp::IntDivide => "int_divide",
            ArithOp::Modulo => "mod",
            ArithOp::BitAnd => "bitand",
            ArithOp::BitOr => "bitor",
            ArithOp::BitXor => "bitxor",
            ArithOp::ShiftLeft => "bit_shift_left",
            ArithOp::ShiftRight => "bit_shift_right",
            ArithOp::ShiftRightLogical => "bit_shift_right_logical",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [left, right] => coercion::arithmetic(self.op, left, right).map(|_| types.to_vec()),
            _ => Err(DataFusionError::Plan(crate::functions::no_matching_function(self.name(), types))),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => Ok(coercion::arithmetic(self.op, left, right)?.result),
            _ => Err(DataFusionError::Plan(crate::functions::no_matching_function(self.name(), types))),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(DataFusionError::Internal(format!("{} of {} operands", self.name(), args.args.len())));
        };
        let types = coercion::arithmetic(self.op, &left.data_type(), &right.data_type())?;
        let constant = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let left = Side::new(left, &types.left)?;
        let right = Side::new(right, &types.right)?;
        let result = evaluate(self.op, &types, &left, &right, rows)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// An operand: a column, or one value for all rows.
struct Side {
    array: ArrayRef,
    constant: bool,
}

impl Side {
    fn new(value: &ColumnarValue, ty: &DataType) -> Result<Side> {
        let (array, constant) = match value {
            ColumnarValue::Array(array) => (array.clone(), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        Ok(Side { array: cast_values(&array, ty)?, constant })
    }

    fn always_null(&self) -> bool {
        self.constant && self.array.is_null(0)
    }
}

fn evaluate(op: ArithOp, types: &ArithTypes, left: &Side, right: &Side, rows: usize) -> Result<ArrayRef> {
    if left.always_null() || right.always_null() {
        return Ok(new_null_array(&types.result, rows));
    }
    match &types.result {
        DataType::Int8 => integers::<Int8Type, _>(op, left, right, rows, i8_ops),
        DataType::Int16 => integers::<Int16Type, _>(op, left, right, rows, i16_ops),
        DataType::Int32 => integers::<Int32Type, _>(op, left, right, rows, i32_ops),
        DataType::Int64 => integers::<Int64Type, _>(op, left, right, rows, i64_ops),
        &LARGEINT => largeints(op, left, right, rows),
        DataType::Float64 => doubles(op, left, right, rows),
        DataType::Decimal128(precision, scale) => decimals(op, types, left, right, rows, *precision, *scale),
        other => Err(DataFusionError::Internal(format!("arithmetic with result {other}"))),
    }
}

/// Applies `one` to every pair without NULL. `one` gives none for NULL.
fn zip<L, R, O>(
    left: &Side,
    right: &Side,
    rows: usize,
    one: impl Fn(L::Native, R::Native) -> Option<O::Native>,
) -> PrimitiveArray<O>
where
    L: ArrowPrimitiveType,
    R: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    let (l, r) = (left.array.as_primitive::<L>(), right.array.as_primitive::<R>());
    let nulls = NullBuffer::union(l.nulls().filter(|_| !left.constant), r.nulls().filter(|_| !right.constant));
    let (lv, rv) = (l.values(), r.values());
    let mut values = vec![O::Native::default(); rows];
    let mut missing: Vec<u32> = Vec::new();
    let mut put = |row: usize, value: Option<O::Native>| match value {
        Some(value) => values[row] = value,
        None => missing.push(row as u32),
    };
    match (left.constant, right.constant) {
        (false, false) => (0..rows).for_each(|row| put(row, one(lv[row], rv[row]))),
        (false, true) => (0..rows).for_each(|row| put(row, one(lv[row], rv[0]))),
        (true, false) => (0..rows).for_each(|row| put(row, one(lv[0], rv[row]))),
        (true, true) => (0..rows).for_each(|row| put(row, one(lv[0], rv[0]))),
    }
    PrimitiveArray::new(ScalarBuffer::from(values), with_missing(nulls, &missing, rows))
}

/// NULLs of the operands and those an operator added.
fn with_missing(nulls: Option<NullBuffer>, missing: &[u32], rows: usize) -> Option<NullBuffer> {
    if missing.is_empty() {
        return nulls;
    }
    let mut valid = BooleanBufferBuilder::new(rows);
    match &nulls {
        Some(nulls) => valid.append_buffer(nulls.inner()),
        None => valid.append_n(rows, true),
    }
    for &row in missing {
        valid.set_bit(row as usize, false);
    }
    Some(NullBuffer::new(valid.finish()))
}

macro_rules! integer_ops {
    ($name:ident, $int:ty, $unsigned:ty) => {
        fn $name(op: ArithOp, a: $int, b: $int) -> Option<$int> {
            match op {
                ArithOp::Add => Some(a.wrapping_add(b)),
                ArithOp::Subtract => Some(a.wrapping_sub(b)),
                ArithOp::Multiply => Some(a.wrapping_mul(b)),
                ArithOp::Divide | ArithOp::IntDivide => (b != 0).then(|| a.wrapping_div(b)),
                ArithOp::Modulo => (b != 0).then(|| a.wrapping_rem(b)),
                ArithOp::BitAnd => Some(a & b),
                ArithOp::BitOr => Some(a | b),
                ArithOp::BitXor => Some(a ^ b),
                // A count is taken modulo the width, as the processor does.
                ArithOp::ShiftLeft => Some(a.wrapping_shl(b as u32)),
                ArithOp::ShiftRight => Some(a.wrapping_shr(b as u32)),
                ArithOp::ShiftRightLogical => Some((a as $unsigned).wrapping_shr(b as u32) as $int),
            }
        }
    };
}

integer_ops!(i8_ops, i8, u8);
integer_ops!(i16_ops, i16, u16);
integer_ops!(i32_ops, i32, u32);
integer_ops!(i64_ops, i64, u64);
integer_ops!(i128_ops, i128, u128);

fn integers<T, F>(op: ArithOp, left: &Side, right: &Side, rows: usize, one: F) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64>,
    F: Fn(ArithOp, T::Native, T::Native) -> Option<T::Native> + Copy,
{
    if matches!(op, ArithOp::ShiftLeft | ArithOp::ShiftRight | ArithOp::ShiftRightLogical) {
        // The count is a BIGINT; only its low bits matter.
        let low = |count: i64| T::Native::try_from(count & 63).unwrap_or_default();
        return Ok(Arc::new(zip::<T, Int64Type, T>(left, right, rows, |a, b| one(op, a, low(b)))));
    }
    // One loop an operator, so that the compiler sees which.
    let array = match op {
        ArithOp::Modulo => zip::<T, T, T>(left, right, rows, |a, b| one(ArithOp::Modulo, a, b)),
        ArithOp::IntDivide => zip::<T, T, T>(left, right, rows, |a, b| one(ArithOp::IntDivide, a, b)),
        ArithOp::Add => zip::<T, T, T>(left, right, rows, |a, b| one(ArithOp::Add, a, b)),
        ArithOp::Subtract => zip::<T, T, T>(left, right, rows, |a, b| one(ArithOp::Subtract, a, b)),
        ArithOp::Multiply => zip::<T, T, T>(left, right, rows, |a, b| one(ArithOp::Multiply, a, b)),
        op => zip::<T, T, T>(left, right, rows, |a, b| one(op, a, b)),
    };
    Ok(Arc::new(array))
}

fn largeints(op: ArithOp, left: &Side, right: &Side, rows: usize) -> Result<ArrayRef> {
    let array: PrimitiveArray<Decimal256Type> = match op {
        ArithOp::ShiftLeft | ArithOp::ShiftRight | ArithOp::ShiftRightLogical => {
            zip::<Decimal256Type, Int64Type, _>(left, right, rows, |a, b| {
                i128_ops(op, a.as_i128(), i128::from(b)).map(i256::from_i128)
            })
        }
        _ => zip::<Decimal256Type, Decimal256Type, _>(left, right, rows, |a, b| {
            i128_ops(op, a.as_i128(), b.as_i128()).map(i256::from_i128)
        }),
    };
    Ok(Arc::new(array.with_data_type(LARGEINT)))
}

fn doubles(op: ArithOp, left: &Side, right: &Side, rows: usize) -> Result<ArrayRef> {
    type F = Float64Type;
    let array = match op {
        ArithOp::Add => zip::<F, F, F>(left, right, rows, |a, b| Some(a + b)),
        ArithOp::Subtract => zip::<F, F, F>(left, right, rows, |a, b| Some(a - b)),
        ArithOp::Multiply => zip::<F, F, F>(left, right, rows, |a, b| Some(a * b)),
        ArithOp::Divide => zip::<F, F, F>(left, right, rows, |a, b| (b != 0.0).then(|| a / b)),
        ArithOp::Modulo => zip::<F, F, F>(left, right, rows, |a, b| (b != 0.0).then(|| a % b)),
        other => return Err(DataFusionError::Internal(format!("{other:?} of DOUBLE"))),
    };
    Ok(Arc::new(array))
}

fn decimals(
    op: ArithOp,
    types: &ArithTypes,
    left: &Side,
    right: &Side,
    rows: usize,
    precision: u8,
    scale: i8,
) -> Result<ArrayRef> {
    type D = Decimal128Type;
    let (ls, rs) = (scale_of(&types.left), scale_of(&types.right));
    let bound = POW10[precision as usize];
    let fits = move |value: i128| (value > -bound && value < bound).then_some(value);
    let (lift_l, lift_r) = (POW10[(scale - ls).max(0) as usize], POW10[(scale - rs).max(0) as usize]);
    // Where the result's precision is no cut, no sum or product can leave it.
    let roomy = precision < PRECISION_MAX;
    let array = match op {
        ArithOp::Add if roomy => zip::<D, D, D>(left, right, rows, |a, b| Some(a * lift_l + b * lift_r)),
        ArithOp::Subtract if roomy => zip::<D, D, D>(left, right, rows, |a, b| Some(a * lift_l - b * lift_r)),
        ArithOp::Add => {
            zip::<D, D, D>(left, right, rows, |a, b| fits(a.checked_mul(lift_l)?.checked_add(b.checked_mul(lift_r)?)?))
        }
        ArithOp::Subtract => {
            zip::<D, D, D>(left, right, rows, |a, b| fits(a.checked_mul(lift_l)?.checked_sub(b.checked_mul(lift_r)?)?))
        }
        ArithOp::Multiply if exact_product(types) => zip::<D, D, D>(left, right, rows, |a, b| Some(a * b)),
        ArithOp::Multiply => zip::<D, D, D>(left, right, rows, |a, b| fits(a.checked_mul(b)?)),
        ArithOp::Modulo => {
            zip::<D, D, D>(left, right, rows, |a, b| fits(a.checked_mul(lift_l)?.checked_rem(b.checked_mul(lift_r)?)?))
        }
        // The dividend is brought to scale + the divisor's scale first.
        ArithOp::Divide => {
            let lift = (scale + rs - ls) as u32;
            let power = i256::from_i128(10).wrapping_pow(lift);
            let narrow = POW10[lift.min(38) as usize];
            zip::<D, D, D>(left, right, rows, |a, b| match a.checked_mul(narrow) {
                Some(lifted) => fits(divide_half_up(lifted, b)?),
                None => fits(divide_half_up_wide(i256::from_i128(a).wrapping_mul(power), i256::from_i128(b))?),
            })
        }
        other => return Err(DataFusionError::Internal(format!("{other:?} of DECIMAL"))),
    };
    Ok(Arc::new(array.with_data_type(types.result.clone())))
}

fn scale_of(ty: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = ty { *scale } else { 0 }
}

/// Whether the product of any two values of the operands' types has at most 38 digits.
fn exact_product(types: &ArithTypes) -> bool {
    match (&types.left, &types.right) {
        (DataType::Decimal128(lp, _), DataType::Decimal128(rp, _)) => lp + rp <= PRECISION_MAX,
        _ => false,
    }
}

/// The quotient rounded half away from zero; none for a divisor of zero.
pub fn divide_half_up(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    let rest = (a % b).unsigned_abs();
    let away = if (a < 0) == (b < 0) { 1 } else { -1 };
    Some(if rest >= b.unsigned_abs() - rest { quotient + away } else { quotient })
}

fn divide_half_up_wide(a: i256, b: i256) -> Option<i128> {
    let quotient = a.checked_div(b)?.to_i128()?;
    let rest = a.checked_rem(b)?.wrapping_abs();
    let size = b.wrapping_abs();
    let away = if (a < i256::ZERO) == (b < i256::ZERO) { 1 } else { -1 };
    if rest >= size.wrapping_sub(rest) { quotient.checked_add(away) } else { Some(quotient) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_round_half_away_from_zero() {
        for (a, b, expected) in [(5, 2, 3), (-5, 2, -3), (4, 3, 1), (-4, 3, -1), (5, -2, -3), (1, 3, 0), (2, 3, 1)] {
            assert_eq!(divide_half_up(a, b), Some(expected), "{a}/{b}");
            assert_eq!(divide_half_up_wide(i256::from_i128(a), i256::from_i128(b)), Some(expected), "{a}/{b}");
        }
        assert_eq!(divide_half_up(1, 0), None);
    }
}
