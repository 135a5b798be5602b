//! The one CAST routine: for expressions ([`cast_values`]), and for INSERT and loads ([`cast_array`]).

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::ArrowPrimitiveType;
use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Decimal256Array, GenericStringBuilder, PrimitiveArray,
    StringArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, i256,
};
use datafusion::error::{DataFusionError, Result};
use starling_storage::schema::ColumnType;

use super::coercion::{canonical, integer_rank, is_date, is_decimal, is_float, is_text};
use super::text::TextWriter;
use super::{DATETIME, LARGEINT, civil, parse};

/// What becomes of a value that cannot be cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastMode {
    /// The row is rejected (INSERT by default, loads with `strict_mode`).
    Strict,
    /// The value becomes NULL.
    Lenient,
}

/// Why a row cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The value is not one of the target type.
    Uncastable,
    /// The string has more bytes than CHAR(n) or VARCHAR(n) holds (in either mode).
    TooLong {
        /// Bytes of the value.
        bytes: u32,
        /// Bytes the column holds.
        limit: u32,
    },
    /// NULL for a NOT NULL column (in either mode).
    Null,
}

/// A row that cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Row of the input array.
    pub row: u32,
    /// Why.
    pub why: Rejection,
}

/// What [`cast_array`] gives.
#[derive(Clone, Debug)]
pub struct CastOutcome {
    /// As many rows as the input, in the storage type of the column; a rejected row holds NULL.
    pub array: ArrayRef,
    /// Rejected rows, ascending.
    pub rejected: Vec<Rejected>,
}

/// Casts values to what a column stores: `array` is of a plan's type (LARGEINT as `Decimal256(39, 0)`) or text of a
/// load. An error is a pair of types without a cast, never a value.
pub fn cast_array(array: &ArrayRef, target: ColumnType, nullable: bool, mode: CastMode) -> Result<CastOutcome> {
    let cast = cast_values(array, &plan_type(target))?;
    let mut rejected = Vec::new();
    if mode == CastMode::Strict && cast.null_count() > array.null_count() {
        let lost = (0..cast.len()).filter(|&row| cast.is_null(row) && !array.is_null(row));
        rejected.extend(lost.map(|row| Rejected { row: row as u32, why: Rejection::Uncastable }));
    }
    if !nullable && cast.null_count() > 0 {
        let missing = |&row: &usize| cast.is_null(row) && (mode == CastMode::Lenient || array.is_null(row));
        rejected.extend((0..cast.len()).filter(missing).map(|row| Rejected { row: row as u32, why: Rejection::Null }));
    }
    let cast = match target {
        ColumnType::Char(limit) | ColumnType::Varchar(limit) => reject_long(cast, limit, &mut rejected),
        _ => cast,
    };
    rejected.sort_by_key(|r| r.row);
    Ok(CastOutcome { array: to_storage(&cast, target), rejected })
}

/// Rejects strings of more than `limit` bytes.
fn reject_long(array: ArrayRef, limit: u32, rejected: &mut Vec<Rejected>) -> ArrayRef {
    let strings = array.as_string::<i32>();
    let long = |length: i32| length as u32 > limit;
    if !strings.offsets().lengths().any(|length| length as u32 > limit) {
        return array;
    }
    let keep = (0..strings.len()).map(|row| {
        let length = strings.value_length(row);
        if strings.is_valid(row) && long(length) {
            rejected.push(Rejected { row: row as u32, why: Rejection::TooLong { bytes: length as u32, limit } });
            return None;
        }
        strings.is_valid(row).then(|| strings.value(row))
    });
    Arc::new(keep.collect::<StringArray>())
}

