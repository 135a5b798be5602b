//! Strings in a page: the end of each string, packed as 32-bit words, and then the bytes of all. Any string is found by
//! unpacking two ends.
//!
//! Sections: bytes in all (a number); packed ends; bytes.

use super::output::TextOutput;
use super::packed::{self, Packed};
use super::page::{Damage, Sections, pad, put_number};

/// Appends strings given by their end offsets (from 0) and bytes.
pub fn put(ends: &[u32], bytes: &[u8], out: &mut Vec<u8>) {
    put_number(bytes.len(), out);
    packed::put(ends, out).expect("32-bit words can always be packed");
    pad(out);
    out.extend_from_slice(bytes);
    pad(out);
}

/// The strings of a page.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    ends: Packed<'a, u32>,
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Text<'a> {
    /// Takes the sections of `count` strings.
    pub fn parse(sections: &mut Sections<'a>, count: usize) -> Result<Text<'a>, Damage> {
        let total = sections.number()?;
        let ends = Packed::parse(sections, count)?;
        Ok(Text { ends, bytes: sections.take(total)?, count })
    }

    /// How many strings.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The bytes of one string.
    pub fn get(&self, row: usize) -> Result<&'a [u8], Damage> {
        if row >= self.count {
            return Err(Damage::new(0, format!("a string number below {}", self.count), row));
        }
        self.slice(self.start(row)?, self.ends.get(row)? as usize)
    }

    fn start(&self, row: usize) -> Result<usize, Damage> {
        if row == 0 { Ok(0) } else { Ok(self.ends.get(row - 1)? as usize) }
    }

    fn slice(&self, start: usize, end: usize) -> Result<&'a [u8], Damage> {
        let found = || Damage::new(0, format!("string offsets up to {}", self.bytes.len()), format!("{start}..{end}"));
        self.bytes.get(start..end).ok_or_else(found)
    }

    /// Appends the strings `[from, to)`; the caller has checked that they exist.
    pub fn decode(&self, from: usize, to: usize, out: &mut TextOutput) -> Result<(), Damage> {
        if from == to {
            return Ok(());
        }
        let mut ends = Vec::with_capacity((to - from).next_multiple_of(super::VECTOR_ROWS));
        self.ends.decode(from, to, &mut ends)?;
        let start = self.start(from)?;
        let bytes = self.slice(start, ends[ends.len() - 1] as usize)?;
        let mut previous = start as u32;
        for &end in &ends {
            if end < previous {
                return Err(Damage::new(0, format!("a string offset of at least {previous}"), end));
            }
            previous = end;
        }
        out.extend(start, &ends, bytes);
        Ok(())
    }

    /// All strings.
    pub fn all(&self) -> Result<Vec<&'a [u8]>, Damage> {
        let mut ends = Vec::with_capacity(self.count.next_multiple_of(super::VECTOR_ROWS));
        self.ends.decode(0, self.count, &mut ends)?;
        let mut start = 0;
        let mut strings = Vec::with_capacity(self.count);
        for end in ends {
            strings.push(self.slice(start, end as usize)?);
            start = end as usize;
        }
        Ok(strings)
    }
}
