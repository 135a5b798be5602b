//! A value as MySQL's text protocol and CAST to VARCHAR show it: DECIMAL with its whole scale, DATETIME with six digits
//! of fraction or none, BOOLEAN as 1 and 0, FLOAT and DOUBLE as the shortest text that reads back as the same value.

use std::io::Write;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{Array, BinaryArray, BooleanArray, GenericStringArray, PrimitiveArray, StringViewArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};
use datafusion::error::{DataFusionError, Result};

use super::civil;

/// Writes values of one column as text.
pub struct TextWriter<'a> {
    array: &'a dyn Array,
    values: Values<'a>,
}

enum Values<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int8(&'a PrimitiveArray<Int8Type>),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    UInt8(&'a PrimitiveArray<UInt8Type>),
    UInt16(&'a PrimitiveArray<UInt16Type>),
    UInt32(&'a PrimitiveArray<UInt32Type>),
    UInt64(&'a PrimitiveArray<UInt64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal128(&'a PrimitiveArray<Decimal128Type>, i8),
    Decimal256(&'a PrimitiveArray<Decimal256Type>, i8),
    Date(&'a PrimitiveArray<Date32Type>),
    Seconds(&'a PrimitiveArray<TimestampSecondType>),
    Millis(&'a PrimitiveArray<TimestampMillisecondType>),
    Micros(&'a PrimitiveArray<TimestampMicrosecondType>),
    Nanos(&'a PrimitiveArray<TimestampNanosecondType>),
    Time(&'a PrimitiveArray<datafusion::arrow::datatypes::DurationMicrosecondType>),
    Utf8(&'a GenericStringArray<i32>),
    LargeUtf8(&'a GenericStringArray<i64>),
    Utf8View(&'a StringViewArray),
    Binary(&'a BinaryArray),
    Dictionary(Vec<usize>, Box<TextWriter<'a>>),
}

impl<'a> TextWriter<'a> {
    /// Looks at the column's type once. An error is a type without a text form.
    pub fn new(array: &'a dyn Array) -> Result<TextWriter<'a>> {
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int8 => Values::Int8(array.as_primitive()),
            DataType::Int16 => Values::Int16(array.as_primitive()),
            DataType::Int32 => Values::Int32(array.as_primitive()),
            DataType::Int64 => Values::Int64(array.as_primitive()),
            DataType::UInt8 => Values::UInt8(array.as_primitive()),
            DataType::UInt16 => Values::UInt16(array.as_primitive()),
            DataType::UInt32 => Values::UInt32(array.as_primitive()),
            DataType::UInt64 => Values::UInt64(array.as_primitive()),
            DataType::Float32 => Values::Float32(array.as_primitive()),
            DataType::Float64 => Values::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Values::Decimal128(array.as_primitive(), *scale),
            DataType::Decimal256(_, scale) => Values::Decimal256(array.as_primitive(), *scale),
            DataType::Date32 => Values::Date(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Second, _) => Values::Seconds(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Values::Millis(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Values::Micros(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Values::Nanos(array.as_primitive()),
            DataType::Duration(TimeUnit::Microsecond) => Values::Time(array.as_primitive()),
            DataType::Utf8 => Values::Utf8(array.as_string()),
            DataType::LargeUtf8 => Values::LargeUtf8(array.as_string()),
            DataType::Utf8View => Values::Utf8View(array.as_string_view()),
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::Dictionary(..) => Self::dictionary(array)?,
            other => return Err(DataFusionError::Plan(format!("type {other} has no text form"))),
        };
        Ok(TextWriter { array, values })
    }

    fn dictionary(array: &'a dyn Array) -> Result<Values<'a>> {
        let any = array.as_any_dictionary();
        let values = TextWriter::new(any.values().as_ref())?;
        let keys = if any.values().is_empty() { vec![0; array.len()] } else { any.normalized_keys() };
        Ok(Values::Dictionary(keys, Box::new(values)))
    }

    /// Whether the row is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        match &self.values {
            Values::Null => true,
            Values::Dictionary(keys, values) => self.array.is_null(row) || values.is_null(keys[row]),
            _ => self.array.is_null(row),
        }
    }

    /// Appends the text of a row that is not NULL to `out`.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Null => {}
            Values::Boolean(a) => out.push(if a.value(row) { b'1' } else { b'0' }),
            Values::Int8(a) => push_int(out, i64::from(a.value(row))),
            Values::Int16(a) => push_int(out, i64::from(a.value(row))),
            Values::Int32(a) => push_int(out, i64::from(a.value(row))),
            Values::Int64(a) => push_int(out, a.value(row)),
            Values::UInt8(a) => push_int(out, i64::from(a.value(row))),
            Values::UInt16(a) => push_int(out, i64::from(a.value(row))),
            Values::UInt32(a) => push_int(out, i64::from(a.value(row))),
            Values::UInt64(a) => push_unsigned(out, a.value(row)),
            Values::Float32(a) => push_float(out, a.value(row)),
            Values::Float64(a) => push_double(out, a.value(row)),
            Values::Decimal128(a, scale) => push_decimal(out, a.value(row), *scale),
            Values::Decimal256(a, scale) => push_decimal_256(out, a.value(row), *scale),
            Values::Date(a) => push_date(out, a.value(row)),
            Values::Seconds(a) => push_datetime(out, a.value(row).saturating_mul(1_000_000)),
            Values::Millis(a) => push_datetime(out, a.value(row).saturating_mul(1_000)),
            Values::Micros(a) => push_datetime(out, a.value(row)),
            Values::Nanos(a) => push_datetime(out, a.value(row).div_euclid(1_000)),
            Values::Time(a) => push_time(out, a.value(row)),
            Values::Utf8(a) => out.extend_from_slice(a.value(row).as_bytes()),
            Values::LargeUtf8(a) => out.extend_from_slice(a.value(row).as_bytes()),
            Values::Utf8View(a) => out.extend_from_slice(a.value(row).as_bytes()),
            Values::Binary(a) => out.extend_from_slice(a.value(row)),
            Values::Dictionary(keys, values) => values.write(keys[row], out),
        }
    }
}

/// Appends an integer.
pub fn push_int(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_unsigned(out, value.unsigned_abs());
}

fn push_unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `width` digits with leading zeros.
fn push_padded(out: &mut Vec<u8>, value: u32, width: usize) {
    let mut digits = [b'0'; 10];
    let mut rest = value;
    for digit in digits[..width].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[..width]);
}

/// Appends a DOUBLE: plain between 1e-5 and 1e15, else as `1.5e20`.
pub fn push_double(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    // Writing to a Vec cannot fail.
    let _ = if value.is_nan() {
        write!(out, "nan")
    } else if value.is_infinite() {
        write!(out, "{}", if value > 0.0 { "inf" } else { "-inf" })
    } else if size == 0.0 || (1e-5..1e15).contains(&size) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
}

/// Appends a FLOAT, with the digits that tell it from its neighbours.
pub fn push_float(out: &mut Vec<u8>, value: f32) {
    let size = value.abs();
    if !value.is_finite() {
        return push_double(out, f64::from(value));
    }
    // Writing to a Vec cannot fail.
    let _ = if size == 0.0 || (1e-5..1e15).contains(&size) { write!(out, "{value}") } else { write!(out, "{value:e}") };
}

/// Appends a DECIMAL with its whole scale.
pub fn push_decimal(out: &mut Vec<u8>, value: i128, scale: i8) {
    if value < 0 {
        out.push(b'-');
    }
    let size = value.unsigned_abs();
    let mut digits = [b'0'; 40];
    let mut at = digits.len();
    let mut rest = size;
    // Divisions of 64 bits are several times faster.
    while rest > u128::from(u64::MAX) {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let mut rest = rest as u64;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    push_point(out, &digits, at, scale);
}

fn push_decimal_256(out: &mut Vec<u8>, value: i256, scale: i8) {
    if let Some(narrow) = value.to_i128() {
        return push_decimal(out, narrow, scale);
    }
    let text = value.to_string();
    let digits = text.trim_start_matches('-').as_bytes();
    if digits.len() < text.len() {
        out.push(b'-');
    }
    push_point(out, digits, 0, scale);
}

/// Appends `digits[at..]` with `scale` of them after the point, adding zeros in front where there are too few.
fn push_point(out: &mut Vec<u8>, digits: &[u8], at: usize, scale: i8) {
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = &digits[at..];
    let whole = digits.len().saturating_sub(scale);
    if whole == 0 {
        out.push(b'0');
    }
    out.extend_from_slice(&digits[..whole]);
    if scale > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
        out.extend_from_slice(&digits[whole..]);
    }
}

/// Appends a DATE.
pub fn push_date(out: &mut Vec<u8>, days: i32) {
    let date = civil::ymd_of(days);
    push_padded(out, date.year.max(0) as u32, 4);
    out.push(b'-');
    push_padded(out, date.month, 2);
    out.push(b'-');
    push_padded(out, date.day, 2);
}

/// Appends a DATETIME.
pub fn push_datetime(out: &mut Vec<u8>, micros: i64) {
    let (days, _) = civil::split(micros);
    let time = civil::hms_of(micros);
    push_date(out, days);
    out.push(b' ');
    push_clock(out, time.hour, time.minute, time.second, time.micro);
}

/// Appends a TIME (a duration in microseconds).
pub fn push_time(out: &mut Vec<u8>, micros: i64) {
    if micros < 0 {
        out.push(b'-');
    }
    let seconds = micros.unsigned_abs() / 1_000_000;
    let micro = (micros.unsigned_abs() % 1_000_000) as u32;
    let hours = u32::try_from(seconds / 3600).unwrap_or(u32::MAX);
    if hours >= 100 {
        push_unsigned(out, u64::from(hours));
    } else {
        push_padded(out, hours, 2);
    }
    push_clock_rest(out, (seconds / 60 % 60) as u32, (seconds % 60) as u32, micro);
}

fn push_clock(out: &mut Vec<u8>, hour: u32, minute: u32, second: u32, micro: u32) {
    push_padded(out, hour, 2);
    push_clock_rest(out, minute, second, micro);
}

fn push_clock_rest(out: &mut Vec<u8>, minute: u32, second: u32, micro: u32) {
    out.push(b':');
    push_padded(out, minute, 2);
    out.push(b':');
    push_padded(out, second, 2);
    if micro != 0 {
        out.push(b'.');
        push_padded(out, micro, 6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_keep_their_scale() {
        let text = |value, scale| written(|out| push_decimal(out, value, scale));
        assert_eq!(text(31_415_926_560, 10), "3.1415926560");
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(0, 2), "0.00");
        assert_eq!(text(0, 0), "0");
        assert_eq!(text(1200, 2), "12.00");
        assert_eq!(text(i128::MIN, 0), "-170141183460469231731687303715884105728");
        assert_eq!(written(|out| push_decimal_256(out, i256::from_i128(7), 1)), "0.7");
    }

    #[test]
    fn doubles_are_shortest() {
        let text = |value| written(|out| push_double(out, value));
        assert_eq!(text(1.0), "1");
        assert_eq!(text(0.1), "0.1");
        assert_eq!(text(-2.5), "-2.5");
        assert_eq!(text(1e15), "1e15");
        assert_eq!(text(123_456_789_012_345.0), "123456789012345");
        assert_eq!(text(1.5e-7), "1.5e-7");
        assert_eq!(written(|out| push_float(out, 0.1)), "0.1");
    }

    #[test]
    fn moments() {
        assert_eq!(written(|out| push_datetime(out, 0)), "1970-01-01 00:00:00");
        assert_eq!(written(|out| push_datetime(out, -1)), "1969-12-31 23:59:59.999999");
        assert_eq!(written(|out| push_datetime(out, 500_000)), "1970-01-01 00:00:00.500000");
        assert_eq!(written(|out| push_date(out, civil::DAYS_MIN)), "0000-01-01");
        assert_eq!(written(|out| push_time(out, -3_600_000_000 * 838)), "-838:00:00");
    }
}
