//! Rows on their way in: an Arrow batch in table column order with a mark for deletes, and its compact byte form for the
//! log (R1: the rows as they arrived). The bytes come back from disk, so decoding trusts nothing.
//!
//! Byte form, little-endian: `rows u32 | columns u16 | flags u8 (1 = has deletes) | [deletes bitmap]`, then per column
//! `tag u8 | nulls u8 | [validity bitmap] | values`. Values: booleans as a bitmap, fixed-width types as they lie in memory,
//! strings as `total u32 | end offsets u32 x rows | bytes`. Bitmaps are `ceil(rows / 8)` bytes, bit i of byte i / 8.

use crate::error::{Result, StorageError};
use crate::schema::TabletSchema;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray, RecordBatch, StringArray};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use std::sync::Arc;

/// Rows of one tablet or one table.
#[derive(Clone, Debug)]
pub struct Rows {
    /// All columns in table order.
    pub batch: RecordBatch,
    /// Row i is a delete when bit i is set: only its key columns mean anything, the others may be NULL.
    pub deletes: Option<BooleanBuffer>,
}

impl Rows {
    /// Rows that are all upserts (or appends).
    pub fn upserts(batch: RecordBatch) -> Rows {
        Rows { batch, deletes: None }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether row `row` is a delete.
    pub fn is_delete(&self, row: usize) -> bool {
        self.deletes.as_ref().is_some_and(|d| d.value(row))
    }

    /// Bytes of memory held, roughly.
    pub fn memory_bytes(&self) -> usize {
        self.batch.get_array_memory_size() + self.deletes.as_ref().map_or(0, |d| d.inner().capacity())
    }
}

/// Appends the byte form of `rows` to `out`.
///
/// Errors: [`StorageError::Invalid`] for a column type that storage does not know.
pub fn encode(rows: &Rows, out: &mut Vec<u8>) -> Result<()> {
    let count =
        u32::try_from(rows.len()).map_err(|_| StorageError::Invalid("more than 2^32 rows in a batch".into()))?;
    out.extend(count.to_le_bytes());
    out.extend((rows.batch.num_columns() as u16).to_le_bytes());
    out.push(rows.deletes.is_some() as u8);
    if let Some(deletes) = &rows.deletes {
        push_bits(deletes, out);
    }
    rows.batch.columns().iter().try_for_each(|column| encode_column(column, out))
}

fn push_bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let sliced = bits.sliced();
    out.extend_from_slice(&sliced.as_slice()[..bits.len().div_ceil(8)]);
}

fn encode_column(column: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    out.push(tag(column.data_type())?);
    let nulls = column.nulls().filter(|n| n.null_count() > 0);
    out.push(nulls.is_some() as u8);
    if let Some(nulls) = nulls {
        push_bits(nulls.inner(), out);
    }
    match column.data_type() {
        DataType::Boolean => push_bits(column.as_boolean().values(), out),
        DataType::Int8 => push_values::<Int8Type>(column, out),
        DataType::Int16 => push_values::<Int16Type>(column, out),
        DataType::Int32 => push_values::<Int32Type>(column, out),
        DataType::Int64 => push_values::<Int64Type>(column, out),
        DataType::Float32 => push_values::<Float32Type>(column, out),
        DataType::Float64 => push_values::<Float64Type>(column, out),
        DataType::Date32 => push_values::<Date32Type>(column, out),
        DataType::Timestamp(_, _) => push_values::<TimestampMicrosecondType>(column, out),
        DataType::Decimal128(_, _) => push_values::<Decimal128Type>(column, out),
        _ => push_text(column.as_string::<i32>(), out)?,
    }
    Ok(())
}

fn push_values<T: ArrowPrimitiveType>(column: &ArrayRef, out: &mut Vec<u8>) {
    out.extend_from_slice(column.as_primitive::<T>().values().inner().as_slice());
}

fn push_text(text: &StringArray, out: &mut Vec<u8>) -> Result<()> {
    let offsets = text.value_offsets();
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    out.extend(((last - first) as u32).to_le_bytes());
    for &end in &offsets[1..] {
        out.extend(((end - first) as u32).to_le_bytes());
    }
    out.extend_from_slice(&text.value_data()[first as usize..last as usize]);
    Ok(())
}

fn tag(ty: &DataType) -> Result<u8> {
    Ok(match ty {
        DataType::Boolean => 1,
        DataType::Int8 => 2,
        DataType::Int16 => 3,
        DataType::Int32 => 4,
        DataType::Int64 => 5,
        DataType::Float32 => 6,
        DataType::Float64 => 7,
        DataType::Date32 => 8,
        DataType::Timestamp(TimeUnit::Microsecond, None) => 9,
        DataType::Decimal128(_, _) => 10,
        DataType::Utf8 => 11,
        other => return Err(StorageError::Invalid(format!("type {other} cannot be stored"))),
    })
}

