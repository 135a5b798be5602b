//! The block, unit of the log, the manifest and the catalog log (R3): 4 KiB with a header that says where it belongs.
//!
//! ```text
//!   0  u32  CRC-32C of bytes 4..4096
//!   4  u16  magic 0x4c53 ("SL")
//!   6  u8   version 1
//!   7  u8   kind: 1 log, 2 manifest, 3 catalog log
//!   8  u32  epoch (log) or generation (manifest, catalog log)
//!  12  u16  log id: the core
//!  14  u16  payload bytes used
//!  16  u32  segment generation: counts the segments of this log
//!  20  u16  where in the payload the first record begins; 0xffff: none does
//!  22  u16  zero
//!  24  u64  block number within the log
//!  32  u64  blocks known synced: every block below this number is durable
//!  40  u64  W when the block was made (log); zero otherwise
//!  48  4048 bytes of payload, padded with zeros
//! ```
//! A group of records is framed as `u32 length | bytes`, one after the other, cut into payloads; the next group begins with a block of its
//! own, because a synced block is never rewritten. A record may span blocks and segments; it counts only if all of them are valid.

use crate::disk::BLOCK_BYTES;
use crate::error::{Result, StorageError};
use crate::ids::Seq;
use bytes::Bytes;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 48;
/// Bytes of payload of a block.
pub(crate) const PAYLOAD_BYTES: usize = BLOCK_BYTES - HEADER_BYTES;
/// Bytes before each record: its length.
pub(crate) const FRAME_BYTES: usize = 4;
const MAGIC: u16 = 0x4c53;
const VERSION: u8 = 1;
const NO_RECORD: u16 = u16::MAX;

/// What a stream of blocks is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Commit records of a core.
    Log = 1,
    /// Edits of a core's tablets.
    Manifest = 2,
    /// Changes of the catalog.
    Catalog = 3,
}

/// Which stream: all its blocks carry this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    /// What its records are.
    pub kind: StreamKind,
    /// Epoch of a log, generation of a manifest.
    pub epoch: u32,
    /// The core; 0 for the catalog log.
    pub core: u16,
}

/// The header of a valid block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Its number in the stream.
    pub number: u64,
    /// Every block below this number was durable when it was made.
    pub synced: u64,
    /// W when it was made; zero but in logs.
    pub mark: Seq,
    /// Bytes of payload.
    pub used: usize,
    /// Where the first record of the payload begins.
    pub first: Option<usize>,
}

/// Why bytes are not the block they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What the block should have.
    pub expected: String,
    /// What it has.
    pub found: String,
}

/// How many blocks a group of this many framed bytes takes.
pub(crate) fn blocks_for(framed_bytes: usize) -> u64 {
    framed_bytes.div_ceil(PAYLOAD_BYTES) as u64
}

/// A piece of a group: bytes of its own, or a record's body that is shared and never copied but into its blocks.
enum Piece {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Piece::Own(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        }
    }
}

/// A group in the making: records framed one after the other.
#[derive(Default)]
pub(crate) struct Frames {
    pieces: Vec<Piece>,
    len: usize,
    /// Offset of each record's frame.
    pub(crate) starts: Vec<usize>,
}

