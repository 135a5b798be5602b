//! Zone maps: least and greatest value and number of NULLs, of a 1024-row vector or of a segment. They answer only "may a
//! row match?", so they may be wide: strings are cut to 31 bytes, and floats are ordered so that NaN is beyond all numbers.

use crate::encoding::{ColumnInput, InputValues};
use crate::schema::{ColumnType, CompareOp, Predicate, Scalar};
use std::cmp::Ordering;
use std::ops::Range;

/// Most bytes of a string that a zone keeps.
pub const TEXT_BYTES: usize = 31;
const HEADER_BYTES: usize = 8;
const HAS_BOUNDS: u8 = 1;
const MAX_CUT: u8 = 2;

/// Least and greatest value of rows that are not NULL.
#[derive(Clone, Debug, PartialEq)]
pub enum Bounds {
    /// There is no value.
    Empty,
    /// BOOLEAN (0, 1), TINYINT to BIGINT, DATE, DATETIME.
    Int(i64, i64),
    /// LARGEINT and DECIMAL.
    Wide(i128, i128),
    /// FLOAT and DOUBLE by [`float_order`], zeros widened to both signs.
    Float(i64, i64),
    /// CHAR and VARCHAR, by bytes.
    Text {
        /// At most the least value: its first bytes.
        min: Vec<u8>,
        /// The greatest value or its first bytes.
        max: Vec<u8>,
        /// Whether greater values may begin with `max`.
        max_cut: bool,
    },
}

/// What is known of some rows of a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// How many rows.
    pub rows: u32,
    /// How many of them are NULL.
    pub nulls: u32,
    /// Between what the others lie.
    pub bounds: Bounds,
}

/// The total order of floats as integers: -NaN, -inf, ..., -0.0, 0.0, ..., inf, NaN. (IEEE 754-2008, section 5.10.)
fn float_order(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// How the bounds of a column's type lie on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Int,
    Wide,
    Float,
    Text,
}

impl Shape {
    fn of(ty: ColumnType) -> Shape {
        match ty {
            ColumnType::LargeInt | ColumnType::Decimal { .. } => Shape::Wide,
            ColumnType::Float | ColumnType::Double => Shape::Float,
            ColumnType::Char(_) | ColumnType::Varchar(_) => Shape::Text,
            _ => Shape::Int,
        }
    }

    /// Bytes of one bound.
    fn bound_bytes(self) -> usize {
        match self {
            Shape::Int | Shape::Float => 8,
            Shape::Wide => 16,
            Shape::Text => TEXT_BYTES + 1,
        }
    }
}

impl Zone {
    /// Of no rows.
    pub fn empty() -> Zone {
        Zone { rows: 0, nulls: 0, bounds: Bounds::Empty }
    }

    /// Of rows of a column on its way into a segment.
    pub fn of(input: &ColumnInput, rows: Range<usize>) -> Zone {
        let nulls = match input.nulls() {
            0 => 0,
            _ => rows.clone().filter(|&row| !input.is_valid(row)).count(),
        };
        let count = rows.len();
        let bounds = if nulls == count { Bounds::Empty } else { bounds(input, rows) };
        Zone { rows: count as u32, nulls: nulls as u32, bounds }
    }

    /// Widens by other rows of the same column.
    pub fn merge(&mut self, other: &Zone) {
        self.rows += other.rows;
        self.nulls += other.nulls;
        match (&mut self.bounds, &other.bounds) {
            (_, Bounds::Empty) => (),
            (bounds @ Bounds::Empty, _) => *bounds = other.bounds.clone(),
            (Bounds::Int(a, b), Bounds::Int(c, d)) | (Bounds::Float(a, b), Bounds::Float(c, d)) => {
                (*a, *b) = ((*a).min(*c), (*b).max(*d));
            }
            (Bounds::Wide(a, b), Bounds::Wide(c, d)) => (*a, *b) = ((*a).min(*c), (*b).max(*d)),
            (Bounds::Text { min, max, max_cut }, Bounds::Text { min: min2, max: max2, max_cut: cut2 }) => {
                if min2 < min {
                    min.clone_from(min2);
                }
                // A cut bound is above an equal one that is not.
                if (max2, cut2) > (max, max_cut) {
                    max.clone_from(max2);
                    *max_cut = *cut2;
                }
            }
            _ => unreachable!("zones of one column have one shape"),
        }
    }

