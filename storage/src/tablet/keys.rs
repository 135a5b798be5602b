//! From key columns to the tags of the primary index. Fixed-width keys of up to eight bytes are packed and are their own tag;
//! all others are encoded to bytes, whose hash is the tag and whose equality decides (R6).

use crate::error::Result;
use crate::key::{KeyEncoder, Keys, key_hash};
use crate::schema::{ColumnType, TabletSchema};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use std::ops::Range;
use std::rc::Rc;

/// How the keys of a tablet become tags.
pub(super) enum KeyCodec {
    /// Equal tags are equal keys. Byte widths of the columns.
    Exact(Vec<u32>),
    /// Tags are hashes under a mask: all bits in use, a few in tests that want collisions.
    Hashed(KeyEncoder, u64),
}

/// The keys of some rows.
#[derive(Clone, Default)]
pub(super) struct TaggedKeys {
    /// One tag a row.
    pub(super) tags: Vec<u64>,
    /// The keys themselves, where tags are hashes. Shared with the memory of keys written lately.
    pub(super) keys: Option<Rc<Keys>>,
}

impl TaggedKeys {
    /// The keys of the given rows.
    pub(super) fn take(&self, rows: &[u32]) -> TaggedKeys {
        let keys = self.keys.as_ref().map(|keys| {
            let mut taken = Keys::default();
            rows.iter().for_each(|&row| taken.push(keys.get(row as usize)));
            Rc::new(taken)
        });
        TaggedKeys { tags: rows.iter().map(|&row| self.tags[row as usize]).collect(), keys }
    }

    /// Bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.tags.capacity() * 8 + self.keys.as_ref().map_or(0, |keys| keys.len() * 32)
    }
}

fn width(ty: ColumnType) -> Option<u32> {
    match ty {
        ColumnType::Boolean | ColumnType::TinyInt => Some(1),
        ColumnType::SmallInt => Some(2),
        ColumnType::Int | ColumnType::Date => Some(4),
        ColumnType::BigInt | ColumnType::DateTime => Some(8),
        _ => None,
    }
}

impl KeyCodec {
    pub(super) fn new(schema: &TabletSchema) -> KeyCodec {
        let keys = &schema.columns[..schema.key_columns as usize];
        let widths: Option<Vec<u32>> = keys.iter().map(|c| width(c.ty).filter(|_| !c.nullable)).collect();
        match widths {
            Some(widths) if widths.iter().sum::<u32>() <= 8 => KeyCodec::Exact(widths),
            _ => KeyCodec::Hashed(KeyEncoder::new(schema.key_positions()), u64::MAX),
        }
    }

    /// The keys of all rows of a batch whose first columns are the key columns.
    pub(super) fn tag(&self, batch: &RecordBatch) -> Result<TaggedKeys> {
        match self {
            KeyCodec::Exact(widths) => {
                let mut tags = vec![0u64; batch.num_rows()];
                for (column, width) in batch.columns().iter().zip(widths) {
                    pack(column, *width, &mut tags);
                }
                Ok(TaggedKeys { tags, keys: None })
            }
            KeyCodec::Hashed(encoder, mask) => {
                let keys = encoder.encode_all(batch)?;
                let tags = (0..keys.len()).map(|row| key_hash(keys.get(row)) & mask).collect();
                Ok(TaggedKeys { tags, keys: Some(Rc::new(keys)) })
            }
        }
    }

    /// The encoded keys of a batch of key columns, for verification; only for hashed tags.
    pub(super) fn encode(&self, batch: &RecordBatch) -> Result<Keys> {
        match self {
            KeyCodec::Exact(_) => Ok(Keys::default()),
            KeyCodec::Hashed(encoder, _) => encoder.encode_all(batch),
        }
    }
}

