//! Batches as rows of the text and of the binary protocol.
//!
//! A batch's columns are looked at once; then rows are written one after the other into the packet buffer. The width of a binary value
//! follows the column's definition, so a column whose Arrow type is another one than its SQL type's is cast first.

use arrow::array::types::{
    ArrowPrimitiveType, Date32Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use starling_engine::error::EngineError;
use starling_engine::session::{ColumnMeta, SqlType};
use starling_engine::types::text::TextWriter;
use starling_wire::{put_lenenc_bytes, row, value};

const SECOND_MICROS: i64 = 1_000_000;
const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;
/// The longest length that one byte says.
const SHORT_TEXT_BYTES_MAX: usize = 250;

/// Text rows of one batch.
pub struct TextRows<'a> {
    columns: Vec<TextColumn<'a>>,
}

enum TextColumn<'a> {
    Text(&'a StringArray),
    Other(TextWriter<'a>),
}

impl<'a> TextRows<'a> {
    pub fn new(batch: &'a RecordBatch) -> Result<TextRows<'a>, EngineError> {
        let column = |array: &'a ArrayRef| match array.data_type() {
            DataType::Utf8 => Ok(TextColumn::Text(array.as_string())),
            _ => writer(array).map(TextColumn::Other),
        };
        Ok(TextRows { columns: batch.columns().iter().map(column).collect::<Result<_, _>>()? })
    }

    /// Appends one row.
    pub fn write(&self, index: usize, out: &mut Vec<u8>) {
        for column in &self.columns {
            match column {
                TextColumn::Text(array) if array.is_null(index) => row::put_text_null(out),
                TextColumn::Text(array) => put_lenenc_bytes(out, array.value(index).as_bytes()),
                TextColumn::Other(writer) if writer.is_null(index) => row::put_text_null(out),
                TextColumn::Other(writer) => put_written(out, writer, index),
            }
        }
    }
}

fn writer(array: &ArrayRef) -> Result<TextWriter<'_>, EngineError> {
    TextWriter::new(array.as_ref()).map_err(EngineError::internal)
}

/// Appends what `writer` writes with its length before it, without a buffer between: nearly all texts take one byte of length.
fn put_written(out: &mut Vec<u8>, writer: &TextWriter<'_>, index: usize) {
    let start = out.len();
    out.push(0);
    writer.write(index, out);
    let len = out.len() - start - 1;
    if len <= SHORT_TEXT_BYTES_MAX {
        out[start] = len as u8;
        return;
    }
    let text = out.split_off(start + 1);
    out.truncate(start);
    put_lenenc_bytes(out, &text);
}

/// Binary rows of one batch.
pub struct BinaryRows {
    columns: Vec<BinaryColumn>,
}

enum BinaryColumn {
    Null,
    Boolean(BooleanArray),
    Int8(PrimitiveArray<Int8Type>),
    Int16(PrimitiveArray<Int16Type>),
    Int32(PrimitiveArray<Int32Type>),
    Int64(PrimitiveArray<Int64Type>),
    Float32(PrimitiveArray<Float32Type>),
    Float64(PrimitiveArray<Float64Type>),
    Date(PrimitiveArray<Date32Type>),
    DateTime(PrimitiveArray<TimestampMicrosecondType>),
    Time(PrimitiveArray<DurationMicrosecondType>),
    /// Everything that travels as a length-encoded string.
    Text(ArrayRef),
}

impl BinaryRows {
    pub fn new(batch: &RecordBatch, columns: &[ColumnMeta]) -> Result<BinaryRows, EngineError> {
        let pairs = batch.columns().iter().zip(columns);
        let columns = pairs.map(|(array, column)| BinaryColumn::new(array, column.ty)).collect::<Result<_, _>>()?;
        Ok(BinaryRows { columns })
    }

    /// The writers of the texts among the columns; made once a batch, they borrow from `self`.
    pub fn texts(&self) -> Result<Vec<Option<TextWriter<'_>>>, EngineError> {
        self.columns.iter().map(BinaryColumn::text).collect()
    }

    /// Appends one row. `texts` are this batch's.
    pub fn write(&self, index: usize, texts: &[Option<TextWriter<'_>>], out: &mut Vec<u8>) {
        let bitmap = row::begin_binary(out, self.columns.len());
        for (number, column) in self.columns.iter().enumerate() {
            if column.is_null(index) {
                row::set_binary_null(out, bitmap, number);
            } else if let Some(Some(text)) = texts.get(number) {
                put_written(out, text, index);
            } else {
                column.write(index, out);
            }
        }
    }
}