    /// Whether a row may match. Conservative: a value of another type than the column's may match.
    pub fn may_match(&self, predicate: &Predicate) -> bool {
        match predicate {
            Predicate::IsNull { .. } => self.nulls > 0,
            _ if self.nulls == self.rows => false,
            Predicate::IsNotNull { .. } => true,
            Predicate::Compare { op, value, .. } => self.may_compare(*op, value),
            Predicate::In { values, .. } => values.iter().any(|value| self.may_compare(CompareOp::Eq, value)),
            Predicate::NotIn { values, .. } => values.iter().all(|value| self.may_compare(CompareOp::Ne, value)),
            Predicate::Prefix { prefix, .. } => self.may_begin_with(prefix.as_bytes()),
        }
    }

    fn may_compare(&self, op: CompareOp, value: &Scalar) -> bool {
        let Some((min, max)) = self.order(value) else { return true };
        match op {
            CompareOp::Eq => min.is_le() && max.is_ge(),
            CompareOp::Ne => !(min.is_eq() && max.is_eq()),
            CompareOp::Lt => min.is_lt(),
            CompareOp::Le => min.is_le(),
            CompareOp::Gt => max.is_gt(),
            CompareOp::Ge => max.is_ge(),
        }
    }

    /// How the least and the greatest value compare with `value`; `None` when that cannot be said.
    fn order(&self, value: &Scalar) -> Option<(Ordering, Ordering)> {
        Some(match (&self.bounds, value) {
            (Bounds::Int(min, max), Scalar::Int(value)) => (min.cmp(value), max.cmp(value)),
            (Bounds::Int(min, max), Scalar::Bool(value)) => (min.cmp(&i64::from(*value)), max.cmp(&i64::from(*value))),
            (Bounds::Wide(min, max), Scalar::Wide(value)) => (min.cmp(value), max.cmp(value)),
            (Bounds::Float(min, max), Scalar::Float(value)) if !value.is_nan() => {
                // Both zeros are one value: what lies between them is equal to either.
                let low = float_order(if *value == 0.0 { -0.0 } else { *value });
                let high = float_order(if *value == 0.0 { 0.0 } else { *value });
                let order = |bound: i64| match (bound < low, bound > high) {
                    (true, _) => Ordering::Less,
                    (_, true) => Ordering::Greater,
                    _ => Ordering::Equal,
                };
                (order(*min), order(*max))
            }
            (Bounds::Text { min, max, max_cut }, Scalar::Text(value)) => {
                let value = value.as_bytes();
                let max = match *max_cut && value.starts_with(max) {
                    true => Ordering::Greater,
                    false => max.as_slice().cmp(value),
                };
                (min.as_slice().cmp(value), max)
            }
            _ => return None,
        })
    }

    fn may_begin_with(&self, prefix: &[u8]) -> bool {
        match &self.bounds {
            Bounds::Text { min, max, max_cut } => {
                let above = min.as_slice() > prefix && !min.starts_with(prefix);
                let below = max.as_slice() < prefix && !(*max_cut && prefix.starts_with(max));
                !above && !below
            }
            _ => true,
        }
    }

    /// Bytes of a zone of a column of this type.
    pub fn size(ty: ColumnType) -> usize {
        HEADER_BYTES + 2 * Shape::of(ty).bound_bytes()
    }

    /// Appends the zone, [`Zone::size`] bytes; the row count is not among them.
    pub fn put(&self, ty: ColumnType, out: &mut Vec<u8>) {
        let end = out.len() + Zone::size(ty);
        let (mut flags, mut lengths) = (HAS_BOUNDS, [0u8; 2]);
        match &self.bounds {
            Bounds::Empty => flags = 0,
            Bounds::Text { min, max, max_cut } => {
                flags |= if *max_cut { MAX_CUT } else { 0 };
                lengths = [min.len() as u8, max.len() as u8];
            }
            _ => (),
        }
        out.extend(self.nulls.to_le_bytes());
        out.extend([flags, lengths[0], lengths[1], 0]);
        match &self.bounds {
            Bounds::Empty => (),
            Bounds::Int(min, max) | Bounds::Float(min, max) => {
                out.extend(min.to_le_bytes());
                out.extend(max.to_le_bytes());
            }
            Bounds::Wide(min, max) => {
                out.extend(min.to_le_bytes());
                out.extend(max.to_le_bytes());
            }
            Bounds::Text { min, max, .. } => {
                out.extend(min);
                out.resize(end - TEXT_BYTES - 1, 0);
                out.extend(max);
            }
        }
        out.resize(end, 0);
    }