impl Frames {
    /// Appends a record that `encode` writes.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.starts.push(self.len);
        let own = self.own();
        let start = own.len();
        own.extend([0; FRAME_BYTES]);
        encode(own);
        let len = own.len() - start - FRAME_BYTES;
        own[start..start + FRAME_BYTES].copy_from_slice(&(len as u32).to_le_bytes());
        self.len += FRAME_BYTES + len;
    }

    /// Appends a record that is given in pieces; they are shared, so it takes no time however long they are (P7).
    pub(crate) fn push_shared(&mut self, pieces: Vec<Bytes>) {
        self.starts.push(self.len);
        let len: usize = pieces.iter().map(Bytes::len).sum();
        self.own().extend((len as u32).to_le_bytes());
        self.pieces.extend(pieces.into_iter().map(Piece::Shared));
        self.len += FRAME_BYTES + len;
    }

    fn own(&mut self) -> &mut Vec<u8> {
        if !matches!(self.pieces.last(), Some(Piece::Own(_))) {
            self.pieces.push(Piece::Own(Vec::new()));
        }
        match self.pieces.last_mut() {
            Some(Piece::Own(bytes)) => bytes,
            _ => unreachable!("pushed above"),
        }
    }

    /// Bytes of all frames.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn blocks(&self) -> u64 {
        blocks_for(self.len)
    }

    /// Cuts the group into blocks numbered from `number`, some at a time.
    pub(crate) fn packer(&self, stream: StreamId, number: u64, synced: u64, mark: Seq) -> Packer<'_> {
        Packer { frames: self, stream, number, synced, mark, packed: 0, record: 0, piece: 0, at: 0 }
    }

    /// All blocks at once. `segment_of` gives the segment generation of a block.
    #[cfg(test)]
    pub(crate) fn pack(
        &self,
        stream: StreamId,
        number: u64,
        synced: u64,
        mark: Seq,
        segment_of: impl Fn(u64) -> u32,
    ) -> Vec<u8> {
        self.packer(stream, number, synced, mark).next(self.blocks(), segment_of)
    }
}

/// Makes the blocks of a group, so many at a time that nobody waits for it (P7).
pub(crate) struct Packer<'a> {
    frames: &'a Frames,
    stream: StreamId,
    /// Of the group's first block.
    number: u64,
    synced: u64,
    mark: Seq,
    /// Bytes of the group that are in blocks.
    packed: usize,
    /// The first record that begins behind them.
    record: usize,
    /// Where the next byte is.
    piece: usize,
    at: usize,
}

impl Packer<'_> {
    /// The next `count` blocks, or as many as are left. `segment_of` gives the segment generation of a block.
    pub(crate) fn next(&mut self, count: u64, segment_of: impl Fn(u64) -> u32) -> Vec<u8> {
        let left = blocks_for(self.frames.len - self.packed).min(count);
        let mut out = Vec::with_capacity(left as usize * BLOCK_BYTES);
        for _ in 0..left {
            let begin = self.packed;
            let end = self.frames.len.min(begin + PAYLOAD_BYTES);
            let first = self.frames.starts.get(self.record).filter(|&&start| start < end).map(|&start| start - begin);
            while self.frames.starts.get(self.record).is_some_and(|&start| start < end) {
                self.record += 1;
            }
            let number = self.number + (begin / PAYLOAD_BYTES) as u64;
            let header = BlockHeader { number, synced: self.synced, mark: self.mark, used: end - begin, first };
            let start = out.len();
            push_header(self.stream, segment_of(number), &header, &mut out);
            self.copy(end - begin, &mut out);
            seal(start, &mut out);
        }
        out
    }

    fn copy(&mut self, mut len: usize, out: &mut Vec<u8>) {
        self.packed += len;
        while len > 0 {
            let rest = &self.frames.pieces[self.piece].bytes()[self.at..];
            let part = &rest[..len.min(rest.len())];
            out.extend_from_slice(part);
            len -= part.len();
            self.at += part.len();
            if part.len() == rest.len() {
                (self.piece, self.at) = (self.piece + 1, 0);
            }
        }
    }
}

fn push_header(stream: StreamId, segment: u32, header: &BlockHeader, out: &mut Vec<u8>) {
    out.extend([0; 4]);
    out.extend(MAGIC.to_le_bytes());
    out.extend([VERSION, stream.kind as u8]);
    out.extend(stream.epoch.to_le_bytes());
    out.extend(stream.core.to_le_bytes());
    out.extend((header.used as u16).to_le_bytes());
    out.extend(segment.to_le_bytes());
    out.extend(header.first.map_or(NO_RECORD, |f| f as u16).to_le_bytes());
    out.extend([0; 2]);
    out.extend(header.number.to_le_bytes());
    out.extend(header.synced.to_le_bytes());
    out.extend(header.mark.0.to_le_bytes());
}

