//! Pruning: which vectors of a segment may hold a row that matches a conjunction. First the segment's own zones (no I/O), then
//! the short keys when the conditions bound a prefix of the sort key, then the zones of the columns named.

use super::VectorSet;
use super::footer::{SHORT_KEY_BYTES, SHORT_KEY_ENTRY};
use super::reader::Segment;
use super::zone::Zone;
use crate::encoding::{Damage, VECTOR_ROWS};
use crate::error::{Result, StorageError};
use crate::key::KeyEncoder;
use crate::schema::{ColumnType, CompareOp, Predicate, Scalar};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use std::sync::Arc;

/// Zones looked at before others may run.
const SLICE_ZONES: usize = 1024;

impl Segment {
    /// The vectors in which a row may match all predicates. Reads short keys and zones of the columns named, no data.
    ///
    /// Errors: `Invalid` for a column that is not there, `Corrupt`, those of the disk.
    pub async fn prune(&self, predicates: &[Predicate]) -> Result<VectorSet> {
        for predicate in predicates {
            let Some(zone) = self.zone(predicate.column()) else {
                return Err(StorageError::Invalid(format!("predicate on column {}", predicate.column())));
            };
            if !zone.may_match(predicate) {
                return Ok(VectorSet::none(self.rows()));
            }
        }
        let mut set = VectorSet::all(self.rows());
        self.prune_by_key(predicates, &mut set).await?;
        for predicate in predicates {
            if set.is_empty() {
                break;
            }
            self.prune_by_zone(predicate, &mut set).await?;
        }
        Ok(set)
    }

    /// The zones of a column's vectors, read and checked.
    ///
    /// Errors: as [`Segment::prune`].
    pub async fn vector_zones(&self, column: usize) -> Result<Vec<Zone>> {
        let Some(footer) = self.footer.columns.get(column) else {
            return Err(StorageError::Invalid(format!("zones of column {column}")));
        };
        let (ty, place) = (self.column(column).ty, footer.zones);
        let bytes = &self.loader.load(&[place]).await?[0];
        let zones = bytes.chunks_exact(Zone::size(ty)).enumerate().map(|(vector, bytes)| {
            let rows = (self.rows() - (vector * VECTOR_ROWS) as u32).min(VECTOR_ROWS as u32);
            Zone::parse(ty, rows, bytes).ok_or_else(|| {
                let damage = Damage::new(vector * Zone::size(ty), "the zone of a vector", "other bytes");
                self.corrupt(place.offset, damage)
            })
        });
        zones.collect()
    }

    async fn prune_by_zone(&self, predicate: &Predicate, set: &mut VectorSet) -> Result<()> {
        let ty = self.column(predicate.column()).ty;
        let place = self.footer.columns[predicate.column()].zones;
        let bytes = &self.loader.load(&[place]).await?[0];
        for (vector, bytes) in bytes.chunks_exact(Zone::size(ty)).enumerate() {
            if set.contains(vector) {
                let rows = (self.rows() - (vector * VECTOR_ROWS) as u32).min(VECTOR_ROWS as u32);
                let zone = Zone::parse(ty, rows, bytes).ok_or_else(|| {
                    let damage = Damage::new(vector * Zone::size(ty), "the zone of a vector", "other bytes");
                    self.corrupt(place.offset, damage)
                })?;
                if !zone.may_match(predicate) {
                    set.remove(vector);
                }
            }
            if vector % SLICE_ZONES == SLICE_ZONES - 1 {
                self.loader.disk.yield_now().await;
            }
        }
        Ok(())
    }

    async fn prune_by_key(&self, predicates: &[Predicate], set: &mut VectorSet) -> Result<()> {
        let range = self.key_range(predicates)?;
        if range.low.is_empty() && range.high.is_empty() {
            return Ok(());
        }
        let bytes = &self.loader.load(&[self.footer.short_keys]).await?[0];
        let keys: Vec<&[u8]> = bytes
            .chunks_exact(SHORT_KEY_ENTRY)
            .map(|entry| &entry[1..1 + (entry[0] as usize).min(SHORT_KEY_BYTES)])
            .collect();
        // Keys ascend. The rows of a vector lie between its first key and the first key of the next; both are cut.
        let first = keys.partition_point(|key| below(key, &range.low)).saturating_sub(1);
        let last = keys.partition_point(|key| !below(&range.high, key));
        set.retain(|vector| (first..last).contains(&vector));
        Ok(())
    }