/// CAST of expressions: a value that has no counterpart in the target type becomes NULL. An error is a pair of types
/// without a cast.
pub fn cast_values(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let from = array.data_type();
    if from == target {
        return Ok(array.clone());
    }
    if from.is_null() {
        return Ok(new_null_array(target, array.len()));
    }
    let plain = canonical(from);
    if plain != *from {
        let widened = match plain {
            LARGEINT => largeints(&safe_cast(array, &DataType::Decimal128(20, 0))?)?,
            _ => safe_cast(array, &plain)?,
        };
        return cast_values(&widened, target);
    }
    match target {
        DataType::Utf8 => strings(array),
        DataType::Binary if is_text(from) => Ok(Arc::new(BinaryArray::from(array.as_string::<i32>().clone()))),
        DataType::Boolean => booleans(array),
        _ if is_text(from) => parsed(array.as_string(), target),
        &LARGEINT => largeints(array),
        _ if is_date(from) && !is_date(target) => cast_values(&(Arc::new(date_numbers(array)) as ArrayRef), target),
        _ if is_date(target) && !is_date(from) => dates_of_numbers(array, target),
        _ if is_decimal(from) && integer_rank(target).is_some() => safe_cast(&truncated(array)?, target),
        DataType::Float32 if from == &DataType::Float64 => Ok(array_f32(array)),
        _ => safe_cast(array, target),
    }
}

/// Arrow's cast; a value it refuses becomes NULL.
fn safe_cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    cast_with_options(array, target, &options).map_err(|_| no_cast(array.data_type(), target))
}

fn no_cast(from: &DataType, to: &DataType) -> DataFusionError {
    DataFusionError::Plan(format!("Invalid type cast from {} to {}", super::type_name(from), super::type_name(to)))
}

/// DECIMAL without its fraction: a cast to an integer cuts off.
fn truncated(array: &ArrayRef) -> Result<ArrayRef> {
    let decimals = array.as_primitive::<Decimal128Type>();
    let scale = usize::try_from(decimals.scale()).unwrap_or(0);
    let power = parse::POW10[scale];
    let whole: Decimal128Array = decimals.unary(|value| value / power);
    Ok(Arc::new(whole.with_precision_and_scale(38, 0)?))
}

fn array_f32(array: &ArrayRef) -> ArrayRef {
    Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float32Type>(|value| value as f32))
}

