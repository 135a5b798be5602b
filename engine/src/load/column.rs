//! One growing column: text in, values in storage's form out. A row that turns out to be bad is taken back with `truncate`.
//!
//! The canonical text of each type has a path of its own, because a load spends most of its time here; every other spelling goes
//! through `types::cast_array`, which knows them all, so that a load and a CAST agree.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray, StringArray};
use arrow::array::{BooleanBufferBuilder, types};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use starling_storage::schema::{Column, ColumnType};

use crate::types::civil::{self, Hms};
use crate::types::{CastMode, cast_array};

/// Why a value cannot be stored; shown to the user with the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// The text is not a value of the type.
    Uncastable,
    /// NULL for a NOT NULL column.
    Null,
    /// More bytes than the column holds.
    TooLong(usize),
    /// Not UTF-8.
    Utf8,
}

enum Data {
    Bool(Vec<bool>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Wide(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Text { bytes: Vec<u8>, ends: Vec<i32> },
}

/// A column under construction.
pub(super) struct ColumnBuf {
    column: Column,
    data: Data,
    valid: BooleanBufferBuilder,
    nulls: usize,
}

impl ColumnBuf {
    pub(super) fn new(column: &Column) -> ColumnBuf {
        let data = match column.ty {
            ColumnType::Boolean => Data::Bool(Vec::new()),
            ColumnType::TinyInt => Data::I8(Vec::new()),
            ColumnType::SmallInt => Data::I16(Vec::new()),
            ColumnType::Int | ColumnType::Date => Data::I32(Vec::new()),
            ColumnType::BigInt | ColumnType::DateTime => Data::I64(Vec::new()),
            ColumnType::LargeInt | ColumnType::Decimal { .. } => Data::Wide(Vec::new()),
            ColumnType::Float => Data::F32(Vec::new()),
            ColumnType::Double => Data::F64(Vec::new()),
            ColumnType::Char(_) | ColumnType::Varchar(_) => Data::Text { bytes: Vec::new(), ends: Vec::new() },
        };
        ColumnBuf { column: column.clone(), data, valid: BooleanBufferBuilder::new(0), nulls: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    pub(super) fn name(&self) -> &str {
        &self.column.name
    }

    /// Appends NULL. `required`: the row is not a delete, so NOT NULL counts.
    pub(super) fn push_null(&mut self, required: bool) -> Result<(), Bad> {
        if required && !self.column.nullable {
            return Err(Bad::Null);
        }
        match &mut self.data {
            Data::Bool(v) => v.push(false),
            Data::I8(v) => v.push(0),
            Data::I16(v) => v.push(0),
            Data::I32(v) => v.push(0),
            Data::I64(v) => v.push(0),
            Data::Wide(v) => v.push(0),
            Data::F32(v) => v.push(0.0),
            Data::F64(v) => v.push(0.0),
            Data::Text { bytes, ends } => ends.push(bytes.len() as i32),
        }
        self.valid.append(false);
        self.nulls += 1;
        Ok(())
    }

    /// Appends the value that `text` spells. With `strict` off, text that spells none becomes NULL. On an error nothing is
    /// appended.
    pub(super) fn push_text(&mut self, text: &[u8], strict: bool, required: bool) -> Result<(), Bad> {
        if self.push_canonical(text)? {
            self.valid.append(true);
            return Ok(());
        }
        match self.cast(text)? {
            Some(()) => {
                self.valid.append(true);
                Ok(())
            }
            // NULL in its place is no way out where NULL is not allowed: the value is what is wrong.
            None if strict || (required && !self.column.nullable) => Err(Bad::Uncastable),
            None => self.push_null(required),
        }
    }

    /// The usual spelling of each type; `false`: not usual, nothing appended.
    fn push_canonical(&mut self, text: &[u8]) -> Result<bool, Bad> {
        fn some<T>(into: &mut Vec<T>, value: Option<T>) -> bool {
            value.map(|v| into.push(v)).is_some()
        }
        let ty = self.column.ty;
        Ok(match &mut self.data {
            Data::Text { bytes, ends } => {
                let limit = match ty {
                    ColumnType::Char(n) | ColumnType::Varchar(n) => n as usize,
                    _ => usize::MAX,
                };
                if text.len() > limit {
                    return Err(Bad::TooLong(text.len()));
                }
                std::str::from_utf8(text).map_err(|_| Bad::Utf8)?;
                bytes.extend_from_slice(text);
                ends.push(bytes.len() as i32);
                true
            }
            Data::Bool(v) => some(v, boolean(text)),
            Data::I8(v) => some(v, integer(text).and_then(|x| x.try_into().ok())),
            Data::I16(v) => some(v, integer(text).and_then(|x| x.try_into().ok())),
            Data::I32(v) if ty == ColumnType::Date => some(v, date(text)),
            Data::I32(v) => some(v, integer(text).and_then(|x| x.try_into().ok())),
            Data::I64(v) if ty == ColumnType::DateTime => some(v, datetime(text)),
            Data::I64(v) => some(v, integer(text)),
            Data::Wide(v) => match ty {
                ColumnType::Decimal { precision, scale } => some(v, decimal(text, precision, scale)),
                _ => some(v, integer(text).map(i128::from)),
            },
            Data::F32(v) => some(v, float(text).map(|x| x as f32)),
            Data::F64(v) => some(v, float(text)),
        })
    }

    /// Any other spelling, by the CAST that expressions use. `None`: no value.
    fn cast(&mut self, text: &[u8]) -> Result<Option<()>, Bad> {
        let text = std::str::from_utf8(text).map_err(|_| Bad::Utf8)?;
        let input: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let Ok(outcome) = cast_array(&input, self.column.ty, true, CastMode::Lenient) else { return Ok(None) };
        let array = outcome.array;
        if array.is_null(0) {
            return Ok(None);
        }
        match &mut self.data {
            Data::Bool(v) => v.push(array.as_boolean().value(0)),
            Data::I8(v) => v.push(array.as_primitive::<types::Int8Type>().value(0)),
            Data::I16(v) => v.push(array.as_primitive::<types::Int16Type>().value(0)),
            Data::I32(v) if self.column.ty == ColumnType::Date => {
                v.push(array.as_primitive::<types::Date32Type>().value(0));
            }
            Data::I32(v) => v.push(array.as_primitive::<types::Int32Type>().value(0)),
            Data::I64(v) if self.column.ty == ColumnType::DateTime => {
                v.push(array.as_primitive::<types::TimestampMicrosecondType>().value(0));
            }
            Data::I64(v) => v.push(array.as_primitive::<types::Int64Type>().value(0)),
            Data::Wide(v) => v.push(array.as_primitive::<types::Decimal128Type>().value(0)),
            Data::F32(v) => v.push(array.as_primitive::<types::Float32Type>().value(0)),
            Data::F64(v) => v.push(array.as_primitive::<types::Float64Type>().value(0)),
            Data::Text { .. } => return Ok(None),
        }
        Ok(Some(()))
    }

    /// Takes back every row from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        for row in rows..self.valid.len() {
            self.nulls -= usize::from(!self.valid.get_bit(row));
        }
        self.valid.truncate(rows);
        match &mut self.data {
            Data::Bool(v) => v.truncate(rows),
            Data::I8(v) => v.truncate(rows),
            Data::I16(v) => v.truncate(rows),
            Data::I32(v) => v.truncate(rows),
            Data::I64(v) => v.truncate(rows),
            Data::Wide(v) => v.truncate(rows),
            Data::F32(v) => v.truncate(rows),
            Data::F64(v) => v.truncate(rows),
            Data::Text { bytes, ends } => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |&end| end as usize));
            }
        }
    }

    /// The column so far as an array; the buffer starts anew.
    pub(super) fn finish(&mut self) -> ArrayRef {
        fn primitive<T: arrow::datatypes::ArrowPrimitiveType>(
            values: &mut Vec<T::Native>,
            nulls: Option<NullBuffer>,
        ) -> PrimitiveArray<T> {
            let next = Vec::with_capacity(values.len());
            PrimitiveArray::new(ScalarBuffer::from(std::mem::replace(values, next)), nulls)
        }
        let bits = self.valid.finish();
        let nulls = (self.nulls > 0).then(|| NullBuffer::new(bits));
        self.nulls = 0;
        match &mut self.data {
            Data::Bool(v) => Arc::new(BooleanArray::new(std::mem::take(v).into(), nulls)),
            Data::I8(v) => Arc::new(primitive::<types::Int8Type>(v, nulls)),
            Data::I16(v) => Arc::new(primitive::<types::Int16Type>(v, nulls)),
            Data::I32(v) if self.column.ty == ColumnType::Date => Arc::new(primitive::<types::Date32Type>(v, nulls)),
            Data::I32(v) => Arc::new(primitive::<types::Int32Type>(v, nulls)),
            Data::I64(v) if self.column.ty == ColumnType::DateTime => {
                Arc::new(primitive::<types::TimestampMicrosecondType>(v, nulls))
            }
            Data::I64(v) => Arc::new(primitive::<types::Int64Type>(v, nulls)),
            Data::Wide(v) => {
                let array: Decimal128Array = primitive::<types::Decimal128Type>(v, nulls);
                Arc::new(array.with_data_type(self.column.ty.arrow()))
            }
            Data::F32(v) => Arc::new(primitive::<types::Float32Type>(v, nulls)),
            Data::F64(v) => Arc::new(primitive::<types::Float64Type>(v, nulls)),
            Data::Text { bytes, ends } => {
                let mut offsets = Vec::with_capacity(ends.len() + 1);
                offsets.push(0);
                offsets.append(ends);
                let next = Vec::with_capacity(bytes.len());
                let data = Buffer::from_vec(std::mem::replace(bytes, next));
                Arc::new(text_array(OffsetBuffer::new(offsets.into()), data, nulls))
            }
        }
    }
}

