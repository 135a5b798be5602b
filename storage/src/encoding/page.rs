//! The frame of a page: header, validity, and checked access to sections. A page starts at a multiple of 64 bytes in memory
//! ([`aligned`]) and every section at a multiple of 16 in the page, so words are read in place.

use super::word::{Word, words};
use super::{CHUNK_ROWS, Encoding, Physical};
use arrow::buffer::{Buffer, MutableBuffer};
use bytes::Bytes;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;
/// Every section starts at a multiple of this.
pub const SECTION_ALIGN: usize = 16;
/// Flag of a page that has a validity bitmap.
const HAS_VALIDITY: u8 = 1;

/// What is wrong with a page, and where in it. Whoever knows the file turns it into `StorageError::Corrupt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset in the page, in bytes.
    pub offset: usize,
    /// What a sound page has there.
    pub expected: String,
    /// What this page has there.
    pub found: String,
}

impl Damage {
    /// Damage at an offset of the page.
    pub fn new(offset: usize, expected: impl ToString, found: impl ToString) -> Damage {
        Damage { offset, expected: expected.to_string(), found: found.to_string() }
    }
}

/// The header of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How its values are encoded.
    pub encoding: Encoding,
    /// What its values are.
    pub physical: Physical,
    /// How many rows, 1 to 64 Ki.
    pub rows: usize,
    /// How many of them are NULL.
    pub nulls: usize,
}

impl Header {
    /// Appends header and validity bitmap (`valid` bit i is row i; ignored without NULLs), padded to a section.
    pub fn put(&self, valid: impl Fn(usize) -> bool, out: &mut Vec<u8>) {
        let flags = if self.nulls > 0 { HAS_VALIDITY } else { 0 };
        out.extend([self.encoding as u8, self.physical as u8, flags, 0]);
        out.extend((self.rows as u32).to_le_bytes());
        out.extend((self.nulls as u32).to_le_bytes());
        out.extend([0; 4]);
        if self.nulls > 0 {
            let start = out.len();
            out.resize(start + self.rows.div_ceil(8), 0);
            (0..self.rows).filter(|&row| valid(row)).for_each(|row| out[start + row / 8] |= 1 << (row % 8));
        }
        pad(out);
    }

    /// Reads a header, and where the body starts.
    pub fn parse(page: &[u8]) -> Result<(Header, Sections<'_>), Damage> {
        let mut sections = Sections { page, at: 0 };
        let bytes = sections.take(HEADER_BYTES)?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let encoding = Encoding::parse(bytes[0]).ok_or_else(|| Damage::new(0, "an encoding 0 to 4", bytes[0]))?;
        let physical = Physical::parse(bytes[1]).ok_or_else(|| Damage::new(1, "a physical type 1 to 6", bytes[1]))?;
        let (rows, nulls) = (word(4), word(8));
        if rows == 0 || rows > CHUNK_ROWS {
            return Err(Damage::new(4, format!("1 to {CHUNK_ROWS} rows"), rows));
        }
        if nulls > rows || bytes[2] != if nulls > 0 { HAS_VALIDITY } else { 0 } {
            return Err(Damage::new(2, "flags and NULL count that agree", format!("{} and {nulls}", bytes[2])));
        }
        Ok((Header { encoding, physical, rows, nulls }, sections))
    }
}

/// Takes sections off a page, front to back.
#[derive(Clone, Copy)]
pub struct Sections<'a> {
    page: &'a [u8],
    at: usize,
}

impl<'a> Sections<'a> {
    /// The next `len` bytes, and the padding behind them.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let left = self.page.len() - self.at;
        if len > left {
            return Err(Damage::new(self.at, format!("{len} bytes"), format!("{left} bytes")));
        }
        let section = &self.page[self.at..self.at + len];
        self.at = self.page.len().min((self.at + len).next_multiple_of(SECTION_ALIGN));
        Ok(section)
    }

    /// The next `count` words.
    pub fn words<T: Word>(&mut self, count: usize) -> Result<&'a [T], Damage> {
        let at = self.at;
        let len = count.checked_mul(T::BYTES).ok_or_else(|| Damage::new(at, "a count that fits", count))?;
        words(self.take(len)?).map_err(|damage| Damage { offset: at, ..damage })
    }

    /// The next section, a number.
    pub fn number(&mut self) -> Result<usize, Damage> {
        Ok(self.words::<u32>(1)?[0] as usize)
    }

    /// Damage where the next section starts.
    pub fn damage(&self, expected: impl ToString, found: impl ToString) -> Damage {
        Damage::new(self.at, expected, found)
    }
}

/// Pads to the start of the next section.
pub fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(SECTION_ALIGN), 0);
}

/// Appends a section that is a number.
pub fn put_number(number: usize, out: &mut Vec<u8>) {
    out.extend((number as u32).to_le_bytes());
    pad(out);
}

struct Aligned(Buffer);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// A copy of a page's bytes at an address that suits every word (64 bytes and more).
pub fn aligned(page: &[u8]) -> Bytes {
    let mut buffer = MutableBuffer::with_capacity(page.len());
    buffer.extend_from_slice(page);
    Bytes::from_owner(Aligned(buffer.into()))
}
