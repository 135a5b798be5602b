//! The tail of a memtable: rows of small commits, appended value by value, until there are enough of them for an Arrow
//! batch. A one-row commit costs a few tens of nanoseconds a column and no allocation.

use crate::error::{Result, StorageError};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, StringArray,
    make_array,
};
use arrow::buffer::{MutableBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    SchemaRef, TimestampMicrosecondType,
};
use std::ops::Range;
use std::sync::Arc;

enum Values {
    Bits(BooleanBufferBuilder),
    Fixed { width: usize, bytes: MutableBuffer },
    Text { ends: Vec<i32>, bytes: Vec<u8> },
}

struct Column {
    ty: DataType,
    values: Values,
    /// Made with the first NULL.
    valid: Option<BooleanBufferBuilder>,
    rows: usize,
}

/// Growing rows.
pub(super) struct Tail {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
}

impl Tail {
    pub(super) fn new(schema: SchemaRef) -> Result<Tail> {
        let columns = schema.fields().iter().map(|f| Column::new(f.data_type())).collect::<Result<_>>()?;
        Ok(Tail { schema, columns, rows: 0 })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the values.
    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    /// Appends rows of a batch of the same schema.
    pub(super) fn append(&mut self, batch: &RecordBatch) {
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            column.append(array);
        }
        self.rows += batch.num_rows();
    }

    /// A copy of some rows of some columns.
    pub(super) fn copy(&self, columns: &[usize], rows: Range<usize>) -> Result<Vec<ArrayRef>> {
        columns.iter().map(|&c| self.columns[c].copy(rows.clone())).collect()
    }

    /// All rows as a batch, without a copy; the tail is empty afterwards.
    pub(super) fn freeze(&mut self) -> Result<RecordBatch> {
        let arrays = self.columns.iter_mut().map(Column::freeze).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }
}

impl Column {
    fn new(ty: &DataType) -> Result<Column> {
        let values = match ty {
            DataType::Boolean => Values::Bits(BooleanBufferBuilder::new(0)),
            DataType::Utf8 => Values::Text { ends: Vec::new(), bytes: Vec::new() },
            other => match other.primitive_width() {
                Some(width) => Values::Fixed { width, bytes: MutableBuffer::new(0) },
                None => return Err(StorageError::Invalid(format!("type {other} cannot be stored"))),
            },
        };
        Ok(Column { ty: ty.clone(), values, valid: None, rows: 0 })
    }

    fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Bits(bits) => bits.len() / 8,
            Values::Fixed { bytes, .. } => bytes.len(),
            Values::Text { ends, bytes } => ends.len() * 4 + bytes.len(),
        };
        values + self.valid.as_ref().map_or(0, |v| v.len() / 8)
    }

    fn append(&mut self, array: &ArrayRef) {
        let more = array.len();
        match array.nulls().filter(|n| n.null_count() > 0) {
            Some(nulls) => {
                let valid = self.valid.get_or_insert_with(|| ones(self.rows));
                (0..more).for_each(|i| valid.append(nulls.is_valid(i)));
            }
            None => {
                if let Some(valid) = &mut self.valid {
                    valid.append_n(more, true);
                }
            }
        }
        match &mut self.values {
            Values::Bits(bits) => {
                let array = array.as_boolean();
                (0..more).for_each(|i| bits.append(array.value(i)));
            }
            Values::Fixed { bytes, .. } => bytes.extend_from_slice(fixed(array)),
            Values::Text { ends, bytes } => {
                let text = array.as_string::<i32>();
                let (offsets, base) = (text.value_offsets(), bytes.len() as i32);
                let first = offsets[0];
                ends.extend(offsets[1..].iter().map(|end| end - first + base));
                bytes.extend_from_slice(&text.value_data()[first as usize..offsets[more] as usize]);
            }
        }
        self.rows += more;
    }

    fn copy(&self, rows: Range<usize>) -> Result<ArrayRef> {
        let nulls = self.valid.as_ref().map(|valid| {
            let mut bits = BooleanBufferBuilder::new(rows.len());
            bits.append_packed_range(rows.clone(), valid.as_slice());
            NullBuffer::new(bits.finish())
        });
        Ok(match &self.values {
            Values::Bits(all) => {
                let mut bits = BooleanBufferBuilder::new(rows.len());
                bits.append_packed_range(rows, all.as_slice());
                Arc::new(BooleanArray::new(bits.finish(), nulls))
            }
            Values::Fixed { width, bytes } => {
                let mut copy = MutableBuffer::new(rows.len() * width);
                copy.extend_from_slice(&bytes[rows.start * width..rows.end * width]);
                fixed_array(&self.ty, copy, rows.len(), nulls)?
            }
            Values::Text { ends, bytes } => {
                let first = if rows.start == 0 { 0 } else { ends[rows.start - 1] };
                let last = if rows.end == 0 { 0 } else { ends[rows.end - 1] };
                let ends = ends[rows].iter().map(|end| end - first);
                text_array(ends, bytes[first as usize..last as usize].to_vec(), nulls)?
            }
        })
    }

    fn freeze(&mut self) -> Result<ArrayRef> {
        let rows = std::mem::take(&mut self.rows);
        let nulls = self.valid.take().map(|mut valid| NullBuffer::new(valid.finish()));
        Ok(match &mut self.values {
            Values::Bits(bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Fixed { bytes, .. } => fixed_array(&self.ty, std::mem::take(bytes), rows, nulls)?,
            Values::Text { ends, bytes } => text_array(std::mem::take(ends).into_iter(), std::mem::take(bytes), nulls)?,
        })
    }
}

fn ones(n: usize) -> BooleanBufferBuilder {
    let mut bits = BooleanBufferBuilder::new(n + 64);
    bits.append_n(n, true);
    bits
}

fn fixed_array(ty: &DataType, bytes: MutableBuffer, rows: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let data = arrow::array::ArrayData::builder(ty.clone()).len(rows).add_buffer(bytes.into()).nulls(nulls).build()?;
    Ok(make_array(data))
}

fn text_array(ends: impl Iterator<Item = i32>, bytes: Vec<u8>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let offsets: Vec<i32> = std::iter::once(0).chain(ends).collect();
    Ok(Arc::new(StringArray::try_new(OffsetBuffer::new(offsets.into()), bytes.into(), nulls)?))
}

/// The values of a fixed-width array as they lie in memory.
fn fixed(array: &ArrayRef) -> &[u8] {
    macro_rules! values {
        ($ty:ty) => {
            array.as_primitive::<$ty>().values().inner().as_slice()
        };
    }
    match array.data_type() {
        DataType::Int8 => values!(Int8Type),
        DataType::Int16 => values!(Int16Type),
        DataType::Int32 => values!(Int32Type),
        DataType::Int64 => values!(Int64Type),
        DataType::Float32 => values!(Float32Type),
        DataType::Float64 => values!(Float64Type),
        DataType::Date32 => values!(Date32Type),
        DataType::Decimal128(_, _) => values!(Decimal128Type),
        _ => values!(TimestampMicrosecondType),
    }
}
