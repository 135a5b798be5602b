//! Arrow builders that pages are decoded into. One output takes ranges of any number of pages of a column, so nothing is
//! concatenated afterwards.

use super::Physical;
use crate::error::{Result, StorageError};
use crate::schema::ColumnType;
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, Decimal128Array, PrimitiveArray, StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use std::sync::Arc;

/// Rows of a column in the form that is cheapest to work on.
#[derive(Clone, Debug)]
pub enum EncodedColumn {
    /// Codes into distinct values.
    Dictionary {
        /// One code a row; what lies under a NULL is some valid code.
        codes: Vec<u16>,
        /// Which rows are not NULL.
        nulls: Option<NullBuffer>,
        /// The value of each code.
        values: ArrayRef,
        /// Whether the values ascend, so that codes compare as values do.
        sorted: bool,
    },
    /// Values.
    Array(ArrayRef),
}

/// Decoded strings.
#[derive(Default)]
pub struct TextOutput {
    /// End offsets behind a leading zero.
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    /// Strings did not fit into one Arrow array (2 GiB).
    overflow: bool,
    /// Strings were appended that nobody has checked to be UTF-8.
    unchecked: bool,
}

impl TextOutput {
    fn with_capacity(rows: usize) -> TextOutput {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        TextOutput { offsets, bytes: Vec::new(), overflow: false, unchecked: false }
    }

    fn fits(&mut self, len: usize) -> bool {
        self.overflow |= self.bytes.len() + len > i32::MAX as usize;
        !self.overflow
    }

    /// Appends one string.
    pub fn push(&mut self, text: &[u8]) {
        self.unchecked = true;
        self.append(text);
    }

    fn append(&mut self, text: &[u8]) {
        if self.fits(text.len()) {
            self.bytes.extend_from_slice(text);
        }
        self.offsets.push(self.bytes.len() as i32);
    }

    /// Appends one string `count` times.
    pub fn repeat(&mut self, text: &[u8], count: usize) {
        self.unchecked |= std::str::from_utf8(text).is_err();
        (0..count).for_each(|_| self.append(text));
    }

    /// Appends the string of each code. Short strings are copied at a fixed length, which is several times faster.
    pub fn gather(&mut self, values: &[&[u8]], codes: &[u16]) {
        self.unchecked |= values.iter().any(|value| std::str::from_utf8(value).is_err());
        match values.iter().map(|value| value.len()).max() {
            Some(0..=8) => self.gather_short::<8>(values, codes),
            Some(9..=16) => self.gather_short::<16>(values, codes),
            Some(17..=32) => self.gather_short::<32>(values, codes),
            _ => codes.iter().for_each(|&code| self.append(values[code as usize])),
        }
    }

    fn gather_short<const LEN: usize>(&mut self, values: &[&[u8]], codes: &[u16]) {
        if !self.fits(codes.len() * LEN) {
            return self.offsets.resize(self.offsets.len() + codes.len(), self.bytes.len() as i32);
        }
        let pad = |value: &&[u8]| {
            let mut padded = [0u8; LEN];
            padded[..value.len()].copy_from_slice(value);
            (padded, value.len())
        };
        let padded: Vec<([u8; LEN], usize)> = values.iter().map(pad).collect();
        let start = self.bytes.len();
        // Room for the last copy's padding; what is too much goes again.
        let total: usize = codes.iter().map(|&code| padded[code as usize].1).sum();
        self.bytes.resize(start + total + LEN, 0);
        let mut at = start;
        self.offsets.reserve(codes.len());
        for &code in codes {
            let (value, len) = &padded[code as usize];
            if let Some(target) = self.bytes[at..].first_chunk_mut::<LEN>() {
                *target = *value;
            }
            at += len;
            self.offsets.push(at as i32);
        }
        self.bytes.truncate(at);
    }

    /// Appends strings that lie one behind the other in `bytes`; `ends` count from `start` bytes before it.
    pub fn extend(&mut self, start: usize, ends: &[u32], bytes: &[u8]) {
        self.unchecked = true;
        if !self.fits(bytes.len()) {
            self.offsets.resize(self.offsets.len() + ends.len(), self.bytes.len() as i32);
            return;
        }
        let shift = self.bytes.len() as i64 - start as i64;
        self.offsets.extend(ends.iter().map(|&end| (i64::from(end) + shift) as i32));
        self.bytes.extend_from_slice(bytes);
    }
}

impl TextOutput {
    fn array(self, nulls: Option<NullBuffer>) -> Result<StringArray> {
        let (offsets, bytes) = (OffsetBuffer::new(self.offsets.into()), Buffer::from_vec(self.bytes));
        if self.unchecked || nulls.as_ref().is_some_and(|nulls| nulls.len() + 1 != offsets.len()) {
            // Checks that the bytes are UTF-8 and that no offset splits a character.
            return Ok(StringArray::try_new(offsets, bytes, nulls)?);
        }
        #[expect(unsafe_code, reason = "distinct strings are checked once, not for every row that has them")]
        // SAFETY: every appended string has been checked by itself to be UTF-8 (`unchecked` is false), offsets lie at their
        // ends and are ascending and within the bytes, and validity has one bit a row.
        Ok(unsafe { StringArray::new_unchecked(offsets, bytes, nulls) })
    }
}

/// Decoded values by physical type.
pub enum OutputValues {
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
    /// Strings.
    Text(TextOutput),
}

