//! The rows of one column on their way into pages: a copy in the form that encoders read. What lies under a NULL is made
//! the value before it (strings: empty), so that it costs nothing and equal rows give equal bytes.

use super::{CHUNK_ROWS, Physical};
use crate::error::{Result, StorageError};
use crate::schema::ColumnType;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanBufferBuilder};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

/// Most bytes of strings in one column of a chunk.
pub const TEXT_BYTES_MAX: usize = 1 << 31;

/// Values by physical type.
pub enum Values {
    /// 8-bit words.
    Word8(Vec<u8>),
    /// 16-bit words.
    Word16(Vec<u16>),
    /// 32-bit words.
    Word32(Vec<u32>),
    /// 64-bit words.
    Word64(Vec<u64>),
    /// 128-bit words.
    Word128(Vec<u128>),
    /// Strings: the end of each in `bytes`.
    Text {
        /// End offsets.
        ends: Vec<u32>,
        /// All bytes.
        bytes: Vec<u8>,
    },
}

/// Rows of one column, up to a chunk of them.
pub struct ColumnInput {
    ty: ColumnType,
    values: Values,
    rows: usize,
    nulls: usize,
    /// Present from the first NULL on.
    valid: Option<BooleanBufferBuilder>,
}

impl ColumnInput {
    /// No rows of a column of type `ty`.
    pub fn new(ty: ColumnType) -> ColumnInput {
        let values = match Physical::of(ty) {
            Physical::Word8 => Values::Word8(Vec::new()),
            Physical::Word16 => Values::Word16(Vec::new()),
            Physical::Word32 => Values::Word32(Vec::new()),
            Physical::Word64 => Values::Word64(Vec::new()),
            Physical::Word128 => Values::Word128(Vec::new()),
            Physical::Text => Values::Text { ends: Vec::new(), bytes: Vec::new() },
        };
        ColumnInput { ty, values, rows: 0, nulls: 0, valid: None }
    }