fn pack(column: &ArrayRef, width: u32, tags: &mut [u64]) {
    let shift = if width == 8 { 0 } else { width * 8 };
    macro_rules! values {
        ($ty:ty, $unsigned:ty) => {
            for (tag, &value) in tags.iter_mut().zip(column.as_primitive::<$ty>().values()) {
                *tag = *tag << shift | value as $unsigned as u64;
            }
        };
    }
    match column.data_type() {
        DataType::Boolean => {
            for (row, tag) in tags.iter_mut().enumerate() {
                *tag = *tag << shift | column.as_boolean().value(row) as u64;
            }
        }
        DataType::Int8 => values!(Int8Type, u8),
        DataType::Int16 => values!(Int16Type, u16),
        DataType::Int32 => values!(Int32Type, u32),
        DataType::Date32 => values!(Date32Type, u32),
        DataType::Int64 => values!(Int64Type, u64),
        _ => values!(TimestampMicrosecondType, u64),
    }
    debug_assert_eq!(column.null_count(), 0, "key columns of exact tags are NOT NULL");
}

/// Finds which rows of a batch count: the last one of each key. Open addressing over row numbers, from the last row to the first, so
/// that who comes first stays.
pub(super) struct LastOfEachKey {
    /// Row number + 1; 0 is an empty place.
    table: Vec<u32>,
    lost: Vec<u32>,
}

impl LastOfEachKey {
    pub(super) fn new(rows: usize) -> LastOfEachKey {
        // Zeros come from the kernel page by page, when they are first touched; any other value would be written here in one go (P7).
        LastOfEachKey { table: vec![0; (rows * 2).next_power_of_two()], lost: Vec::new() }
    }

    /// Looks at a range of rows; ranges come from the last to the first.
    pub(super) fn scan(&mut self, keys: &TaggedKeys, rows: Range<usize>) {
        let mask = self.table.len() - 1;
        for row in rows.rev() {
            let tag = keys.tags[row];
            let mut at = crate::key::mix64(tag) as usize & mask;
            loop {
                match self.table[at] {
                    0 => {
                        self.table[at] = row as u32 + 1;
                        break;
                    }
                    other if keys.tags[other as usize - 1] == tag && same_key(keys, other as usize - 1, row) => {
                        self.lost.push(row as u32);
                        break;
                    }
                    _ => at = (at + 1) & mask,
                }
            }
        }
    }

    /// The rows that are written over by a later one, descending.
    pub(super) fn lost(self) -> Vec<u32> {
        self.lost
    }
}

fn same_key(keys: &TaggedKeys, a: usize, b: usize) -> bool {
    keys.keys.as_ref().is_none_or(|keys| keys.get(a) == keys.get(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int8Array, Int32Array, StringArray};
    use std::sync::Arc;

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        RecordBatch::try_from_iter(columns.into_iter().enumerate().map(|(i, c)| (i.to_string(), c))).unwrap()
    }

    #[test]
    fn packed_tags_are_exact() {
        let codec = KeyCodec::Exact(vec![4, 1]);
        let a: ArrayRef = Arc::new(Int32Array::from(vec![1, 1, -1, 0]));
        let b: ArrayRef = Arc::new(Int8Array::from(vec![0, -1, -1, 1]));
        let tags = codec.tag(&batch(vec![a, b])).unwrap().tags;
        assert_eq!(tags, vec![1 << 8, 1 << 8 | 0xff, 0xff_ffff_ffff, 1]);
    }

    fn lost(keys: &TaggedKeys) -> Vec<u32> {
        let mut last = LastOfEachKey::new(keys.tags.len());
        let half = keys.tags.len() / 2;
        last.scan(keys, half..keys.tags.len());
        last.scan(keys, 0..half);
        last.lost()
    }

    #[test]
    fn the_last_row_of_a_key_wins() {
        let codec = KeyCodec::Hashed(KeyEncoder::new(vec![0]), u64::MAX);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a", "c", "b", "b"]));
        let keys = codec.tag(&batch(vec![text])).unwrap();
        assert_eq!(lost(&keys), vec![4, 1, 0]);
        let forged = TaggedKeys { tags: vec![7; 6], keys: keys.keys.clone() };
        assert_eq!(lost(&forged), vec![4, 1, 0], "colliding hashes are told apart");
    }
}
