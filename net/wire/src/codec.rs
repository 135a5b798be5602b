//! The protocol's basic shapes: fixed-width little-endian integers, length-encoded integers and strings, NUL-terminated
//! strings. `Reader` checks every bound; the `put_*` functions append to a `Vec<u8>`.

use crate::error::{Result, WireError};

/// A bounds-checked cursor over one packet's payload.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `payload`.
    pub fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        if len > self.rest.len() {
            return Err(WireError::Malformed("a field runs past the end of the packet"));
        }
        let (head, tail) = self.rest.split_at(len);
        self.rest = tail;
        Ok(head)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Three bytes, little-endian.
    pub fn u24(&mut self) -> Result<u32> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length-encoded integer; the NULL marker 0xFB and the error marker 0xFF are malformed here.
    pub fn lenenc_int(&mut self) -> Result<u64> {
        match self.u8()? {
            small @ 0..=0xFA => Ok(u64::from(small)),
            0xFC => Ok(u64::from(self.u16()?)),
            0xFD => Ok(u64::from(self.u24()?)),
            0xFE => self.u64(),
            _ => Err(WireError::Malformed("not a length-encoded integer")),
        }
    }

    /// A string whose length comes first as a length-encoded integer.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.lenenc_int()?;
        let len = usize::try_from(len).map_err(|_| WireError::Malformed("a length does not fit this machine"))?;
        self.bytes(len)
    }

    /// A length-encoded string, or `None` for the NULL marker of text rows.
    pub fn lenenc_bytes_or_null(&mut self) -> Result<Option<&'a [u8]>> {
        if self.rest.first() == Some(&0xFB) {
            self.rest = &self.rest[1..];
            return Ok(None);
        }
        self.lenenc_bytes().map(Some)
    }

    /// Bytes up to a NUL, which is consumed.
    pub fn nul_bytes(&mut self) -> Result<&'a [u8]> {
        let end = self.rest.iter().position(|b| *b == 0);
        let end = end.ok_or(WireError::Malformed("a string lacks its terminating NUL"))?;
        let out = self.bytes(end)?;
        self.bytes(1)?;
        Ok(out)
    }

    /// Bytes up to a NUL or, as several clients leave the last one out, up to the end.
    pub fn nul_bytes_or_rest(&mut self) -> &'a [u8] {
        match self.nul_bytes() {
            Ok(bytes) => bytes,
            Err(_) => self.rest(),
        }
    }
}

/// Text from bytes that need not be UTF-8 (names and messages, never data).
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Appends a length-encoded integer.
pub fn put_lenenc_int(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xFA => out.push(bytes[0]),
        0xFB..=0xFFFF => {
            out.push(0xFC);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xFF_FFFF => {
            out.push(0xFD);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xFE);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends a string with its length-encoded length before it.
pub fn put_lenenc_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_lenenc_int(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a string and a NUL. A NUL inside the string would end it early for the reader, so it is cut there.
pub(crate) fn put_nul_bytes(out: &mut Vec<u8>, value: &[u8]) {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    out.extend_from_slice(&value[..end]);
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenenc_integers_round_trip_at_every_width() {
        for value in [0, 1, 0xFA, 0xFB, 0xFC, 0xFFFF, 0x1_0000, 0xFF_FFFF, 0x100_0000, u64::MAX] {
            let mut out = Vec::new();
            put_lenenc_int(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.lenenc_int().unwrap(), value);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_length_past_the_end_is_malformed() {
        assert!(Reader::new(&[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]).lenenc_bytes().is_err());
        assert!(Reader::new(&[5, 1, 2]).lenenc_bytes().is_err());
        assert!(Reader::new(b"abc").nul_bytes().is_err());
        assert_eq!(Reader::new(b"abc").nul_bytes_or_rest(), b"abc");
    }

    #[test]
    fn null_marker_is_null_only_where_rows_allow_it() {
        assert_eq!(Reader::new(&[0xFB]).lenenc_bytes_or_null().unwrap(), None);
        assert!(Reader::new(&[0xFB]).lenenc_bytes().is_err());
    }
}