    /// Reads a zone of `rows` rows; `None` when the bytes are not one.
    pub fn parse(ty: ColumnType, rows: u32, bytes: &[u8]) -> Option<Zone> {
        let shape = Shape::of(ty);
        let (header, values) = bytes.split_at_checked(HEADER_BYTES)?;
        let (min, max) = values.split_at_checked(shape.bound_bytes())?;
        let nulls = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let flags = header[4];
        if nulls > rows || flags > HAS_BOUNDS | MAX_CUT || (flags & HAS_BOUNDS != 0) != (nulls < rows) {
            return None;
        }
        let int = |bytes: &[u8]| Some(i64::from_le_bytes(bytes.try_into().ok()?));
        let wide = |bytes: &[u8]| Some(i128::from_le_bytes(bytes.try_into().ok()?));
        let bounds = match shape {
            _ if flags & HAS_BOUNDS == 0 => Bounds::Empty,
            Shape::Int => Bounds::Int(int(min)?, int(max)?),
            Shape::Float => Bounds::Float(int(min)?, int(max)?),
            Shape::Wide => Bounds::Wide(wide(min)?, wide(max)?),
            Shape::Text => Bounds::Text {
                min: min.get(..header[5] as usize)?.to_vec(),
                max: max.get(..header[6] as usize)?.to_vec(),
                max_cut: flags & MAX_CUT != 0,
            },
        };
        Some(Zone { rows, nulls, bounds })
    }
}

/// Bounds of rows of which at least one is not NULL.
fn bounds(input: &ColumnInput, rows: Range<usize>) -> Bounds {
    /// Least and greatest of the valid rows.
    fn range<K: Ord + Copy>(input: &ColumnInput, rows: Range<usize>, key: impl Fn(usize) -> K) -> (K, K) {
        let first = rows.clone().find(|&row| input.is_valid(row)).unwrap_or(rows.start);
        let start = (key(first), key(first));
        let widen = |(min, max): (K, K), row: usize| {
            let key = key(row);
            (min.min(key), max.max(key))
        };
        // What lies under a NULL is a copy of a valid value, but perhaps one of the vector before.
        match input.nulls() {
            0 => rows.fold(start, widen),
            _ => rows.filter(|&row| input.is_valid(row)).fold(start, widen),
        }
    }
    let int = |(min, max)| Bounds::Int(min, max);
    let float = |(min, max)| {
        let (low, high) = (float_order(-0.0), float_order(0.0));
        Bounds::Float(if min == high { low } else { min }, if max == low { high } else { max })
    };
    match (input.values(), input.ty()) {
        (InputValues::Word8(v), ColumnType::Boolean) => int(range(input, rows, |row| i64::from(v[row]))),
        (InputValues::Word8(v), _) => int(range(input, rows, |row| i64::from(v[row] as i8))),
        (InputValues::Word16(v), _) => int(range(input, rows, |row| i64::from(v[row] as i16))),
        (InputValues::Word32(v), ColumnType::Float) => {
            float(range(input, rows, |row| float_order(f64::from(f32::from_bits(v[row])))))
        }
        (InputValues::Word32(v), _) => int(range(input, rows, |row| i64::from(v[row] as i32))),
        (InputValues::Word64(v), ColumnType::Double) => {
            float(range(input, rows, |row| float_order(f64::from_bits(v[row]))))
        }
        (InputValues::Word64(v), _) => int(range(input, rows, |row| v[row] as i64)),
        (InputValues::Word128(v), _) => {
            let (min, max) = range(input, rows, |row| v[row] as i128);
            Bounds::Wide(min, max)
        }
        (InputValues::Text { ends, bytes }, _) => {
            let text = |row: usize| &bytes[if row == 0 { 0 } else { ends[row - 1] as usize }..ends[row] as usize];
            let (min, max) = range(input, rows, text);
            let cut = |text: &[u8]| text[..text.len().min(TEXT_BYTES)].to_vec();
            Bounds::Text { min: cut(min), max: cut(max), max_cut: max.len() > TEXT_BYTES }
        }
    }
}

#[cfg(test)]
mod tests;
