//! OK, ERR and EOF packets.

use crate::codec::{Reader, lossy, put_lenenc_bytes, put_lenenc_int};
use crate::constants::capability;
use crate::error::{Result, WireError};

/// First byte of an OK packet.
pub const OK: u8 = 0x00;
/// First byte of an EOF packet, and of the OK packet that ends rows under DEPRECATE_EOF.
pub const EOF: u8 = 0xFE;
/// First byte of an ERR packet.
pub const ERR: u8 = 0xFF;

/// An OK packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OkPacket {
    pub affected: u64,
    pub last_insert_id: u64,
    pub status: u16,
    pub warnings: u16,
    pub info: String,
}

impl OkPacket {
    /// Appends it as the answer to a statement without rows.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_as(OK, out);
    }

    fn encode_as(&self, header: u8, out: &mut Vec<u8>) {
        out.push(header);
        put_lenenc_int(out, self.affected);
        put_lenenc_int(out, self.last_insert_id);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
        // The documentation says "rest of the packet"; MySQL writes a length before it, and libmariadb insists on one.
        if !self.info.is_empty() {
            put_lenenc_bytes(out, self.info.as_bytes());
        }
    }

    /// Reads an OK packet, either header.
    pub fn decode(payload: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(payload);
        if !matches!(reader.u8()?, OK | EOF) {
            return Err(WireError::Malformed("not an OK packet"));
        }
        Ok(Self {
            affected: reader.lenenc_int()?,
            last_insert_id: reader.lenenc_int()?,
            status: reader.u16()?,
            warnings: reader.u16()?,
            info: info(reader.rest()),
        })
    }
}

/// The info of an OK packet: with its length before it, or as the rest of the packet, which some servers send.
fn info(rest: &[u8]) -> String {
    let mut reader = Reader::new(rest);
    match reader.lenenc_bytes() {
        Ok(text) if reader.is_empty() => lossy(text),
        _ => lossy(rest),
    }
}

/// Appends the packet that ends the rows of a result: EOF, or OK with EOF's header under DEPRECATE_EOF.
pub fn encode_end_of_rows(out: &mut Vec<u8>, capabilities: u32, status: u16, warnings: u16) {
    if capabilities & capability::DEPRECATE_EOF != 0 {
        OkPacket { status, warnings, ..OkPacket::default() }.encode_as(EOF, out);
    } else {
        encode_eof(out, status, warnings);
    }
}

/// Appends an EOF packet.
pub fn encode_eof(out: &mut Vec<u8>, status: u16, warnings: u16) {
    out.push(EOF);
    out.extend_from_slice(&warnings.to_le_bytes());
    out.extend_from_slice(&status.to_le_bytes());
}

/// Reads what ends the rows of a result: status and warnings.
pub fn decode_end_of_rows(payload: &[u8], capabilities: u32) -> Result<(u16, u16)> {
    if capabilities & capability::DEPRECATE_EOF != 0 {
        let ok = OkPacket::decode(payload)?;
        return Ok((ok.status, ok.warnings));
    }
    let mut reader = Reader::new(payload);
    if reader.u8()? != EOF {
        return Err(WireError::Malformed("not an EOF packet"));
    }
    let warnings = reader.u16()?;
    Ok((reader.u16()?, warnings))
}

/// Whether a packet in the place of a row ends the rows; a row may begin with 0xFE too, but is then 16 MiB long.
pub fn is_end_of_rows(payload: &[u8], capabilities: u32) -> bool {
    let short = if capabilities & capability::DEPRECATE_EOF != 0 { 0xFF_FFFF } else { 9 };
    payload.first() == Some(&EOF) && payload.len() < short
}

/// Appends an ERR packet. `state` is the five-character SQLSTATE.
pub fn encode_err(out: &mut Vec<u8>, code: u16, state: &[u8; 5], message: &str) {
    /// MySQL's own limit is 512 bytes; ours leaves room for a reason and a hint.
    const MESSAGE_BYTES_MAX: usize = 8 << 10;
    out.push(ERR);
    out.extend_from_slice(&code.to_le_bytes());
    out.push(b'#');
    out.extend_from_slice(state);
    out.extend_from_slice(cut(message, MESSAGE_BYTES_MAX).as_bytes());
}

/// Reads an ERR packet: code, SQLSTATE, message.
pub fn decode_err(payload: &[u8]) -> Result<(u16, String, String)> {
    let mut reader = Reader::new(payload);
    if reader.u8()? != ERR {
        return Err(WireError::Malformed("not an ERR packet"));
    }
    let code = reader.u16()?;
    let mut state = String::new();
    let mut peek = reader.clone();
    if peek.u8() == Ok(b'#') {
        state = lossy(peek.bytes(5)?);
        reader = peek;
    }
    Ok((code, state, lossy(reader.rest())))
}

/// The longest prefix of at most `bytes_max` bytes that ends between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ok_packets_round_trip() {
        let ok =
            OkPacket { affected: 70_000, last_insert_id: 3, status: 2, warnings: 1, info: "{'label':'l1'}".into() };
        let mut out = Vec::new();
        ok.encode(&mut out);
        assert_eq!(OkPacket::decode(&out).unwrap(), ok);
    }

    #[test]
    fn both_ends_of_rows_are_told_from_rows() {
        for capabilities in [0, capability::DEPRECATE_EOF] {
            let mut out = Vec::new();
            encode_end_of_rows(&mut out, capabilities, 10, 4);
            assert!(is_end_of_rows(&out, capabilities));
            assert_eq!(decode_end_of_rows(&out, capabilities).unwrap(), (10, 4));
        }
        assert!(!is_end_of_rows(&[0xFE; 9], 0));
    }

    #[test]
    fn errors_round_trip_and_long_ones_are_cut_between_characters() {
        let mut out = Vec::new();
        encode_err(&mut out, 1064, b"42000", "syntax error near 'x'");
        assert_eq!(decode_err(&out).unwrap(), (1064, "42000".into(), "syntax error near 'x'".into()));
        let mut out = Vec::new();
        encode_err(&mut out, 1105, b"HY000", &"\u{e9}".repeat(9000));
        let (_, _, message) = decode_err(&out).unwrap();
        assert!(message.len() <= 8 << 10 && message.chars().all(|c| c == '\u{e9}'));
    }
}