/// Decoded rows of one column.
pub struct ColumnOutput {
    ty: ColumnType,
    rows: usize,
    pub(super) values: OutputValues,
    /// Present from the first NULL on.
    valid: Option<BooleanBufferBuilder>,
}

impl ColumnOutput {
    /// Room for `rows` rows of type `ty`.
    pub fn new(ty: ColumnType, rows: usize) -> ColumnOutput {
        // A vector is unpacked whole before what is too much of it goes again.
        let room = rows + super::VECTOR_ROWS;
        let values = match Physical::of(ty) {
            Physical::Word8 => OutputValues::Word8(Vec::with_capacity(room)),
            Physical::Word16 => OutputValues::Word16(Vec::with_capacity(room)),
            Physical::Word32 => OutputValues::Word32(Vec::with_capacity(room)),
            Physical::Word64 => OutputValues::Word64(Vec::with_capacity(room)),
            Physical::Word128 => OutputValues::Word128(Vec::with_capacity(room)),
            Physical::Text => OutputValues::Text(TextOutput::with_capacity(rows)),
        };
        ColumnOutput { ty, rows: 0, values, valid: None }
    }

    /// Notes `rows` more rows, whose bits of `valid` start at `from`; `None`: no NULL among them.
    pub(super) fn append_validity(&mut self, valid: Option<&[u8]>, from: usize, rows: usize) {
        if let Some(bits) = valid {
            let before = self.rows;
            let builder = self.valid.get_or_insert_with(|| {
                let mut builder = BooleanBufferBuilder::new(before + rows);
                builder.append_n(before, true);
                builder
            });
            builder.append_packed_range(from..from + rows, bits);
        } else if let Some(builder) = &mut self.valid {
            builder.append_n(rows, true);
        }
        self.rows += rows;
    }

    /// The Arrow array.
    ///
    /// Errors: [`StorageError::Limit`] for strings over 2 GiB; [`StorageError::Arrow`] for strings that are not UTF-8.
    pub fn finish(self) -> Result<ArrayRef> {
        let nulls = self.valid.map(|mut valid| NullBuffer::new(valid.finish()));
        Ok(match (self.values, self.ty) {
            (OutputValues::Word8(words), ColumnType::Boolean) => {
                let bits = BooleanBuffer::collect_bool(words.len(), |row| words[row] != 0);
                Arc::new(BooleanArray::new(bits, nulls))
            }
            (OutputValues::Word8(words), _) => primitive::<Int8Type, _>(words, nulls)?,
            (OutputValues::Word16(words), _) => primitive::<Int16Type, _>(words, nulls)?,
            (OutputValues::Word32(words), ColumnType::Int) => primitive::<Int32Type, _>(words, nulls)?,
            (OutputValues::Word32(words), ColumnType::Date) => primitive::<Date32Type, _>(words, nulls)?,
            (OutputValues::Word32(words), _) => primitive::<Float32Type, _>(words, nulls)?,
            (OutputValues::Word64(words), ColumnType::BigInt) => primitive::<Int64Type, _>(words, nulls)?,
            (OutputValues::Word64(words), ColumnType::Double) => primitive::<Float64Type, _>(words, nulls)?,
            (OutputValues::Word64(words), _) => primitive::<TimestampMicrosecondType, _>(words, nulls)?,
            (OutputValues::Word128(words), ty) => {
                let (precision, scale) = match ty {
                    ColumnType::Decimal { precision, scale } => (precision, scale as i8),
                    _ => (38, 0),
                };
                let len = words.len();
                let array = Decimal128Array::try_new(ScalarBuffer::new(reinterpret(words), 0, len), nulls)?;
                Arc::new(array.with_precision_and_scale(precision, scale)?)
            }
            (OutputValues::Text(text), _) => {
                if text.overflow {
                    let detail = format!("{} rows hold more than 2 GiB in one column", self.rows);
                    return Err(StorageError::Limit { limit: "string bytes of a batch", detail });
                }
                Arc::new(text.array(nulls)?)
            }
        })
    }
}

/// The words as a buffer, without a copy.
fn reinterpret<W>(words: Vec<W>) -> Buffer
where
    Buffer: FromWords<W>,
{
    Buffer::from_words(words)
}

/// Buffers made of unsigned words; Arrow's own conversion knows signed 128-bit words only.
trait FromWords<W> {
    fn from_words(words: Vec<W>) -> Buffer;
}

macro_rules! from_words {
    ($word:ty) => {
        impl FromWords<$word> for Buffer {
            fn from_words(words: Vec<$word>) -> Buffer {
                Buffer::from_vec(words)
            }
        }
    };
}

from_words!(u8);
from_words!(u16);
from_words!(u32);
from_words!(u64);

impl FromWords<u128> for Buffer {
    fn from_words(words: Vec<u128>) -> Buffer {
        // In place: same size and alignment.
        Buffer::from_vec(words.into_iter().map(|word| word as i128).collect::<Vec<i128>>())
    }
}

fn primitive<T: ArrowPrimitiveType, W>(words: Vec<W>, nulls: Option<NullBuffer>) -> Result<ArrayRef>
where
    Buffer: FromWords<W>,
{
    let len = words.len();
    Ok(Arc::new(PrimitiveArray::<T>::try_new(ScalarBuffer::new(reinterpret(words), 0, len), nulls)?))
}