/// Fills the block that begins at `start`, and puts in its checksum.
fn seal(start: usize, out: &mut Vec<u8>) {
    out.resize(start + BLOCK_BYTES, 0);
    let crc = crc32c::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn u64_at(block: &[u8], at: usize) -> u64 {
    u32_at(block, at) as u64 | (u32_at(block, at + 4) as u64) << 32
}

/// Checks that `block` (4 KiB) belongs to this stream and segment; the caller checks its number.
pub(crate) fn verify(block: &[u8], stream: StreamId, segment: u32) -> Result<BlockHeader, Mismatch> {
    fn same<T: PartialEq + std::fmt::Display>(what: &str, expected: T, found: T) -> Result<(), Mismatch> {
        if expected == found {
            return Ok(());
        }
        Err(Mismatch { expected: format!("{what} {expected}"), found: format!("{what} {found}") })
    }
    if block.len() != BLOCK_BYTES {
        return Err(Mismatch { expected: format!("{BLOCK_BYTES} bytes"), found: format!("{} bytes", block.len()) });
    }
    same("magic", MAGIC, u16_at(block, 4))?;
    same("checksum", crc32c::crc32c(&block[4..]), u32_at(block, 0))?;
    same("version", VERSION, block[6])?;
    same("kind", stream.kind as u8, block[7])?;
    same("epoch", stream.epoch, u32_at(block, 8))?;
    same("log", stream.core, u16_at(block, 12))?;
    same("segment", segment, u32_at(block, 16))?;
    let (used, first) = (u16_at(block, 14) as usize, u16_at(block, 20));
    if used > PAYLOAD_BYTES || (first != NO_RECORD && first as usize >= used) {
        return Err(Mismatch {
            expected: "a payload that fits".to_string(),
            found: format!("{used} bytes, record at {first}"),
        });
    }
    Ok(BlockHeader {
        number: u64_at(block, 24),
        synced: u64_at(block, 32),
        mark: Seq(u64_at(block, 40)),
        used,
        first: (first != NO_RECORD).then_some(first as usize),
    })
}

/// The stream and segment that a whole block says it belongs to; `None` for anything that is not a whole block.
pub(crate) fn claimed(block: &[u8]) -> Option<(StreamId, u32)> {
    if block.len() != BLOCK_BYTES || u16_at(block, 4) != MAGIC || crc32c::crc32c(&block[4..]) != u32_at(block, 0) {
        return None;
    }
    let kind = match block[7] {
        1 => StreamKind::Log,
        2 => StreamKind::Manifest,
        3 => StreamKind::Catalog,
        _ => return None,
    };
    Some((StreamId { kind, epoch: u32_at(block, 8), core: u16_at(block, 12) }, u32_at(block, 16)))
}

/// Puts records together again from the payloads of consecutive valid blocks.
#[derive(Default)]
pub(crate) struct Reassembly {
    partial: Vec<u8>,
    /// Block number where the partial record began.
    began: u64,
    /// Whether a record's beginning was found: the first blocks may continue a record whose beginning was recycled.
    in_step: bool,
}

impl Reassembly {
    /// Bytes of a record whose end has not come yet.
    pub(crate) fn pending(&self) -> usize {
        self.partial.len()
    }

    /// Feeds one block; calls `record(bytes, number of its first block)` for each record that it completes.
    ///
    /// Errors: `Corrupt` when valid blocks do not fit together.
    pub(crate) fn feed(
        &mut self,
        file: &str,
        offset: u64,
        header: &BlockHeader,
        payload: &[u8],
        mut record: impl FnMut(Vec<u8>, u64) -> Result<()>,
    ) -> Result<()> {
        let mut rest = &payload[..header.used];
        if !self.in_step {
            let Some(first) = header.first else { return Ok(()) };
            rest = &rest[first..];
            self.in_step = true;
        }
        while !rest.is_empty() {
            if self.partial.is_empty() {
                self.began = header.number;
            }
            let wanted = match self.partial.first_chunk::<FRAME_BYTES>() {
                Some(len) => FRAME_BYTES + u32::from_le_bytes(*len) as usize,
                None => FRAME_BYTES,
            };
            let take = (wanted - self.partial.len()).min(rest.len());
            self.partial.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            if let Some(len) = self.partial.first_chunk::<FRAME_BYTES>()
                && self.partial.len() == FRAME_BYTES + u32::from_le_bytes(*len) as usize
            {
                let mut bytes = std::mem::take(&mut self.partial);
                bytes.drain(..FRAME_BYTES);
                record(bytes, self.began)?;
            }
        }
        if !self.partial.is_empty() && header.used < PAYLOAD_BYTES {
            return Err(StorageError::corrupt(file, offset, "a group that ends with a record", "half a record"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId { kind: StreamKind::Log, epoch: 3, core: 1 };

    fn group(lens: &[usize]) -> Frames {
        let mut frames = Frames::default();
        for (n, &len) in lens.iter().enumerate() {
            frames.push(|out| out.extend(std::iter::repeat_n(n as u8, len)));
        }
        frames
    }

    fn read(blocks: &[u8], from: usize) -> Vec<usize> {
        let (mut reassembly, mut lens) = (Reassembly::default(), Vec::new());
        for (n, block) in blocks.chunks(BLOCK_BYTES).enumerate().skip(from) {
            let header = verify(block, STREAM, 5).unwrap();
            assert_eq!(header.number, 40 + n as u64);
            let sink = |bytes: Vec<u8>, _| {
                lens.push(bytes.len());
                Ok(())
            };
            reassembly.feed("f", 0, &header, &block[HEADER_BYTES..], sink).unwrap();
        }
        lens
    }

    #[test]
    fn records_of_every_length_around_a_block_come_back() {
        for base in 0..12 {
            let lens = [0, PAYLOAD_BYTES - base, 1, 2 * PAYLOAD_BYTES - base, base, 0];
            let blocks = group(&lens).pack(STREAM, 40, 40, Seq(7), |_| 5);
            assert_eq!(read(&blocks, 0), lens);
        }
    }

    #[test]
    fn shared_pieces_make_the_same_blocks_some_at_a_time() {
        let bytes: Vec<u8> = (0..5 * PAYLOAD_BYTES + 17).map(|i| i as u8).collect();
        let mut copied = Frames::default();
        let mut shared = Frames::default();
        for cuts in [vec![], vec![1], vec![0, 4044, 4048, 9000], vec![bytes.len()]] {
            copied.push(|out| out.extend(b"between"));
            shared.push(|out| out.extend(b"between"));
            copied.push(|out| out.extend(&bytes));
            let ends = cuts.iter().copied().chain([bytes.len()]);
            let starts = std::iter::once(0).chain(cuts.iter().copied());
            shared.push_shared(starts.zip(ends).map(|(a, b)| Bytes::copy_from_slice(&bytes[a..b])).collect());
        }
        let want = copied.pack(STREAM, 40, 40, Seq(7), |n| n as u32 / 3);
        for step in [1, 2, 7, 1000] {
            let (mut packer, mut got) = (shared.packer(STREAM, 40, 40, Seq(7)), Vec::new());
            while got.len() < want.len() {
                got.extend(packer.next(step, |n| n as u32 / 3));
            }
            assert_eq!(got, want, "{step} blocks at a time");
            assert_eq!(packer.next(step, |_| 0), Vec::<u8>::new());
        }
    }

    #[test]
    fn reading_begins_after_a_recycled_beginning() {
        let blocks = group(&[10, 3 * PAYLOAD_BYTES, 20]).pack(STREAM, 40, 40, Seq(7), |_| 5);
        assert_eq!(read(&blocks, 1), [20]);
    }

    #[test]
    fn a_block_of_another_place_is_refused() {
        let blocks = group(&[10]).pack(STREAM, 40, 40, Seq(7), |_| 5);
        assert!(verify(&blocks, STREAM, 5).is_ok());
        assert_eq!(verify(&blocks, STREAM, 6).unwrap_err().expected, "segment 6");
        assert_eq!(verify(&blocks, StreamId { epoch: 4, ..STREAM }, 5).unwrap_err().found, "epoch 3");
        assert_eq!(verify(&blocks, StreamId { core: 0, ..STREAM }, 5).unwrap_err().found, "log 1");
        for at in 0..BLOCK_BYTES {
            let mut damaged = blocks.clone();
            damaged[at] ^= 0x10;
            assert!(verify(&damaged, STREAM, 5).is_err(), "byte {at}");
        }
    }
}