/// Each value was checked to be UTF-8 when it was appended; to check the whole buffer again would double the cost.
#[expect(unsafe_code, reason = "every value was validated by push_canonical")]
fn text_array(offsets: OffsetBuffer<i32>, data: Buffer, nulls: Option<NullBuffer>) -> StringArray {
    // SAFETY: `push_canonical` appends only whole values that `from_utf8` accepted and `truncate` cuts at value ends, so
    // every range between two offsets is UTF-8 and the offsets ascend to the length of the data.
    unsafe { StringArray::new_unchecked(offsets, data, nulls) }
}

fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

/// Plain digits with an optional sign, up to 18 of them, so that nothing can overflow.
fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    let value = digits_value(digits)?;
    Some(if negative { -value } else { value })
}

fn digits_value(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for &b in digits {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

/// `123.45` with at most `scale` decimals and at most 18 digits in all.
fn decimal(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &b""[..]),
    };
    if fraction.len() > scale as usize || whole.len() + fraction.len() > 18 {
        return None;
    }
    let fraction_value = if fraction.is_empty() { 0 } else { digits_value(fraction)? };
    let mut value = i128::from(digits_value(whole)?);
    value = value * POW10[fraction.len()] + i128::from(fraction_value);
    value *= POW10[scale as usize - fraction.len()];
    if value >= POW10[precision as usize] {
        return None;
    }
    Some(if negative { -value } else { value })
}

