//! Group keys of the hash aggregation: columns to compact keys and back, and the table that numbers them.
//!
//! Columns of fixed width whose bits fit in 128, NULL bits included, become one integer; all others become arrow's row format.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use arrow::row::{RowConverter, Rows, SortField};
use starling_storage::key::{key_hash, mix64};

use crate::error::{EngineError, Result};

/// How the keys of one aggregation are written.
pub enum KeyCodec {
    Packed(Vec<Field>),
    Rows(RowConverter),
}

/// The keys of a slice.
pub enum Keys {
    Packed(Vec<u128>),
    Rows(Rows),
}

impl KeyCodec {
    /// For columns of these types.
    pub fn new(fields: Vec<Field>) -> Result<KeyCodec> {
        let bits: Option<u32> = fields.iter().map(|field| Some(width(field.data_type())? + 1)).sum();
        if bits.is_some_and(|bits| bits <= 128) {
            return Ok(KeyCodec::Packed(fields));
        }
        let fields = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(KeyCodec::Rows(RowConverter::new(fields).map_err(EngineError::internal)?))
    }

    /// The keys of each row.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Keys> {
        match self {
            KeyCodec::Rows(converter) => {
                Ok(Keys::Rows(converter.convert_columns(columns).map_err(EngineError::internal)?))
            }
            KeyCodec::Packed(fields) => {
                let mut keys = vec![0u128; rows];
                let mut shift = 0;
                for (field, column) in fields.iter().zip(columns) {
                    pack(column, shift, &mut keys)?;
                    shift += width(field.data_type()).unwrap_or(0) + 1;
                }
                Ok(Keys::Packed(keys))
            }
        }
    }

    fn empty(&self) -> Store {
        match self {
            KeyCodec::Packed(_) => Store::Packed(Vec::new()),
            KeyCodec::Rows(_) => Store::Rows { bytes: Vec::new(), ends: Vec::new() },
        }
    }

    /// The columns of stored keys.
    fn decode(&self, store: &Store) -> Result<Vec<ArrayRef>> {
        match (self, store) {
            (KeyCodec::Packed(fields), Store::Packed(keys)) => {
                let mut shift = 0;
                let mut column = |field: &Field| {
                    let array = unpack(field.data_type(), shift, keys);
                    shift += width(field.data_type()).unwrap_or(0) + 1;
                    array
                };
                fields.iter().map(&mut column).collect()
            }
            (KeyCodec::Rows(converter), Store::Rows { bytes, ends }) => {
                let parser = converter.parser();
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let rows = starts.zip(ends).map(|(start, &end)| parser.parse(&bytes[start..end]));
                converter.convert_rows(rows).map_err(EngineError::internal)
            }
            _ => Err(EngineError::internal("group keys of two forms")),
        }
    }
}

impl Keys {
    /// The hash of each row's key.
    pub fn hashes(&self) -> Vec<u64> {
        match self {
            Keys::Packed(keys) => {
                keys.iter().map(|&k| mix64(mix64((k >> 64) as u64 ^ 0x5bd1_e995) ^ k as u64)).collect()
            }
            Keys::Rows(rows) => rows.iter().map(|row| key_hash(row.as_ref())).collect(),
        }
    }
}

fn width(ty: &DataType) -> Option<u32> {
    Some(match ty {
        DataType::Boolean => 1,
        DataType::Int8 | DataType::UInt8 => 8,
        DataType::Int16 => 16,
        DataType::Int32 | DataType::Date32 | DataType::Float32 => 32,
        DataType::Int64 | DataType::UInt64 | DataType::Float64 | DataType::Timestamp(TimeUnit::Microsecond, None) => 64,
        _ => return None,
    })
}

fn pack(column: &ArrayRef, shift: u32, keys: &mut [u128]) -> Result<()> {
    /// One bit says that there is a value; NULL is all zeros.
    fn put(column: &dyn Array, shift: u32, keys: &mut [u128], value: impl Fn(usize) -> u64) {
        for (row, key) in keys.iter_mut().enumerate() {
            if column.is_valid(row) {
                *key |= (u128::from(value(row)) << 1 | 1) << shift;
            }
        }
    }
    macro_rules! ints {
        ($ty:ty, $unsigned:ty) => {{
            let values = column.as_primitive::<$ty>().values();
            put(column, shift, keys, |row| u64::from(values[row] as $unsigned))
        }};
    }
    match column.data_type() {
        DataType::Boolean => put(column, shift, keys, |row| u64::from(column.as_boolean().value(row))),
        DataType::Int8 => ints!(Int8Type, u8),
        DataType::UInt8 => ints!(UInt8Type, u8),
        DataType::Int16 => ints!(Int16Type, u16),
        DataType::Int32 => ints!(Int32Type, u32),
        DataType::Date32 => ints!(Date32Type, u32),
        DataType::Int64 => ints!(Int64Type, u64),
        DataType::UInt64 => ints!(UInt64Type, u64),
        DataType::Timestamp(..) => ints!(TimestampMicrosecondType, u64),
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            // The zeros are one group, and so are all NaN.
            let bits = |v: f32| {
                if v == 0.0 {
                    0
                } else if v.is_nan() {
                    f32::NAN.to_bits()
                } else {
                    v.to_bits()
                }
            };
            put(column, shift, keys, |row| u64::from(bits(values[row])));
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            let bits = |v: f64| {
                if v == 0.0 {
                    0
                } else if v.is_nan() {
                    f64::NAN.to_bits()
                } else {
                    v.to_bits()
                }
            };
            put(column, shift, keys, |row| bits(values[row]));
        }
        other => return Err(EngineError::internal(format!("{other} is not a packed group key"))),
    }
    Ok(())
}