    /// The column's type.
    pub fn ty(&self) -> ColumnType {
        self.ty
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many of them are NULL.
    pub fn nulls(&self) -> usize {
        self.nulls
    }

    /// The values; what lies under a NULL means nothing.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Whether a row is not NULL.
    pub fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.get_bit(row))
    }

    /// Bytes of values held.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Word8(words) => words.len(),
            Values::Word16(words) => words.len() * 2,
            Values::Word32(words) => words.len() * 4,
            Values::Word64(words) => words.len() * 8,
            Values::Word128(words) => words.len() * 16,
            Values::Text { ends, bytes } => ends.len() * 4 + bytes.len(),
        }
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.values {
            Values::Word8(words) => words.clear(),
            Values::Word16(words) => words.clear(),
            Values::Word32(words) => words.clear(),
            Values::Word64(words) => words.clear(),
            Values::Word128(words) => words.clear(),
            Values::Text { ends, bytes } => {
                ends.clear();
                bytes.clear();
                bytes.shrink_to(1 << 22);
            }
        }
        (self.rows, self.nulls, self.valid) = (0, 0, None);
    }

    /// Appends rows `[from, from + len)` of an array of the column's Arrow type.
    ///
    /// Errors: [`StorageError::Invalid`] for another type, [`StorageError::Limit`] for strings over 2 GiB in one chunk.
    pub fn append(&mut self, array: &ArrayRef, from: usize, len: usize) -> Result<()> {
        if *array.data_type() != self.ty.arrow() {
            let detail = format!("column data of type {} for a column of type {:?}", array.data_type(), self.ty);
            return Err(StorageError::Invalid(detail));
        }
        assert!(self.rows + len <= CHUNK_ROWS && from + len <= array.len(), "the writer cuts batches at chunks");
        let first = self.rows;
        self.append_validity(array, from, len);
        match (&mut self.values, self.ty) {
            (Values::Word8(out), ColumnType::Boolean) => {
                let bits = array.as_boolean().values();
                out.extend((from..from + len).map(|row| u8::from(bits.value(row))));
            }
            (Values::Word8(out), _) => push::<Int8Type, _>(array, from, len, |v| v as u8, out),
            (Values::Word16(out), _) => push::<Int16Type, _>(array, from, len, |v| v as u16, out),
            (Values::Word32(out), ColumnType::Int) => push::<Int32Type, _>(array, from, len, |v| v as u32, out),
            (Values::Word32(out), ColumnType::Date) => push::<Date32Type, _>(array, from, len, |v| v as u32, out),
            (Values::Word32(out), _) => push::<Float32Type, _>(array, from, len, f32::to_bits, out),
            (Values::Word64(out), ColumnType::BigInt) => push::<Int64Type, _>(array, from, len, |v| v as u64, out),
            (Values::Word64(out), ColumnType::Double) => push::<Float64Type, _>(array, from, len, f64::to_bits, out),
            (Values::Word64(out), _) => push::<TimestampMicrosecondType, _>(array, from, len, |v| v as u64, out),
            (Values::Word128(out), _) => push::<Decimal128Type, _>(array, from, len, |v| v as u128, out),
            (Values::Text { ends, bytes }, _) => push_text(array, from, len, ends, bytes)?,
        }
        if self.nulls > 0 {
            self.fill_nulls(first);
        }
        Ok(())
    }

    fn append_validity(&mut self, array: &ArrayRef, from: usize, len: usize) {
        let nulls = array.nulls().map(|nulls| nulls.slice(from, len)).filter(|nulls| nulls.null_count() > 0);
        match nulls {
            Some(nulls) => {
                let rows = self.rows;
                let valid = self.valid.get_or_insert_with(|| {
                    let mut valid = BooleanBufferBuilder::new(CHUNK_ROWS);
                    valid.append_n(rows, true);
                    valid
                });
                valid.append_buffer(nulls.inner());
                self.nulls += nulls.null_count();
            }
            None => self.valid.iter_mut().for_each(|valid| valid.append_n(len, true)),
        }
        self.rows += len;
    }

    /// Gives the NULLs from row `first` on the value before them; leading ones get the first value there is.
    fn fill_nulls(&mut self, first: usize) {
        fn fill<T: Copy + Default>(words: &mut [T], first: usize, valid: &BooleanBufferBuilder) {
            let mut leading = (0..words.len()).take_while(|&row| !valid.get_bit(row)).count();
            let mut previous = words.get(leading).copied().unwrap_or_default();
            if leading < first {
                // Earlier rows are filled already; nothing before `first` changes.
                leading = first;
                previous = if first > 0 { words[first - 1] } else { previous };
            } else {
                words[..leading].fill(previous);
            }
            for (row, word) in words.iter_mut().enumerate().skip(leading) {
                if valid.get_bit(row) {
                    previous = *word;
                } else {
                    *word = previous;
                }
            }
        }
        let Some(valid) = &self.valid else { return };
        match &mut self.values {
            Values::Word8(words) => fill(words, first, valid),
            Values::Word16(words) => fill(words, first, valid),
            Values::Word32(words) => fill(words, first, valid),
            Values::Word64(words) => fill(words, first, valid),
            Values::Word128(words) => fill(words, first, valid),
            // `push_text` has made them empty.
            Values::Text { .. } => (),
        }
    }
}

fn push<T: ArrowPrimitiveType, W>(
    array: &ArrayRef,
    from: usize,
    len: usize,
    word: impl Fn(T::Native) -> W,
    out: &mut Vec<W>,
) {
    out.extend(array.as_primitive::<T>().values()[from..from + len].iter().map(|&value| word(value)));
}

fn push_text(array: &ArrayRef, from: usize, len: usize, ends: &mut Vec<u32>, bytes: &mut Vec<u8>) -> Result<()> {
    let text = array.as_string::<i32>();
    let offsets = &text.value_offsets()[from..=from + len];
    let data = &text.value_data()[offsets[0] as usize..offsets[len] as usize];
    if bytes.len() + data.len() > TEXT_BYTES_MAX {
        let detail = format!("{} bytes of strings within {} rows", bytes.len() + data.len(), ends.len() + len);
        return Err(StorageError::Limit { limit: "string bytes in a column of a chunk", detail });
    }
    if text.null_count() == 0 {
        let shift = bytes.len() as u32;
        bytes.extend_from_slice(data);
        ends.extend(offsets[1..].iter().map(|&end| shift + (end - offsets[0]) as u32));
        return Ok(());
    }
    for row in from..from + len {
        if text.is_valid(row) {
            bytes.extend_from_slice(text.value(row).as_bytes());
        }
        ends.push(bytes.len() as u32);
    }
    Ok(())
}