/// Powers of ten up to 10^38.
const POW10: [i128; 39] = {
    let mut table = [1i128; 39];
    let mut i = 1;
    while i < 39 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// Anything `f64::from_str` takes that is a finite number.
fn float(text: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// `yyyy-MM-dd`, as days since 1970-01-01.
fn date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = digits_value(&text[..4])? as i32;
    let month = digits_value(&text[5..7])? as u32;
    let day = digits_value(&text[8..])? as u32;
    civil::days_checked(year, month, day)
}

/// `yyyy-MM-dd HH:mm:ss[.ffffff]`, as microseconds since 1970-01-01.
fn datetime(text: &[u8]) -> Option<i64> {
    if text.len() < 19 || !matches!(text[10], b' ' | b'T') || text[13] != b':' || text[16] != b':' {
        return None;
    }
    let days = date(&text[..10])?;
    let part = |from: usize| digits_value(&text[from..from + 2]).map(|value| value as u32);
    let (hour, minute, second) = (part(11)?, part(14)?, part(17)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micro = match &text[19..] {
        [] => 0,
        [b'.', fraction @ ..] if fraction.len() <= 6 => {
            digits_value(fraction)? as u32 * 10u32.pow(6 - fraction.len() as u32)
        }
        _ => return None,
    };
    Some(civil::micros_of(days, Hms { hour, minute, second, micro }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(ty: ColumnType) -> ColumnBuf {
        ColumnBuf::new(&Column { id: 0, name: "c".into(), ty, nullable: true, default: None, comment: String::new() })
    }

    #[test]
    fn canonical_dates_are_days_of_the_calendar() {
        for (text, days) in [("1970-01-01", 0), ("1969-12-31", -1), ("2000-02-29", 11_016), ("0001-01-01", -719_162)] {
            assert_eq!(date(text.as_bytes()), Some(days), "{text}");
        }
        for bad in ["2001-02-29", "2001-13-01", "2001-00-10", "2001-01-00", "2001/01/01", "01-01-2001"] {
            assert_eq!(date(bad.as_bytes()), None, "{bad}");
        }
        for micros in [0, -1_000_000, 951_782_400_000_000, 1_767_225_600_000_007, -62_135_596_800_000_000] {
            let mut text = Vec::new();
            crate::types::text::push_datetime(&mut text, micros);
            assert_eq!(datetime(&text), Some(micros));
        }
        assert_eq!(datetime(b"1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(datetime(b"1970-01-01T00:01:00"), Some(60_000_000));
        assert_eq!(datetime(b"1970-01-01 24:00:00"), None);
    }

    #[test]
    fn decimals_are_scaled() {
        assert_eq!(decimal(b"12.3", 10, 2), Some(1230));
        assert_eq!(decimal(b"-0.07", 10, 2), Some(-7));
        assert_eq!(decimal(b"5", 3, 2), Some(500));
        assert_eq!(decimal(b"50", 3, 2), None, "too many digits before the point");
        assert_eq!(decimal(b"1.234", 10, 2), None, "rounding is the cast's business");
    }

    #[test]
    fn a_row_can_be_taken_back() {
        let mut text = column(ColumnType::Varchar(5));
        text.push_text(b"one", true, true).unwrap();
        text.push_null(true).unwrap();
        text.push_text(b"three", true, true).unwrap();
        assert_eq!(text.push_text(b"too long", true, true), Err(Bad::TooLong(8)));
        assert_eq!(text.push_text(b"\xff", false, true), Err(Bad::Utf8));
        text.truncate(1);
        text.push_text(b"", true, true).unwrap();
        let array = text.finish();
        assert_eq!(array.as_string::<i32>(), &StringArray::from(vec!["one", ""]));
        assert_eq!(array.null_count(), 0);
        assert_eq!(text.len(), 0);
    }
}