impl BinaryColumn {
    fn new(array: &ArrayRef, ty: SqlType) -> Result<BinaryColumn, EngineError> {
        Ok(match ty {
            SqlType::Null => BinaryColumn::Null,
            SqlType::Boolean => BinaryColumn::Boolean(as_type(array, DataType::Boolean)?.as_boolean().clone()),
            SqlType::TinyInt => BinaryColumn::Int8(primitive(array)?),
            SqlType::SmallInt => BinaryColumn::Int16(primitive(array)?),
            SqlType::Int => BinaryColumn::Int32(primitive(array)?),
            SqlType::BigInt => BinaryColumn::Int64(primitive(array)?),
            SqlType::Float => BinaryColumn::Float32(primitive(array)?),
            SqlType::Double => BinaryColumn::Float64(primitive(array)?),
            SqlType::Date => BinaryColumn::Date(primitive(array)?),
            SqlType::DateTime => BinaryColumn::DateTime(primitive(array)?),
            SqlType::Time => {
                BinaryColumn::Time(primitive(&as_type(array, DataType::Duration(TimeUnit::Microsecond))?)?)
            }
            SqlType::LargeInt | SqlType::Decimal { .. } | SqlType::Char(_) | SqlType::Varchar(_) | SqlType::Binary => {
                BinaryColumn::Text(array.clone())
            }
        })
    }

    fn text(&self) -> Result<Option<TextWriter<'_>>, EngineError> {
        match self {
            BinaryColumn::Text(array) => writer(array).map(Some),
            _ => Ok(None),
        }
    }

    fn is_null(&self, index: usize) -> bool {
        match self {
            BinaryColumn::Null => true,
            BinaryColumn::Boolean(array) => array.is_null(index),
            BinaryColumn::Int8(array) => array.is_null(index),
            BinaryColumn::Int16(array) => array.is_null(index),
            BinaryColumn::Int32(array) => array.is_null(index),
            BinaryColumn::Int64(array) => array.is_null(index),
            BinaryColumn::Float32(array) => array.is_null(index),
            BinaryColumn::Float64(array) => array.is_null(index),
            BinaryColumn::Date(array) => array.is_null(index),
            BinaryColumn::DateTime(array) => array.is_null(index),
            BinaryColumn::Time(array) => array.is_null(index),
            BinaryColumn::Text(array) => array.is_null(index),
        }
    }

    /// Appends a value that is not NULL and no text.
    fn write(&self, index: usize, out: &mut Vec<u8>) {
        match self {
            BinaryColumn::Null | BinaryColumn::Text(_) => {}
            BinaryColumn::Boolean(array) => out.push(u8::from(array.value(index))),
            BinaryColumn::Int8(array) => out.extend_from_slice(&array.value(index).to_le_bytes()),
            BinaryColumn::Int16(array) => out.extend_from_slice(&array.value(index).to_le_bytes()),
            BinaryColumn::Int32(array) => out.extend_from_slice(&array.value(index).to_le_bytes()),
            BinaryColumn::Int64(array) => out.extend_from_slice(&array.value(index).to_le_bytes()),
            BinaryColumn::Float32(array) => out.extend_from_slice(&array.value(index).to_le_bytes()),
            BinaryColumn::Float64(array) => out.extend_from_slice(&array.value(index).to_le_bytes()),
            BinaryColumn::Date(array) => {
                let (year, month, day) = civil(i64::from(array.value(index)));
                value::put_date(out, year, month, day);
            }
            BinaryColumn::DateTime(array) => put_datetime(out, array.value(index)),
            BinaryColumn::Time(array) => put_time(out, array.value(index)),
        }
    }
}

