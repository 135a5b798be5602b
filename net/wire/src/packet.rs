//! Framing. A packet travels as parts of a 3-byte length, a sequence number and up to 16 MiB - 1 bytes; a part of exactly
//! that size says that another follows. Numbers start at 0 with each command and count over both directions.
//!
//! `PacketDecoder` takes bytes as they come and gives whole packets without copying single-part ones; it never
//! allocates for bytes that are announced but not there. `PacketWriter` appends packets to one output buffer.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{Result, WireError};

/// Bytes of a part's header.
pub const HEADER_BYTES: usize = 4;
/// The most bytes a part carries; a part this long is followed by another.
pub const PART_BYTES_MAX: usize = 0xFF_FFFF;

/// A packet with all its parts joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sequence number of the first part.
    pub first: u8,
    /// Sequence number of the last part; the answer continues after it.
    pub last: u8,
    /// The payload without headers.
    pub payload: Bytes,
}

/// Cuts a byte stream into packets.
#[derive(Debug)]
pub struct PacketDecoder {
    buffer: BytesMut,
    /// First and last sequence number and the payload of the parts seen of a packet that is not complete.
    partial: Option<(u8, u8, BytesMut)>,
    packet_bytes_max: usize,
}

/// A packet larger than this does not leave its buffer to those after it: an idle connection would keep all of it.
const KEEP_BYTES: usize = 256 << 10;

impl PacketDecoder {
    /// A decoder that refuses packets over `packet_bytes_max`.
    pub fn new(packet_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), partial: None, packet_bytes_max }
    }

    /// Changes the limit, from the next packet on.
    pub fn set_limit(&mut self, packet_bytes_max: usize) {
        self.packet_bytes_max = packet_bytes_max;
    }

    /// Takes bytes from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes held that do not make a packet yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() + self.partial.as_ref().map_or(0, |(_, _, payload)| payload.len())
    }

    /// The next whole packet, `None` when more bytes are needed. After an error the stream cannot be followed any more.
    pub fn next_packet(&mut self) -> Result<Option<Packet>> {
        loop {
            let Some((len, sequence)) = self.header() else { return Ok(None) };
            let before = self.partial.as_ref().map_or(0, |(_, _, payload)| payload.len());
            if before + len > self.packet_bytes_max {
                return Err(WireError::TooLarge { size: before + len, max: self.packet_bytes_max });
            }
            if let Some((_, last, _)) = &self.partial {
                let expected = last.wrapping_add(1);
                if sequence != expected {
                    return Err(WireError::OutOfOrder { expected, found: sequence });
                }
            }
            if self.buffer.len() < HEADER_BYTES + len {
                return Ok(None);
            }
            self.buffer.advance(HEADER_BYTES);
            let part = self.buffer.split_to(len);
            if len > KEEP_BYTES {
                // What is left lies in the large packet's memory, and would hold it when the packet is long gone.
                self.buffer = BytesMut::from(&self.buffer[..]);
            }
            match (self.partial.take(), len == PART_BYTES_MAX) {
                (None, false) => {
                    return Ok(Some(Packet { first: sequence, last: sequence, payload: part.freeze() }));
                }
                (None, true) => self.partial = Some((sequence, sequence, part)),
                (Some((first, _, mut payload)), more) => {
                    payload.extend_from_slice(&part);
                    if !more {
                        return Ok(Some(Packet { first, last: sequence, payload: payload.freeze() }));
                    }
                    self.partial = Some((first, sequence, payload));
                }
            }
        }
    }

    fn header(&self) -> Option<(usize, u8)> {
        let header = self.buffer.get(..HEADER_BYTES)?;
        let len = usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16;
        Some((len, header[3]))
    }
}

/// Builds packets one after another in an output buffer.
#[derive(Debug, Default)]
pub struct PacketWriter {
    out: Vec<u8>,
    sequence: u8,
}

