//! Segment files: immutable rows in sort order, column by column, found by row number.
//!
//! | part | what |
//! |---|---|
//! | `writer.rs` | [`SegmentWriter`]: streams rows into a file, one chunk in memory at a time |
//! | `reader.rs` | [`Segment`]: an open file; ranges and single rows through the page cache |
//! | `load.rs` | pages from cache or disk: neighbours in one read, several reads at once, verified once |
//! | `prune.rs` | which vectors may hold a match: zone maps and short keys |
//! | `zone.rs` | [`Zone`]: least, greatest, NULLs |
//! | `footer.rs` | the footer: what the file is and where its pages are |
//! | `vector_set.rs` | [`VectorSet`] |
//!
//! `FORMAT.md` draws the bytes. A segment belongs to the core that opened it. Damage is found by checksum when a page is
//! loaded, and names file, offset, expected and found.

mod footer;
mod load;
mod prune;
mod reader;
mod vector_set;
mod writer;
mod zone;

#[cfg(test)]
mod tests;

pub use reader::{PageInfo, Segment};
pub use vector_set::VectorSet;
pub use writer::{SegmentWriter, WriteOptions};
pub use zone::{Bounds, Zone};

use crate::schema::ColumnType;

/// A column as a segment holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentColumn {
    /// The column's id in the table.
    pub id: u32,
    /// Its name when the segment was written.
    pub name: String,
    /// Its type when the segment was written.
    pub ty: ColumnType,
    /// Whether NULL was allowed.
    pub nullable: bool,
}

/// What a segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Rows, deleted ones included.
    pub rows: u32,
    /// Length of the file.
    pub bytes: u64,
    /// Version of the schema it was written under.
    pub schema_version: u32,
    /// Columns in table order.
    pub columns: Vec<SegmentColumn>,
    /// Positions of the sort key.
    pub sort_columns: Vec<u32>,
    /// Memcomparable sort key of the first row; empty without rows.
    pub min_key: Vec<u8>,
    /// Memcomparable sort key of the last row; empty without rows.
    pub max_key: Vec<u8>,
}
