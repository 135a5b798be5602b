//! Keys: the order-preserving byte form of key columns, and the two hashes of the database.
//!
//! - [`KeyEncoder`] gives bytes whose `memcmp` order is the SQL order (NULL first, then ascending), so that sorting,
//!   short keys and exact comparison work on bytes.
//! - [`bucket_hash`] is **the** bucket hash: tablets, exchanges and colocation all use it. Equal values hash equally
//!   across integer widths and across CHAR and VARCHAR; NULL is a constant.
//! - [`key_hash`] spreads keys over the primary index.
//!
//! Both hashes are part of the on-disk placement: changing either needs a new generation of every table.

use crate::error::{Result, StorageError};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hash of NULL, of any type.
const NULL_HASH: u64 = 0x9e37_79b9_7f4a_7c15;
/// Seed of the bucket hash of strings and wide values.
const BUCKET_SEED: u64 = 0x5374_6172_6c69_6e67;
/// Seed of the primary index's hash.
const KEY_SEED: u64 = 0x7072_696d_6172_7921;

/// Finaliser of splitmix64: every input bit reaches every output bit.
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[inline]
pub fn mix64(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hash of a key's bytes for the primary index.
#[inline]
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, KEY_SEED)
}

/// The bucket hash of each row over `columns`, in order. No columns: zero for every row.
///
/// Errors: [`StorageError::Invalid`] for a column type that cannot be a bucket column (nested types).
pub fn bucket_hash(columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>> {
    let mut hashes = vec![0u64; rows];
    for column in columns {
        if column.len() != rows {
            return Err(StorageError::Invalid(format!("bucket column has {} rows, not {rows}", column.len())));
        }
        combine(column, &mut hashes)?;
    }
    Ok(hashes)
}

fn combine(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    /// Folds the hash of one more column into a row's hash; not commutative, so column order matters.
    fn fold(hashes: &mut [u64], column: &dyn Array, value: impl Fn(usize) -> u64) {
        for (row, hash) in hashes.iter_mut().enumerate() {
            let h = if column.is_null(row) { NULL_HASH } else { value(row) };
            *hash = mix64(hash.rotate_left(23).wrapping_mul(31) ^ h);
        }
    }
    /// Integers of every width hash by their value as 128 bits when they fit in 64.
    fn wide(v: i128) -> u64 {
        match i64::try_from(v) {
            Ok(v) => mix64(v as u64 ^ BUCKET_SEED),
            Err(_) => xxh3_64_with_seed(&v.to_le_bytes(), BUCKET_SEED),
        }
    }
    fn int(v: i64) -> u64 {
        mix64(v as u64 ^ BUCKET_SEED)
    }
    fn float(v: f64) -> u64 {
        let v = if v == 0.0 { 0.0 } else { v };
        mix64(v.to_bits() ^ BUCKET_SEED)
    }
    macro_rules! primitive {
        ($ty:ty, $f:expr) => {{
            let a = column.as_primitive::<$ty>();
            let values = a.values();
            fold(hashes, a, |row| $f(values[row]))
        }};
    }
    match column.data_type() {
        DataType::Boolean => {
            let a = column.as_boolean();
            fold(hashes, a, |row| int(a.value(row) as i64));
        }
        DataType::Int8 => primitive!(Int8Type, |v| int(v as i64)),
        DataType::Int16 => primitive!(Int16Type, |v| int(v as i64)),
        DataType::Int32 => primitive!(Int32Type, |v| int(v as i64)),
        DataType::Int64 => primitive!(Int64Type, int),
        DataType::Date32 => primitive!(Date32Type, |v| int(v as i64)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => primitive!(TimestampMicrosecondType, int),
        DataType::Float32 => primitive!(Float32Type, |v| float(v as f64)),
        DataType::Float64 => primitive!(Float64Type, float),
        DataType::Decimal128(_, _) => primitive!(Decimal128Type, wide),
        DataType::Decimal256(_, _) => {
            let a = column.as_primitive::<Decimal256Type>();
            fold(hashes, a, |row| match a.value(row).to_i128() {
                Some(v) => wide(v),
                None => xxh3_64_with_seed(&a.value(row).to_le_bytes(), BUCKET_SEED),
            });
        }
        DataType::Utf8 => {
            let a = column.as_string::<i32>();
            fold(hashes, a, |row| xxh3_64_with_seed(a.value(row).as_bytes(), BUCKET_SEED));
        }
        DataType::LargeUtf8 => {
            let a = column.as_string::<i64>();
            fold(hashes, a, |row| xxh3_64_with_seed(a.value(row).as_bytes(), BUCKET_SEED));
        }
        DataType::Utf8View => {
            let a = column.as_string_view();
            fold(hashes, a, |row| xxh3_64_with_seed(a.value(row).as_bytes(), BUCKET_SEED));
        }
        other => return Err(StorageError::Invalid(format!("type {other} cannot be a bucket column"))),
    }
    Ok(())
}

/// Encodes key columns of batches to memcomparable bytes.
///
/// Per column one byte (0 NULL, 1 value), then: integers, dates and decimals big-endian with the sign bit flipped; floats as
/// big-endian bits in total order (-0.0 as 0.0); strings with 0x00 escaped as 0x00 0xFF and ended by 0x00 0x00.
pub struct KeyEncoder {
    columns: Vec<usize>,
}

impl KeyEncoder {
    /// Over the given column positions, in order.
    pub fn new(columns: Vec<usize>) -> KeyEncoder {
        KeyEncoder { columns }
    }

    /// The key of one row, appended to `out`.
    ///
    /// Errors: [`StorageError::Invalid`] for a type that cannot be a key.
    pub fn encode(&self, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<()> {
        for &c in &self.columns {
            encode_value(batch.column(c), row, out)?;
        }
        Ok(())
    }

    /// The keys of all rows.
    pub fn encode_all(&self, batch: &RecordBatch) -> Result<Keys> {
        let rows = batch.num_rows();
        let mut keys = Keys { bytes: Vec::with_capacity(rows * 12), ends: Vec::with_capacity(rows) };
        for row in 0..rows {
            self.encode(batch, row, &mut keys.bytes)?;
            keys.ends.push(keys.bytes.len());
        }
        Ok(keys)
    }
}

/// Encoded keys of a batch, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Adds an encoded key.
    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// The key of a row.
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

fn encode_value(column: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<()> {
    if column.is_null(row) {
        out.push(0);
        return Ok(());
    }
    out.push(1);
    match column.data_type() {
        DataType::Boolean => out.push(column.as_boolean().value(row) as u8),
        DataType::Int8 => out.push(column.as_primitive::<Int8Type>().value(row) as u8 ^ 0x80),
        DataType::Int16 => {
            out.extend((column.as_primitive::<Int16Type>().value(row) as u16 ^ (1 << 15)).to_be_bytes());
        }
        DataType::Int32 => {
            out.extend((column.as_primitive::<Int32Type>().value(row) as u32 ^ (1 << 31)).to_be_bytes());
        }
        DataType::Date32 => {
            out.extend((column.as_primitive::<Date32Type>().value(row) as u32 ^ (1 << 31)).to_be_bytes());
        }
        DataType::Int64 => {
            out.extend((column.as_primitive::<Int64Type>().value(row) as u64 ^ (1 << 63)).to_be_bytes());
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let v = column.as_primitive::<TimestampMicrosecondType>().value(row);
            out.extend((v as u64 ^ (1 << 63)).to_be_bytes());
        }
        DataType::Decimal128(_, _) => {
            out.extend((column.as_primitive::<Decimal128Type>().value(row) as u128 ^ (1 << 127)).to_be_bytes());
        }
        DataType::Float32 => {
            out.extend(float_order(column.as_primitive::<Float32Type>().value(row) as f64).to_be_bytes())
        }
        DataType::Float64 => out.extend(float_order(column.as_primitive::<Float64Type>().value(row)).to_be_bytes()),
        DataType::Utf8 => encode_text(column.as_string::<i32>().value(row).as_bytes(), out),
        other => return Err(StorageError::Invalid(format!("type {other} cannot be a key column"))),
    }
    Ok(())
}

fn float_order(v: f64) -> u64 {
    let bits = if v == 0.0 { 0u64 } else { v.to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    for &b in text {
        out.push(b);
        if b == 0 {
            out.push(0xff);
        }
    }
    out.extend([0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int8Array, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn equal_integers_hash_equally_across_widths() -> Result<()> {
        let small: ArrayRef = Arc::new(Int8Array::from(vec![Some(-3), None, Some(7)]));
        let big: ArrayRef = Arc::new(Int64Array::from(vec![Some(-3), None, Some(7)]));
        assert_eq!(bucket_hash(&[small], 3)?, bucket_hash(&[big], 3)?);
        Ok(())
    }

    #[test]
    fn bucket_hash_is_frozen() -> Result<()> {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, -1]));
        let s: ArrayRef = Arc::new(StringArray::from(vec!["", "a", "order-1"]));
        let both = bucket_hash(&[a.clone(), s.clone()], 3)?;
        assert_ne!(both, bucket_hash(&[s.clone(), a.clone()], 3)?, "column order matters");
        // Placement on disk depends on these values: a change needs a new generation.
        assert_eq!(bucket_hash(&[a], 3)?, GOLDEN_INT);
        assert_eq!(bucket_hash(&[s], 3)?, GOLDEN_TEXT);
        Ok(())
    }
    const GOLDEN_INT: [u64; 3] = [8006926423688288559, 12044280667013895316, 13778591709565100697];
    const GOLDEN_TEXT: [u64; 3] = [3827788038970796522, 6412149218569698963, 11959334127456459335];

    #[test]
    fn key_order_is_value_order() -> Result<()> {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(i64::MIN), Some(-1), Some(0), Some(i64::MAX)]));
        let batch = RecordBatch::try_from_iter([("k", ints)])?;
        let keys = KeyEncoder::new(vec![0]).encode_all(&batch)?;
        assert!((1..keys.len()).all(|i| keys.get(i - 1) < keys.get(i)));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["", "\0", "\0a", "a", "a\0", "ab", "b"]));
        let batch = RecordBatch::try_from_iter([("k", text)])?;
        let keys = KeyEncoder::new(vec![0]).encode_all(&batch)?;
        assert!((1..keys.len()).all(|i| keys.get(i - 1) < keys.get(i)));
        Ok(())
    }
}
