//! How types meet: the common type of CASE branches and set operations, the type in which two operands are compared,
//! and what arithmetic makes of its operands' types.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::{DataFusionError, Result};

use super::{DATETIME, LARGEINT};

/// Largest precision of DECIMAL.
pub const PRECISION_MAX: u8 = 38;

/// The one Arrow type by which a plan knows each SQL type: no views, dictionaries, unsigned or other time units.
pub fn canonical(ty: &DataType) -> DataType {
    match ty {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => LARGEINT,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Timestamp(..) => DATETIME,
        DataType::Date64 => DataType::Date32,
        DataType::Dictionary(_, values) => canonical(values),
        other => other.clone(),
    }
}

/// Whether values are text.
pub fn is_text(ty: &DataType) -> bool {
    matches!(ty, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Whether values are DATE or DATETIME.
pub fn is_date(ty: &DataType) -> bool {
    matches!(ty, DataType::Date32 | DataType::Timestamp(..))
}

/// Whether values are BOOLEAN, integers, DECIMAL, FLOAT or DOUBLE.
pub fn is_number(ty: &DataType) -> bool {
    integer_rank(ty).is_some() || is_decimal(ty) || is_float(ty)
}

/// Whether values are DECIMAL (LARGEINT is not).
pub fn is_decimal(ty: &DataType) -> bool {
    matches!(ty, DataType::Decimal128(..))
}

/// Whether values are FLOAT or DOUBLE.
pub fn is_float(ty: &DataType) -> bool {
    matches!(ty, DataType::Float32 | DataType::Float64)
}

/// BOOLEAN 0, TINYINT 1, to LARGEINT 5; none for what is no integer.
pub fn integer_rank(ty: &DataType) -> Option<u8> {
    match ty {
        DataType::Boolean => Some(0),
        DataType::Int8 => Some(1),
        DataType::Int16 => Some(2),
        DataType::Int32 => Some(3),
        DataType::Int64 => Some(4),
        DataType::Decimal256(39, 0) => Some(5),
        _ => None,
    }
}

/// The integer type of a rank; BOOLEAN counts as TINYINT.
pub fn integer_of(rank: u8) -> DataType {
    match rank {
        0 | 1 => DataType::Int8,
        2 => DataType::Int16,
        3 => DataType::Int32,
        4 => DataType::Int64,
        _ => LARGEINT,
    }
}

/// The type that holds the values of both: CASE, COALESCE, IF, UNION, arguments of one type (section 2.4).
pub fn supertype(left: &DataType, right: &DataType) -> Option<DataType> {
    let (left, right) = (canonical(left), canonical(right));
    if left == right || right.is_null() {
        return Some(left);
    }
    if left.is_null() {
        return Some(right);
    }
    if is_text(&left) || is_text(&right) {
        return Some(DataType::Utf8);
    }
    if is_date(&left) && is_date(&right) {
        return Some(DATETIME);
    }
    if is_number(&left) && is_number(&right) {
        return Some(number_supertype(&left, &right));
    }
    None
}

fn number_supertype(left: &DataType, right: &DataType) -> DataType {
    if is_float(left) || is_float(right) {
        return DataType::Float64;
    }
    match (integer_rank(left), integer_rank(right)) {
        (Some(l), Some(r)) => integer_of(l.max(r)),
        _ => {
            let ((lp, ls), (rp, rs)) = (as_decimal(left), as_decimal(right));
            let scale = ls.max(rs);
            let precision = (lp as i8 - ls).max(rp as i8 - rs) + scale;
            if precision as u8 > PRECISION_MAX {
                DataType::Float64
            } else {
                DataType::Decimal128(precision as u8, scale)
            }
        }
    }
}

/// Precision and scale that hold every value of an exact number.
fn as_decimal(ty: &DataType) -> (u8, i8) {
    match ty {
        DataType::Decimal128(p, s) => (*p, *s),
        other => match integer_rank(other) {
            Some(0) => (1, 0),
            Some(1) => (3, 0),
            Some(2) => (5, 0),
            Some(3) => (10, 0),
            Some(4) => (19, 0),
            _ => (38, 0),
        },
    }
}

/// The common type of several; none when there is no such type. NULL when all are NULL.
pub fn supertype_of<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Option<DataType> {
    types.into_iter().try_fold(DataType::Null, |common, ty| supertype(&common, ty))
}

/// The type in which two values are compared (section 2.4). Exact numbers are compared exactly, even where no DECIMAL
/// holds both: then as `Decimal256`.
pub fn comparison_type(left: &DataType, right: &DataType) -> Option<DataType> {
    let (left, right) = (canonical(left), canonical(right));
    if left == right || right.is_null() {
        return Some(left);
    }
    if left.is_null() {
        return Some(right);
    }
    let either = |test: fn(&DataType) -> bool| test(&left) || test(&right);
    if is_text(&left) && is_text(&right) {
        return Some(DataType::Utf8);
    }
    if either(is_date) && (either(is_text) || (is_date(&left) && is_date(&right))) {
        return Some(DATETIME);
    }
    if either(is_date) || (either(is_text) && either(is_number)) {
        // A date against a number compares as the number yyyyMMdd[HHmmss].
        return (either(is_number)).then_some(DataType::Float64);
    }
    if is_number(&left) && is_number(&right) {
        return Some(number_comparison(&left, &right));
    }
    None
}

fn number_comparison(left: &DataType, right: &DataType) -> DataType {
    if is_float(left) || is_float(right) {
        return DataType::Float64;
    }
    if let (Some(l), Some(r)) = (integer_rank(left), integer_rank(right)) {
        return integer_of(l.max(r));
    }
    let ((lp, ls), (rp, rs)) = (as_decimal(left), as_decimal(right));
    let scale = ls.max(rs);
    let precision = (lp as i8 - ls).max(rp as i8 - rs) + scale;
    if precision as u8 <= PRECISION_MAX && left != &LARGEINT && right != &LARGEINT {
        DataType::Decimal128(precision as u8, scale)
    } else {
        DataType::Decimal256(76, scale)
    }
}

/// An arithmetic or bit operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArithOp {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `DIV`
    IntDivide,
    /// `%`, `MOD`
    Modulo,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
    /// `^`
    BitXor,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `bit_shift_right_logical`
    ShiftRightLogical,
}

/// What an operator makes of its operands.
#[derive(Clone, Debug, PartialEq)]
pub struct ArithTypes {
    /// What the left operand is cast to.
    pub left: DataType,
    /// What the right operand is cast to.
    pub right: DataType,
    /// What comes out.
    pub result: DataType,
}

impl ArithTypes {
    fn same(ty: DataType) -> ArithTypes {
        ArithTypes { left: ty.clone(), right: ty.clone(), result: ty }
    }
}

/// Types of `left op right` (sections 2.2 and 2.3). An error is a result whose scale DECIMAL does not have.
pub fn arithmetic(op: ArithOp, left: &DataType, right: &DataType) -> Result<ArithTypes> {
    let (left, right) = match (operand(left)?, operand(right)?) {
        (DataType::Null, DataType::Null) => (DataType::Int64, DataType::Int64),
        (DataType::Null, right) => (right.clone(), right),
        (left, DataType::Null) => (left.clone(), left),
        both => both,
    };
    match op {
        ArithOp::Add | ArithOp::Subtract | ArithOp::Multiply | ArithOp::Modulo => common_arithmetic(op, &left, &right),
        ArithOp::Divide if (is_decimal(&left) || is_decimal(&right)) && !is_float(&left) && !is_float(&right) => {
            decimal_arithmetic(op, &left, &right)
        }
        ArithOp::Divide => Ok(ArithTypes::same(DataType::Float64)),
        ArithOp::IntDivide => {
            let wide = left == LARGEINT || right == LARGEINT;
            Ok(ArithTypes::same(if wide { LARGEINT } else { DataType::Int64 }))
        }
        ArithOp::BitAnd | ArithOp::BitOr | ArithOp::BitXor => Ok(ArithTypes::same(bit_type(&left, &right))),
        ArithOp::ShiftLeft | ArithOp::ShiftRight | ArithOp::ShiftRightLogical => {
            let ty = bit_type(&left, &left);
            Ok(ArithTypes { left: ty.clone(), right: DataType::Int64, result: ty })
        }
    }
}

/// The numeric type as which an operand enters arithmetic: text and dates as DOUBLE, BOOLEAN as TINYINT.
fn operand(ty: &DataType) -> Result<DataType> {
    match canonical(ty) {
        DataType::Null => Ok(DataType::Null),
        DataType::Boolean => Ok(DataType::Int8),
        ty if is_number(&ty) && ty != DataType::Float32 => Ok(ty),
        DataType::Float32 | DataType::Utf8 | DataType::Date32 | DataType::Timestamp(..) => Ok(DataType::Float64),
        other => Err(DataFusionError::Plan(format!("unsupported arithmetic on type {}", super::type_name(&other)))),
    }
}

fn bit_type(left: &DataType, right: &DataType) -> DataType {
    match (integer_rank(left), integer_rank(right)) {
        (Some(l), Some(r)) => integer_of(l.max(r)),
        _ => DataType::Int64,
    }
}

fn common_arithmetic(op: ArithOp, left: &DataType, right: &DataType) -> Result<ArithTypes> {
    if is_float(left) || is_float(right) {
        return Ok(ArithTypes::same(DataType::Float64));
    }
    match (integer_rank(left), integer_rank(right)) {
        (Some(l), Some(r)) => {
            let rank = l.max(r);
            let widened = if op == ArithOp::Modulo || rank >= 4 { rank } else { rank + 1 };
            Ok(ArithTypes::same(integer_of(widened)))
        }
        _ => decimal_arithmetic(op, left, right),
    }
}

fn decimal_arithmetic(op: ArithOp, left: &DataType, right: &DataType) -> Result<ArithTypes> {
    let ((lp, ls), (rp, rs)) = (entering_decimal(left), entering_decimal(right));
    let (precision, scale) = match op {
        ArithOp::Multiply => multiply_type(lp, ls, rp, rs)?,
        ArithOp::Divide => (PRECISION_MAX, divide_scale(ls, rs)?),
        ArithOp::Modulo => (if lp.max(rp) > 18 { PRECISION_MAX } else { 18 }, ls.max(rs)),
        _ => {
            let scale = ls.max(rs);
            let precision = (lp as i8 - ls).max(rp as i8 - rs) + scale + 1;
            ((precision as u8).min(PRECISION_MAX), scale)
        }
    };
    Ok(ArithTypes {
        left: decimal_operand(left),
        right: decimal_operand(right),
        result: DataType::Decimal128(precision, scale),
    })
}

fn multiply_type(lp: u8, ls: i8, rp: u8, rs: i8) -> Result<(u8, i8)> {
    let scale = ls + rs;
    if scale as u8 > PRECISION_MAX {
        return Err(DataFusionError::Plan(format!(
            "Return scale({scale}) exceeds maximum value(38), please cast decimal type to low-precision one"
        )));
    }
    Ok(((lp + rp).min(PRECISION_MAX), scale))
}

/// Scale of a quotient whose dividend has scale `ls`.
pub fn divide_scale(ls: i8, rs: i8) -> Result<i8> {
    let scale = match ls {
        ..=6 => ls + 6,
        7..=12 => 12,
        _ => ls,
    };
    if (scale + rs) as u8 > PRECISION_MAX {
        return Err(DataFusionError::Plan(format!(
            "Dividend fails to adjust scale to {}, please cast decimal type to low-precision one",
            scale + rs
        )));
    }
    Ok(scale)
}

/// Precision and scale with which an operand enters the rules of DECIMAL arithmetic.
fn entering_decimal(ty: &DataType) -> (u8, i8) {
    match ty {
        DataType::Decimal128(p, s) => (*p, *s),
        other => match integer_rank(other) {
            Some(0..=3) => (9, 0),
            Some(4) => (18, 0),
            _ => (38, 0),
        },
    }
}

/// The type that carries an operand's values into DECIMAL arithmetic: all values of an integer, not only those of nine
/// or eighteen digits.
fn decimal_operand(ty: &DataType) -> DataType {
    let (precision, scale) = as_decimal(ty);
    DataType::Decimal128(precision, scale)
}

/// The narrowest type of an integer literal.
pub fn narrowest_integer(value: i64) -> DataType {
    if i8::try_from(value).is_ok() {
        DataType::Int8
    } else if i16::try_from(value).is_ok() {
        DataType::Int16
    } else if i32::try_from(value).is_ok() {
        DataType::Int32
    } else {
        DataType::Int64
    }
}

/// Whether a time unit is the one of DATETIME.
pub fn is_datetime(ty: &DataType) -> bool {
    matches!(ty, DataType::Timestamp(TimeUnit::Microsecond, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(p: u8, s: i8) -> DataType {
        DataType::Decimal128(p, s)
    }

    fn result(op: ArithOp, l: DataType, r: DataType) -> DataType {
        arithmetic(op, &l, &r).unwrap().result
    }

    #[test]
    fn integers_widen_one_step() {
        use DataType::{Boolean, Int8, Int16, Int32, Int64};
        for (l, r, sum) in [
            (Boolean, Boolean, Int16),
            (Int8, Int8, Int16),
            (Int8, Int16, Int32),
            (Int32, Int8, Int64),
            (Int64, Int64, Int64),
            (LARGEINT, Int8, LARGEINT),
        ] {
            assert_eq!(result(ArithOp::Add, l.clone(), r.clone()), sum);
            assert_eq!(result(ArithOp::Multiply, l, r), sum);
        }
        assert_eq!(result(ArithOp::Modulo, Int8, Int16), Int16);
        assert_eq!(result(ArithOp::Divide, Int64, Int64), DataType::Float64);
        assert_eq!(result(ArithOp::IntDivide, Int8, Int8), Int64);
        assert_eq!(result(ArithOp::Add, Int8, DataType::Utf8), DataType::Float64);
    }

    #[test]
    fn decimals_by_the_table_of_section_2_3() {
        assert_eq!(result(ArithOp::Add, dec(10, 2), dec(5, 4)), dec(13, 4));
        assert_eq!(result(ArithOp::Subtract, dec(38, 2), dec(38, 2)), dec(38, 2));
        assert_eq!(result(ArithOp::Multiply, dec(10, 2), dec(10, 2)), dec(20, 4));
        assert_eq!(result(ArithOp::Multiply, dec(30, 2), dec(30, 2)), dec(38, 4));
        assert_eq!(result(ArithOp::Divide, dec(10, 2), dec(10, 2)), dec(38, 8));
        assert_eq!(result(ArithOp::Divide, dec(18, 10), dec(10, 2)), dec(38, 12));
        assert_eq!(result(ArithOp::Divide, dec(30, 20), dec(10, 2)), dec(38, 20));
        assert_eq!(result(ArithOp::Modulo, dec(10, 2), dec(5, 4)), dec(18, 4));
        assert_eq!(result(ArithOp::Modulo, dec(20, 2), dec(5, 4)), dec(38, 4));
        assert_eq!(result(ArithOp::Add, dec(10, 2), DataType::Int32), dec(12, 2));
        assert_eq!(result(ArithOp::Multiply, dec(10, 2), DataType::Int64), dec(28, 2));
        assert_eq!(result(ArithOp::Multiply, dec(10, 2), DataType::Float64), DataType::Float64);
        assert!(arithmetic(ArithOp::Multiply, &dec(38, 20), &dec(38, 20)).is_err());
        assert!(arithmetic(ArithOp::Divide, &dec(38, 30), &dec(38, 10)).is_err());
    }

    #[test]
    fn supertypes() {
        assert_eq!(supertype(&DataType::Int8, &dec(10, 2)), Some(dec(10, 2)));
        assert_eq!(supertype(&DataType::Int64, &dec(10, 2)), Some(dec(21, 2)));
        assert_eq!(supertype(&dec(38, 2), &dec(38, 6)), Some(DataType::Float64));
        assert_eq!(supertype(&DataType::Int32, &DataType::Utf8), Some(DataType::Utf8));
        assert_eq!(supertype(&DataType::Date32, &DATETIME), Some(DATETIME));
        assert_eq!(supertype(&DataType::Date32, &DataType::Int32), None);
        assert_eq!(supertype_of([&DataType::Null, &DataType::Int8, &DataType::Int32]), Some(DataType::Int32));
        assert_eq!(comparison_type(&dec(38, 2), &dec(38, 6)), Some(DataType::Decimal256(76, 6)));
        assert_eq!(comparison_type(&DataType::Utf8, &DataType::Int64), Some(DataType::Float64));
        assert_eq!(comparison_type(&DataType::Utf8, &DataType::Date32), Some(DATETIME));
    }
}