    /// The range of sort keys that the predicates allow: equal values of leading columns, then at most one comparison.
    fn key_range(&self, predicates: &[Predicate]) -> Result<KeyRange> {
        let mut range = KeyRange::default();
        for &column in &self.footer.meta.sort_columns {
            let ty = self.column(column as usize).ty;
            let on_column = predicates.iter().filter(|predicate| predicate.column() == column as usize);
            let (mut equal, mut low, mut high) = (None, None, None);
            for predicate in on_column {
                if let Predicate::Compare { op, value, .. } = predicate {
                    match op {
                        CompareOp::Eq => equal = encode(ty, value)?,
                        CompareOp::Gt | CompareOp::Ge => low = encode(ty, value)?,
                        CompareOp::Lt | CompareOp::Le => high = encode(ty, value)?,
                        CompareOp::Ne => (),
                    }
                }
            }
            if let Some(key) = equal {
                range.low.extend(&key);
                range.high.extend(&key);
                continue;
            }
            range.low.extend(low.unwrap_or_default());
            range.high.extend(high.unwrap_or_default());
            break;
        }
        Ok(range)
    }
}

/// Inclusive bounds: a key matches when its first bytes are not below `low` and not above `high`.
#[derive(Default)]
struct KeyRange {
    low: Vec<u8>,
    high: Vec<u8>,
}

/// Whether `a` is below `b` as far as both go.
fn below(a: &[u8], b: &[u8]) -> bool {
    let len = a.len().min(b.len());
    a[..len] < b[..len]
}

/// The memcomparable form of a value of a column; `None` when the value is not of the column's type.
fn encode(ty: ColumnType, value: &Scalar) -> Result<Option<Vec<u8>>> {
    let array: ArrayRef = match (ty, value) {
        (ColumnType::Boolean, Scalar::Bool(v)) => Arc::new(BooleanArray::from(vec![*v])),
        (ColumnType::TinyInt, Scalar::Int(v)) => match i8::try_from(*v) {
            Ok(v) => Arc::new(Int8Array::from(vec![v])),
            Err(_) => return Ok(None),
        },
        (ColumnType::SmallInt, Scalar::Int(v)) => match i16::try_from(*v) {
            Ok(v) => Arc::new(Int16Array::from(vec![v])),
            Err(_) => return Ok(None),
        },
        (ColumnType::Int, Scalar::Int(v)) => match i32::try_from(*v) {
            Ok(v) => Arc::new(Int32Array::from(vec![v])),
            Err(_) => return Ok(None),
        },
        (ColumnType::Date, Scalar::Int(v)) => match i32::try_from(*v) {
            Ok(v) => Arc::new(Date32Array::from(vec![v])),
            Err(_) => return Ok(None),
        },
        (ColumnType::BigInt, Scalar::Int(v)) => Arc::new(Int64Array::from(vec![*v])),
        (ColumnType::DateTime, Scalar::Int(v)) => Arc::new(TimestampMicrosecondArray::from(vec![*v])),
        (ColumnType::LargeInt | ColumnType::Decimal { .. }, Scalar::Wide(v)) => {
            Arc::new(Decimal128Array::from(vec![*v]))
        }
        // A FLOAT column holds no double but itself: any other value lies between two keys.
        (ColumnType::Float, Scalar::Float(v)) if f64::from(*v as f32) == *v => {
            Arc::new(Float32Array::from(vec![*v as f32]))
        }
        (ColumnType::Double, Scalar::Float(v)) if !v.is_nan() => Arc::new(Float64Array::from(vec![*v])),
        (ColumnType::Char(_) | ColumnType::Varchar(_), Scalar::Text(v)) => {
            Arc::new(StringArray::from(vec![v.as_str()]))
        }
        _ => return Ok(None),
    };
    let batch = RecordBatch::try_from_iter([("key", array)])?;
    let mut key = Vec::new();
    KeyEncoder::new(vec![0]).encode(&batch, 0, &mut key)?;
    Ok(Some(key))
}