fn as_type(array: &ArrayRef, ty: DataType) -> Result<ArrayRef, EngineError> {
    if *array.data_type() == ty { Ok(array.clone()) } else { cast(array, &ty).map_err(EngineError::internal) }
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<PrimitiveArray<T>, EngineError> {
    Ok(as_type(array, T::DATA_TYPE)?.as_primitive::<T>().clone())
}

fn put_datetime(out: &mut Vec<u8>, micros: i64) {
    let date = civil(micros.div_euclid(DAY_MICROS));
    let (hour, minute, second, rest) = clock(micros.rem_euclid(DAY_MICROS));
    value::put_datetime(out, date, (hour as u8, minute, second), rest);
}

fn put_time(out: &mut Vec<u8>, micros: i64) {
    let (hours, minute, second, rest) = clock(micros.saturating_abs());
    value::put_time(out, micros < 0, hours, (minute, second), rest);
}

/// Hours, minutes, seconds and microseconds of a count of microseconds that is not negative.
fn clock(micros: i64) -> (u32, u8, u8, u32) {
    let seconds = micros / SECOND_MICROS;
    let hours = u32::try_from(seconds / 3600).unwrap_or(u32::MAX);
    (hours, (seconds / 60 % 60) as u8, (seconds % 60) as u8, (micros % SECOND_MICROS) as u32)
}

/// Year, month and day of a count of days since 1970-01-01, proleptic Gregorian (Hinnant, "chrono-compatible low-level date
/// algorithms", civil_from_days). Years outside of the protocol's 16 bits come out as 0.
fn civil(days: i64) -> (u16, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (u16::try_from(year).unwrap_or(0), month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Date32Array, Decimal128Array, Int32Array, Int64Array, TimestampMicrosecondArray};
    use starling_wire::Value;
    use starling_wire::column::ColumnDef;
    use starling_wire::row::decode_binary;

    use crate::mysql::columns::definition;

    fn binary(columns: Vec<(SqlType, ArrayRef)>) -> Vec<Vec<Value>> {
        let metas: Vec<_> = columns.iter().map(|(ty, _)| ColumnMeta::of_expression("c", *ty, true)).collect();
        let fields = columns.into_iter().enumerate().map(|(i, (_, array))| (format!("c{i}"), array));
        let batch = RecordBatch::try_from_iter(fields).unwrap();
        let rows = BinaryRows::new(&batch, &metas).unwrap();
        let texts = rows.texts().unwrap();
        let definitions: Vec<_> =
            metas.iter().map(|meta| ColumnDef { ty: definition(meta).ty, ..ColumnDef::default() }).collect();
        let row = |index| {
            let mut out = Vec::new();
            rows.write(index, &texts, &mut out);
            decode_binary(&out, &definitions).unwrap()
        };
        (0..batch.num_rows()).map(row).collect()
    }

    #[test]
    fn binary_values_have_the_width_of_their_definition() {
        let rows = binary(vec![
            (SqlType::Int, Arc::new(Int32Array::from(vec![Some(-1), None]))),
            // An expression whose Arrow type is wider than its SQL type is cast, not sent as it is.
            (SqlType::TinyInt, Arc::new(Int64Array::from(vec![7, 8]))),
            (SqlType::Boolean, Arc::new(BooleanArray::from(vec![true, false]))),
            (SqlType::Null, Arc::new(Int32Array::from(vec![1, 2]))),
        ]);
        assert_eq!(rows[0], [Value::Int(-1), Value::Int(7), Value::Int(1), Value::Null]);
        assert_eq!(rows[1], [Value::Null, Value::Int(8), Value::Int(0), Value::Null]);
    }

    #[test]
    fn dates_and_times_are_civil() {
        let micros = [0, -1, 253_402_300_799_999_999, 951_782_400_000_000];
        let days = [0, -1, 2_932_896, 11_016];
        let rows = binary(vec![
            (SqlType::Date, Arc::new(Date32Array::from(days.to_vec()))),
            (SqlType::DateTime, Arc::new(TimestampMicrosecondArray::from(micros.to_vec()))),
        ]);
        let text: Vec<_> = rows.iter().map(|row| format!("{} {}", row[0], row[1])).collect();
        assert_eq!(text[0], "1970-01-01 1970-01-01 00:00:00");
        assert_eq!(text[1], "1969-12-31 1969-12-31 23:59:59.999999");
        assert_eq!(text[2], "9999-12-31 9999-12-31 23:59:59.999999");
        assert_eq!(text[3], "2000-02-29 2000-02-29 00:00:00");
    }

    #[test]
    fn decimals_travel_as_text() {
        let array = Decimal128Array::from(vec![12_345, -5]).with_precision_and_scale(10, 2).unwrap();
        let rows = binary(vec![(SqlType::Decimal { precision: 10, scale: 2 }, Arc::new(array))]);
        assert_eq!(rows, [[Value::from("123.45")], [Value::from("-0.05")]]);
    }

    #[test]
    fn text_rows_hold_nulls_and_long_texts() {
        let long = "x".repeat(70_000);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(&long)]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(-7), Some(i64::MIN)]));
        let batch = RecordBatch::try_from_iter([("s", texts), ("n", numbers)]).unwrap();
        let rows = TextRows::new(&batch).unwrap();
        let row = |index| {
            let mut out = Vec::new();
            rows.write(index, &mut out);
            row::decode_text(&out, 2).unwrap()
        };
        assert_eq!(row(0), [Value::from("a"), Value::Null]);
        assert_eq!(row(1), [Value::Null, Value::from("-7")]);
        assert_eq!(row(2), [Value::from(long.as_str()), Value::from("-9223372036854775808")]);
    }
}