impl PacketWriter {
    /// An empty buffer whose first packet has number 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of the next part.
    pub fn set_sequence(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// The number the next part will have.
    pub fn sequence(&self) -> u8 {
        self.sequence
    }

    /// Appends one packet whose payload `fill` writes; `fill` may only append.
    pub fn packet(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEADER_BYTES]);
        fill(&mut self.out);
        self.seal(start);
    }

    /// As `packet`, for a payload that may fail: then nothing is appended.
    pub fn try_packet<E>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEADER_BYTES]);
        if let Err(error) = fill(&mut self.out) {
            self.out.truncate(start);
            return Err(error);
        }
        self.seal(start);
        Ok(())
    }

    fn seal(&mut self, start: usize) {
        let len = self.out.len() - start - HEADER_BYTES;
        if len < PART_BYTES_MAX {
            self.put_header(start, len);
            return;
        }
        // Rare: cut the payload into parts, the last one shorter than the limit, empty if need be.
        let payload = self.out.split_off(start + HEADER_BYTES);
        self.out.truncate(start);
        let mut chunks = payload.chunks_exact(PART_BYTES_MAX);
        for chunk in &mut chunks {
            self.put_part(chunk);
        }
        self.put_part(chunks.remainder());
    }

    fn put_part(&mut self, part: &[u8]) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEADER_BYTES]);
        self.out.extend_from_slice(part);
        self.put_header(start, part.len());
    }

    fn put_header(&mut self, start: usize, len: usize) {
        let bytes = (len as u32).to_le_bytes();
        self.out[start..start + 3].copy_from_slice(&bytes[..3]);
        self.out[start + 3] = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Bytes waiting to be sent.
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// The bytes waiting to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Forgets what was sent; the buffer is kept unless a huge packet made it large.
    pub fn clear(&mut self) {
        const KEEP_BYTES: usize = 256 << 10;
        if self.out.capacity() > KEEP_BYTES {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(bytes: &[u8], step: usize) -> Vec<Packet> {
        let mut decoder = PacketDecoder::new(64 << 20);
        let mut packets = Vec::new();
        for chunk in bytes.chunks(step) {
            decoder.feed(chunk);
            while let Some(packet) = decoder.next_packet().unwrap() {
                packets.push(packet);
            }
        }
        assert_eq!(decoder.buffered(), 0);
        packets
    }

    #[test]
    fn packets_round_trip_at_the_part_limit() {
        for len in [0, 1, PART_BYTES_MAX - 1, PART_BYTES_MAX, PART_BYTES_MAX + 1, 2 * PART_BYTES_MAX] {
            let payload: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
            let mut writer = PacketWriter::new();
            writer.set_sequence(254);
            writer.packet(|out| out.extend_from_slice(&payload));
            let parts = len / PART_BYTES_MAX + 1;
            assert_eq!(writer.pending(), len + parts * HEADER_BYTES);
            let packets = decode_all(writer.bytes(), 1 << 20);
            assert_eq!(packets.len(), 1);
            assert_eq!(packets[0].payload, payload);
            assert_eq!(packets[0].first, 254);
            assert_eq!(packets[0].last, 254u8.wrapping_add(parts as u8 - 1));
        }
    }

    #[test]
    fn single_bytes_make_the_same_packets() {
        let mut writer = PacketWriter::new();
        writer.packet(|out| out.extend_from_slice(b"select 1"));
        writer.packet(|out| out.extend_from_slice(b""));
        writer.packet(|out| out.push(1));
        assert_eq!(decode_all(writer.bytes(), 1), decode_all(writer.bytes(), 1000));
        assert_eq!(decode_all(writer.bytes(), 1).len(), 3);
    }

    #[test]
    fn an_oversized_packet_is_refused_by_its_header() {
        let mut decoder = PacketDecoder::new(10);
        decoder.feed(&[11, 0, 0, 0]);
        assert_eq!(decoder.next_packet(), Err(WireError::TooLarge { size: 11, max: 10 }));
    }

    #[test]
    fn the_limit_can_be_raised_between_packets() {
        let mut decoder = PacketDecoder::new(10);
        decoder.feed(&[1, 0, 0, 0, 7]);
        assert!(decoder.next_packet().unwrap().is_some());
        decoder.set_limit(20);
        decoder.feed(&[11, 0, 0, 0]);
        assert_eq!(decoder.next_packet(), Ok(None));
    }

    #[test]
    fn a_large_packet_leaves_nothing_of_its_memory_behind() {
        let mut writer = PacketWriter::new();
        writer.packet(|out| out.resize(8 << 20, b'x'));
        writer.packet(|out| out.push(1));
        let mut decoder = PacketDecoder::new(64 << 20);
        decoder.feed(writer.bytes());
        let large = decoder.next_packet().unwrap().unwrap();
        // The only handle on its memory, so it goes with the packet.
        assert!(large.payload.is_unique());
        assert_eq!(decoder.next_packet().unwrap().unwrap().payload.len(), 1);
    }

    #[test]
    fn parts_must_be_numbered_in_order() {
        let mut decoder = PacketDecoder::new(64 << 20);
        decoder.feed(&[0xFF, 0xFF, 0xFF, 7]);
        decoder.feed(&vec![0; PART_BYTES_MAX]);
        assert_eq!(decoder.next_packet(), Ok(None));
        decoder.feed(&[0, 0, 0, 9]);
        assert_eq!(decoder.next_packet(), Err(WireError::OutOfOrder { expected: 8, found: 9 }));
    }

    #[test]
    fn a_failed_packet_leaves_nothing() {
        let mut writer = PacketWriter::new();
        let failed = writer.try_packet(|out| {
            out.push(1);
            Err::<(), _>("no")
        });
        assert_eq!(failed, Err("no"));
        assert_eq!((writer.pending(), writer.sequence()), (0, 0));
    }
}