/// Reads the byte form back; `schema` must be the one it was written under.
///
/// Errors: [`StorageError::Corrupt`] with `offset` counted from the start of `bytes`; never panics on any bytes.
pub fn decode(schema: &TabletSchema, bytes: &[u8]) -> Result<Rows> {
    let mut reader = Reader { bytes, at: 0 };
    let count = reader.u32()? as usize;
    let columns = reader.u16()? as usize;
    if columns != schema.columns.len() {
        return Err(reader.damage(format!("{} columns", schema.columns.len()), columns));
    }
    let deletes = match reader.u8()? {
        0 => None,
        _ => Some(reader.bits(count)?),
    };
    let mut arrays = Vec::with_capacity(columns);
    for column in &schema.columns {
        let key_or_required = !column.nullable && deletes.is_none();
        let array = decode_column(&mut reader, &column.ty.arrow(), count)?;
        if key_or_required && array.null_count() > 0 {
            return Err(reader.damage(format!("no NULL in column {}", column.name), "NULL"));
        }
        arrays.push(array);
    }
    let nullable = if deletes.is_some() { relaxed(schema) } else { schema.arrow() };
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(count));
    Ok(Rows { batch: RecordBatch::try_new_with_options(nullable, arrays, &options)?, deletes })
}

/// How many rows the byte form holds and how many of them are deletes, without its schema.
///
/// Errors: as [`decode`].
pub fn count(bytes: &[u8]) -> Result<(usize, usize)> {
    let mut reader = Reader { bytes, at: 0 };
    let rows = reader.u32()? as usize;
    reader.u16()?;
    let deletes = match reader.u8()? {
        0 => 0,
        _ => reader.bits(rows)?.count_set_bits(),
    };
    Ok((rows, deletes))
}

/// The Arrow schema of rows among which there are deletes: every column may be NULL.
pub fn relaxed(schema: &TabletSchema) -> arrow::datatypes::SchemaRef {
    let fields = schema.columns.iter().map(|c| arrow::datatypes::Field::new(&c.name, c.ty.arrow(), true));
    Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}

fn decode_column(reader: &mut Reader<'_>, ty: &DataType, rows: usize) -> Result<ArrayRef> {
    let (expected, found) = (tag(ty)?, reader.u8()?);
    if expected != found {
        return Err(reader.damage(format!("column tag {expected}"), found));
    }
    let nulls = match reader.u8()? {
        0 => None,
        _ => Some(NullBuffer::new(reader.bits(rows)?)),
    };
    Ok(match ty {
        DataType::Boolean => Arc::new(BooleanArray::new(reader.bits(rows)?, nulls)),
        DataType::Int8 => values::<Int8Type>(reader, rows, nulls)?,
        DataType::Int16 => values::<Int16Type>(reader, rows, nulls)?,
        DataType::Int32 => values::<Int32Type>(reader, rows, nulls)?,
        DataType::Int64 => values::<Int64Type>(reader, rows, nulls)?,
        DataType::Float32 => values::<Float32Type>(reader, rows, nulls)?,
        DataType::Float64 => values::<Float64Type>(reader, rows, nulls)?,
        DataType::Date32 => values::<Date32Type>(reader, rows, nulls)?,
        DataType::Timestamp(_, _) => values::<TimestampMicrosecondType>(reader, rows, nulls)?,
        DataType::Decimal128(precision, scale) => {
            let array = Decimal128Array::new(scalar_buffer::<Decimal128Type>(reader, rows)?, nulls);
            Arc::new(array.with_precision_and_scale(*precision, *scale)?)
        }
        _ => text(reader, rows, nulls)?,
    })
}

fn scalar_buffer<T: ArrowPrimitiveType>(reader: &mut Reader<'_>, rows: usize) -> Result<ScalarBuffer<T::Native>> {
    let size = std::mem::size_of::<T::Native>();
    let len = rows.checked_mul(size).ok_or_else(|| reader.damage("a row count that fits", rows))?;
    let bytes = reader.take(len)?;
    // Copied into an aligned buffer: the log's bytes have no alignment.
    let mut buffer = MutableBuffer::with_capacity(len);
    buffer.extend_from_slice(bytes);
    Ok(ScalarBuffer::new(Buffer::from(buffer), 0, rows))
}

fn values<T: ArrowPrimitiveType>(reader: &mut Reader<'_>, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    Ok(Arc::new(PrimitiveArray::<T>::try_new(scalar_buffer::<T>(reader, rows)?, nulls)?))
}

fn text(reader: &mut Reader<'_>, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let total = reader.u32()? as usize;
    let ends = reader.take(rows.checked_mul(4).ok_or_else(|| reader.damage("a row count that fits", rows))?)?;
    let mut offsets = Vec::with_capacity(rows + 1);
    offsets.push(0i32);
    for end in ends.chunks_exact(4) {
        let end = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
        let previous = offsets[offsets.len() - 1];
        match i32::try_from(end) {
            Ok(end) if end >= previous && end as usize <= total => offsets.push(end),
            _ => return Err(reader.damage(format!("an offset between {previous} and {total}"), end)),
        }
    }
    if offsets[rows] as usize != total {
        return Err(reader.damage(format!("last offset {total}"), offsets[rows]));
    }
    let data = Buffer::from(reader.take(total)?.to_vec());
    // `try_new` checks that the bytes are UTF-8 and that no offset splits a character.
    Ok(Arc::new(StringArray::try_new(OffsetBuffer::new(offsets.into()), data, nulls)?))
}

/// A bounds-checked cursor.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damage(&self, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> StorageError {
        StorageError::corrupt("row data", self.at as u64, expected, found)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let left = self.bytes.len() - self.at;
        if len > left {
            return Err(self.damage(format!("{len} bytes"), format!("{left} bytes")));
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        let b = self.take(2)?;
        Ok(u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Result<u32> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn bits(&mut self, rows: usize) -> Result<BooleanBuffer> {
        Ok(BooleanBuffer::new(Buffer::from(self.take(rows.div_ceil(8))?.to_vec()), 0, rows))
    }
}

#[cfg(test)]
mod tests;