fn unpack(ty: &DataType, shift: u32, keys: &[u128]) -> Result<ArrayRef> {
    let bits = |key: &u128| -> Option<u64> {
        let field = key >> shift;
        (field & 1 == 1).then_some((field >> 1) as u64)
    };
    macro_rules! ints {
        ($ty:ty, $native:ty) => {
            Arc::new(keys.iter().map(|key| bits(key).map(|v| v as $native)).collect::<PrimitiveArray<$ty>>())
                as ArrayRef
        };
    }
    Ok(match ty {
        DataType::Boolean => Arc::new(keys.iter().map(|key| bits(key).map(|v| v & 1 == 1)).collect::<BooleanArray>()),
        DataType::Int8 => ints!(Int8Type, i8),
        DataType::UInt8 => ints!(UInt8Type, u8),
        DataType::Int16 => ints!(Int16Type, i16),
        DataType::Int32 => ints!(Int32Type, i32),
        DataType::Date32 => ints!(Date32Type, i32),
        DataType::Int64 => ints!(Int64Type, i64),
        DataType::UInt64 => ints!(UInt64Type, u64),
        DataType::Timestamp(..) => ints!(TimestampMicrosecondType, i64),
        DataType::Float32 => {
            Arc::new(keys.iter().map(|key| bits(key).map(|v| f32::from_bits(v as u32))).collect::<Float32Array>())
        }
        DataType::Float64 => Arc::new(keys.iter().map(|key| bits(key).map(f64::from_bits)).collect::<Float64Array>()),
        other => return Err(EngineError::internal(format!("{other} is not a packed group key"))),
    })
}

/// Keys in the order of their groups.
enum Store {
    Packed(Vec<u128>),
    Rows { bytes: Vec<u8>, ends: Vec<usize> },
}

impl Store {
    fn is(&self, group: usize, keys: &Keys, row: usize) -> bool {
        match (self, keys) {
            (Store::Packed(stored), Keys::Packed(keys)) => stored[group] == keys[row],
            (Store::Rows { bytes, ends }, Keys::Rows(rows)) => {
                let start = if group == 0 { 0 } else { ends[group - 1] };
                &bytes[start..ends[group]] == rows.row(row).as_ref()
            }
            _ => false,
        }
    }

    fn push(&mut self, keys: &Keys, row: usize) {
        match (self, keys) {
            (Store::Packed(stored), Keys::Packed(keys)) => stored.push(keys[row]),
            (Store::Rows { bytes, ends }, Keys::Rows(rows)) => {
                bytes.extend_from_slice(rows.row(row).as_ref());
                ends.push(bytes.len());
            }
            _ => (),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Store::Packed(keys) => keys.capacity() * 16,
            Store::Rows { bytes, ends } => bytes.capacity() + ends.capacity() * 8,
        }
    }
}

/// Numbers the distinct keys it is shown, from 0. Open addressing with linear probing, at most half full.
pub struct GroupTable {
    /// Group + 1; 0 is free. A power of two.
    slots: Vec<u32>,
    hashes: Vec<u64>,
    store: Store,
}

impl GroupTable {
    pub fn new(codec: &KeyCodec) -> GroupTable {
        GroupTable { slots: vec![0; 64], hashes: Vec::new(), store: codec.empty() }
    }

    /// How many groups.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The number of a row's key.
    pub fn number(&mut self, hash: u64, keys: &Keys, row: usize) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 => break,
                slot => {
                    let group = slot as usize - 1;
                    if self.hashes[group] == hash && self.store.is(group, keys, row) {
                        return group;
                    }
                }
            }
            at = (at + 1) & mask;
        }
        let group = self.hashes.len();
        self.slots[at] = group as u32 + 1;
        self.hashes.push(hash);
        self.store.push(keys, row);
        if self.hashes.len() * 2 > self.slots.len() {
            self.grow();
        }
        group
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        self.slots = vec![0; mask + 1];
        for (group, hash) in (1u32..).zip(&self.hashes) {
            let mut at = *hash as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = group;
        }
    }

    /// The key columns of all groups, in order.
    pub fn columns(&self, codec: &KeyCodec) -> Result<Vec<ArrayRef>> {
        codec.decode(&self.store)
    }

    /// Memory in use.
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * 4 + self.hashes.capacity() * 8 + self.store.bytes()
    }
}