fn strings(array: &ArrayRef) -> Result<ArrayRef> {
    if let DataType::Binary = array.data_type() {
        let bytes = array.as_binary::<i32>();
        return Ok(Arc::new(
            bytes.iter().map(|v| v.and_then(|v| std::str::from_utf8(v).ok())).collect::<StringArray>(),
        ));
    }
    let writer = TextWriter::new(array.as_ref())?;
    let mut builder = GenericStringBuilder::<i32>::with_capacity(array.len(), array.len() * 8);
    let mut text = Vec::with_capacity(64);
    for row in 0..array.len() {
        if writer.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        writer.write(row, &mut text);
        match std::str::from_utf8(&text) {
            Ok(text) => builder.append_value(text),
            Err(_) => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn booleans(array: &ArrayRef) -> Result<ArrayRef> {
    let from = array.data_type();
    if is_text(from) {
        let strings = array.as_string::<i32>();
        let parsed = strings.iter().map(|v| v.and_then(|v| parse::boolean(v.as_bytes())));
        return Ok(Arc::new(parsed.collect::<BooleanArray>()));
    }
    if let DataType::Decimal128(..) = from {
        return Ok(Arc::new(nonzero::<Decimal128Type>(array, 0)));
    }
    if let DataType::Decimal256(..) = from {
        return Ok(Arc::new(nonzero::<Decimal256Type>(array, i256::ZERO)));
    }
    if is_date(from) || is_float(from) || integer_rank(from).is_some() {
        let numbers = if is_date(from) { Arc::new(date_numbers(array)) } else { array.clone() };
        return Ok(Arc::new(nonzero::<Float64Type>(&safe_cast(&numbers, &DataType::Float64)?, 0.0)));
    }
    Err(no_cast(from, &DataType::Boolean))
}

fn nonzero<T: ArrowPrimitiveType>(array: &ArrayRef, zero: T::Native) -> BooleanArray {
    BooleanArray::from_unary(array.as_primitive::<T>(), |value| value != zero)
}

/// Reads every string.
fn parsed(strings: &StringArray, target: &DataType) -> Result<ArrayRef> {
    Ok(match target {
        DataType::Int8 => read::<Int8Type>(strings, |t| i8::try_from(parse::int(t)?).ok()),
        DataType::Int16 => read::<Int16Type>(strings, |t| i16::try_from(parse::int(t)?).ok()),
        DataType::Int32 => read::<Int32Type>(strings, |t| i32::try_from(parse::int(t)?).ok()),
        DataType::Int64 => read::<Int64Type>(strings, parse::int),
        &LARGEINT => {
            let values: Decimal256Array =
                strings.iter().map(|v| v.and_then(|v| parse::wide_int(v.as_bytes())).map(i256::from_i128)).collect();
            Arc::new(values.with_precision_and_scale(39, 0)?)
        }
        DataType::Float32 => read::<Float32Type>(strings, |t| parse::double(t).map(|v| v as f32)),
        DataType::Float64 => read::<Float64Type>(strings, parse::double),
        DataType::Decimal128(p, s) => {
            let values: Decimal128Array =
                strings.iter().map(|v| v.and_then(|v| parse::decimal(v.as_bytes(), *p, *s))).collect();
            Arc::new(values.with_precision_and_scale(*p, *s)?)
        }
        DataType::Decimal256(_, s) => {
            let narrow = parsed(strings, &DataType::Decimal128(38, *s))?;
            return safe_cast(&narrow, target);
        }
        DataType::Date32 => read::<Date32Type>(strings, parse::date),
        DataType::Timestamp(..) if *target == DATETIME => read::<TimestampMicrosecondType>(strings, parse::datetime),
        other => return Err(no_cast(&DataType::Utf8, other)),
    })
}

fn read<T: ArrowPrimitiveType>(strings: &StringArray, one: impl Fn(&[u8]) -> Option<T::Native>) -> ArrayRef {
    let values = strings.iter().map(|text| text.and_then(|text| one(text.as_bytes())));
    Arc::new(values.collect::<PrimitiveArray<T>>())
}

/// Numbers to LARGEINT; fractions are cut off, what 128 bits do not hold becomes NULL.
fn largeints(array: &ArrayRef) -> Result<ArrayRef> {
    let from = array.data_type();
    let values: Decimal256Array = match from {
        DataType::Float32 | DataType::Float64 => {
            let doubles = safe_cast(array, &DataType::Float64)?;
            let doubles = doubles.as_primitive::<Float64Type>();
            doubles.iter().map(|v| v.and_then(wide_of_double).map(i256::from_i128)).collect()
        }
        DataType::Decimal256(_, scale) => {
            let power = i256::from_i128(10).wrapping_pow(u32::try_from(*scale).unwrap_or(0));
            let wide = array.as_primitive::<Decimal256Type>();
            wide.iter().map(|v| v.and_then(|v| v.wrapping_div(power).to_i128()).map(i256::from_i128)).collect()
        }
        _ if is_date(from) => return largeints(&(Arc::new(date_numbers(array)) as ArrayRef)),
        _ => {
            let whole = if is_decimal(from) {
                truncated(array)?
            } else {
                safe_cast(&safe_cast(array, &DataType::Int64)?, &DataType::Decimal128(19, 0))?
            };
            whole.as_primitive::<Decimal128Type>().unary(i256::from_i128)
        }
    };
    Ok(Arc::new(values.with_precision_and_scale(39, 0)?))
}

fn wide_of_double(value: f64) -> Option<i128> {
    // 2^127 is a double; the largest i128 is not.
    const BOUND: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    (-BOUND..BOUND).contains(&value).then_some(value as i128)
}

/// DATE as yyyyMMdd, DATETIME as yyyyMMddHHmmss.
fn date_numbers(array: &ArrayRef) -> PrimitiveArray<Int64Type> {
    let date_number = |days: i32| {
        let date = civil::ymd_of(days);
        i64::from(date.year) * 10_000 + i64::from(date.month) * 100 + i64::from(date.day)
    };
    match array.data_type() {
        DataType::Date32 => array.as_primitive::<Date32Type>().unary(date_number),
        _ => array.as_primitive::<TimestampMicrosecondType>().unary(|micros| {
            let time = civil::hms_of(micros);
            let clock = i64::from(time.hour) * 10_000 + i64::from(time.minute) * 100 + i64::from(time.second);
            date_number(civil::split(micros).0) * 1_000_000 + clock
        }),
    }
}

/// Numbers of the forms yyyyMMdd and yyyyMMddHHmmss to dates.
fn dates_of_numbers(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let numbers = cast_values(array, &DataType::Int64)?;
    let moments = numbers.as_primitive::<Int64Type>().iter().map(|v| v.and_then(parse::datetime_of_int));
    Ok(match target {
        DataType::Date32 => Arc::new(moments.map(|m| m.map(|(days, _)| days)).collect::<PrimitiveArray<Date32Type>>()),
        _ => {
            let micros = moments.map(|m| m.map(|(days, time)| civil::micros_of(days, time)));
            Arc::new(micros.collect::<PrimitiveArray<TimestampMicrosecondType>>())
        }
    })
}

/// The type a stored column has in a plan: storage's, but LARGEINT as `Decimal256(39, 0)`.
pub fn plan_type(column: ColumnType) -> DataType {
    match column {
        ColumnType::LargeInt => LARGEINT,
        other => other.arrow(),
    }
}

/// A stored array as a plan sees it ([`plan_type`]); only LARGEINT is converted.
pub fn from_storage(array: &ArrayRef, column: ColumnType) -> ArrayRef {
    if column != ColumnType::LargeInt {
        return array.clone();
    }
    let raw = array.as_primitive::<Decimal128Type>();
    Arc::new(raw.unary::<_, Decimal256Type>(i256::from_i128).with_data_type(LARGEINT))
}

/// The inverse of [`from_storage`].
pub fn to_storage(array: &ArrayRef, column: ColumnType) -> ArrayRef {
    if column != ColumnType::LargeInt {
        return array.clone();
    }
    let wide = array.as_primitive::<Decimal256Type>();
    Arc::new(wide.unary::<_, Decimal128Type>(|value| value.as_i128()).with_data_type(DataType::Decimal128(38, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn cast_text(values: &[&str], target: &DataType) -> Vec<Option<String>> {
        let from: Vec<Option<&str>> = values.iter().map(|v| Some(*v)).collect();
        shown(&cast_values(&texts(&from), target).unwrap())
    }

    fn shown(array: &ArrayRef) -> Vec<Option<String>> {
        let strings = cast_values(array, &DataType::Utf8).unwrap();
        strings.as_string::<i32>().iter().map(|v| v.map(str::to_string)).collect()
    }

    fn some(values: &[&str]) -> Vec<Option<String>> {
        values.iter().map(|v| (*v != "NULL").then(|| v.to_string())).collect()
    }

    #[test]
    fn text_to_everything() {
        assert_eq!(cast_text(&["1", "200", "x"], &DataType::Int8), some(&["1", "NULL", "NULL"]));
        assert_eq!(
            cast_text(&["1.005", "-0.5", "1e2"], &DataType::Decimal128(10, 2)),
            some(&["1.01", "-0.50", "100.00"])
        );
        assert_eq!(cast_text(&["true", "0", "maybe"], &DataType::Boolean), some(&["1", "0", "NULL"]));
        assert_eq!(cast_text(&["2020-02-29 10:00:00", "2021-02-29"], &DataType::Date32), some(&["2020-02-29", "NULL"]));
        let max = "170141183460469231731687303715884105727";
        assert_eq!(cast_text(&[max, &format!("{max}0")], &LARGEINT), some(&[max, "NULL"]));
        assert_eq!(cast_text(&["0.1", " 1e3 ", "nan"], &DataType::Float64), some(&["0.1", "1000", "NULL"]));
    }

    #[test]
    fn numbers_out_of_range_are_null() {
        let ints: ArrayRef = Arc::new(PrimitiveArray::<Int64Type>::from(vec![127, 128, -129]));
        assert_eq!(shown(&cast_values(&ints, &DataType::Int8).unwrap()), some(&["127", "NULL", "NULL"]));
        let doubles: ArrayRef = Arc::new(PrimitiveArray::<Float64Type>::from(vec![1.9, -1.9, 1e30]));
        assert_eq!(shown(&cast_values(&doubles, &DataType::Int64).unwrap()), some(&["1", "-1", "NULL"]));
        let decimals =
            cast_values(&texts(&[Some("1.995"), Some("-1.995"), Some("99.995")]), &DataType::Decimal128(5, 3));
        let decimals = decimals.unwrap();
        assert_eq!(shown(&cast_values(&decimals, &DataType::Int32).unwrap()), some(&["1", "-1", "99"]));
        let narrowed = cast_values(&decimals, &DataType::Decimal128(4, 2)).unwrap();
        assert_eq!(shown(&narrowed), some(&["2.00", "-2.00", "NULL"]));
    }

    #[test]
    fn dates_and_numbers() {
        let days = cast_values(&texts(&[Some("2020-01-02")]), &DataType::Date32).unwrap();
        assert_eq!(shown(&cast_values(&days, &DataType::Int32).unwrap()), some(&["20200102"]));
        let number: ArrayRef = Arc::new(PrimitiveArray::<Int64Type>::from(vec![20_200_102_030_405, 20_201_302]));
        assert_eq!(shown(&cast_values(&number, &DATETIME).unwrap()), some(&["2020-01-02 03:04:05", "NULL"]));
        assert_eq!(shown(&cast_values(&days, &DATETIME).unwrap()), some(&["2020-01-02 00:00:00"]));
    }

    #[test]
    fn storing_rejects_what_does_not_fit() {
        let input = texts(&[Some("1"), Some("x"), None]);
        let strict = cast_array(&input, ColumnType::Int, true, CastMode::Strict).unwrap();
        assert_eq!(strict.rejected, [Rejected { row: 1, why: Rejection::Uncastable }]);
        let lenient = cast_array(&input, ColumnType::Int, true, CastMode::Lenient).unwrap();
        assert_eq!(lenient.rejected, []);
        assert_eq!(lenient.array.null_count(), 2);
        let required = cast_array(&input, ColumnType::Int, false, CastMode::Lenient).unwrap();
        assert_eq!(
            required.rejected.iter().map(|r| (r.row, r.why)).collect::<Vec<_>>(),
            [(1, Rejection::Null), (2, Rejection::Null)]
        );
        let strict_required = cast_array(&input, ColumnType::Int, false, CastMode::Strict).unwrap();
        assert_eq!(
            strict_required.rejected.iter().map(|r| r.why).collect::<Vec<_>>(),
            [Rejection::Uncastable, Rejection::Null]
        );
        let long =
            cast_array(&texts(&[Some("ab"), Some("\u{e9}\u{e9}")]), ColumnType::Varchar(3), true, CastMode::Lenient);
        assert_eq!(long.unwrap().rejected, [Rejected { row: 1, why: Rejection::TooLong { bytes: 4, limit: 3 } }]);
    }

    #[test]
    fn largeint_uses_all_bits_in_storage() {
        let text = [Some("-170141183460469231731687303715884105728"), None];
        let stored = cast_array(&texts(&text), ColumnType::LargeInt, true, CastMode::Strict).unwrap().array;
        assert_eq!(stored.data_type(), &DataType::Decimal128(38, 0));
        assert_eq!(stored.as_primitive::<Decimal128Type>().value(0), i128::MIN);
        let back = from_storage(&stored, ColumnType::LargeInt);
        assert_eq!(shown(&back), [text[0].map(str::to_string), None]);
    }
}
