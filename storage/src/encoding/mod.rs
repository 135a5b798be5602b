//! Column encodings: a *page* is one column of up to 64 Ki rows as self-describing bytes.
//!
//! | part | holds |
//! |---|---|
//! | `word` | the fixed-width machine words that values are stored as, and their packing |
//! | `packed` | frame of reference and bit-packing in vectors of 1024 values (crate `fastlanes`) |
//! | `text` | strings as packed end offsets and bytes |
//! | `page` | the header of a page, validity, checked access to its sections |
//! | `input` | rows of one column on their way into pages |
//! | `distinct` | the distinct values of a column, for dictionaries |
//! | `encode` | the choice of the smallest encoding, and the cut into pages |
//! | `decode` | ranges and single rows of a page into Arrow builders |
//! | `output` | the Arrow builders |
//!
//! Everything here is pure and synchronous but for [`encode`], which lets others run between vectors. Decoding trusts
//! nothing: any bytes give values or a [`Damage`], never a panic. The bytes are drawn in `segment/FORMAT.md`.

mod decode;
mod distinct;
mod encode;
mod input;
mod output;
mod packed;
mod page;
mod text;
mod word;

#[cfg(test)]
pub(crate) mod tests;

pub use decode::PageReader;
pub use encode::{EncodedPage, Pace, encode_column};
pub use input::{ColumnInput, Values as InputValues};
pub use output::{ColumnOutput, EncodedColumn};
pub use page::{Damage, aligned};

use crate::schema::ColumnType;

/// Rows in a vector: the unit of bit-packing, of zone maps and of pruning.
pub const VECTOR_ROWS: usize = 1024;
/// Rows in a chunk: what the writer holds in memory, and the most a page can have.
pub const CHUNK_ROWS: usize = 64 * VECTOR_ROWS;

/// How the values of a page lie in its bytes. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// One value for all rows.
    Constant = 0,
    /// Frame of reference and bit-packing per vector.
    Packed = 1,
    /// Distinct values once, and a bit-packed code per row.
    Dictionary = 2,
    /// Values and the last row of each run.
    RunLength = 3,
    /// Every value as it is.
    Plain = 4,
}

impl Encoding {
    fn parse(byte: u8) -> Option<Encoding> {
        Some(match byte {
            0 => Encoding::Constant,
            1 => Encoding::Packed,
            2 => Encoding::Dictionary,
            3 => Encoding::RunLength,
            4 => Encoding::Plain,
            _ => return None,
        })
    }
}

/// What a value is in a page, whatever SQL calls it. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Physical {
    /// 8 bits: BOOLEAN (0, 1) and TINYINT.
    Word8 = 1,
    /// 16 bits: SMALLINT.
    Word16 = 2,
    /// 32 bits: INT, FLOAT, DATE.
    Word32 = 3,
    /// 64 bits: BIGINT, DOUBLE, DATETIME.
    Word64 = 4,
    /// 128 bits: LARGEINT and DECIMAL.
    Word128 = 5,
    /// Bytes: CHAR and VARCHAR.
    Text = 6,
}

impl Physical {
    /// What values of a SQL type are in a page.
    pub fn of(ty: ColumnType) -> Physical {
        match ty {
            ColumnType::Boolean | ColumnType::TinyInt => Physical::Word8,
            ColumnType::SmallInt => Physical::Word16,
            ColumnType::Int | ColumnType::Float | ColumnType::Date => Physical::Word32,
            ColumnType::BigInt | ColumnType::Double | ColumnType::DateTime => Physical::Word64,
            ColumnType::LargeInt | ColumnType::Decimal { .. } => Physical::Word128,
            ColumnType::Char(_) | ColumnType::Varchar(_) => Physical::Text,
        }
    }

    fn parse(byte: u8) -> Option<Physical> {
        Some(match byte {
            1 => Physical::Word8,
            2 => Physical::Word16,
            3 => Physical::Word32,
            4 => Physical::Word64,
            5 => Physical::Word128,
            6 => Physical::Text,
            _ => return None,
        })
    }
}

#[cfg(target_endian = "big")]
compile_error!("pages are little-endian and read in place");
