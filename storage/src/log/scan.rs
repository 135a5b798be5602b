//! Reads the blocks of one stream back, at a start: hands out whole records up to the first invalid block, and tells damage from a torn
//! tail (R3, R16): an invalid block below a number that any block of the stream knows synced is damage; above it is a torn tail.

use super::block::{HEADER_BYTES, Mismatch, Reassembly, StreamId, verify};
use crate::disk::{BLOCK_BYTES, DiskRef};
use crate::error::{Result, StorageError};
use crate::ids::Seq;

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// A segment file of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Segment generation: its blocks carry it.
    pub index: u32,
    /// Where it is.
    pub path: String,
}

/// A whole record.
pub struct ScannedRecord {
    /// The record.
    pub bytes: Vec<u8>,
    /// File of the block in which it begins.
    pub file: String,
    /// Offset of that block.
    pub offset: u64,
    /// Positions, in the list of segments, of the first and last segment it touches.
    pub segments: (usize, usize),
}

/// What a stream holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Greatest W of any valid block, behind a torn tail too: it was published when the block was made.
    pub mark: Seq,
    /// The number after the last block that counts.
    pub next: u64,
    /// Position, in blocks, of that number within the last segment read.
    pub tail_position: u64,
    /// Per segment: the file's length and the greatest W of its valid blocks.
    pub segments: Vec<(u64, Seq)>,
}

/// Where the blocks that count end.
struct End {
    /// Number of the first block that does not count, when it is known.
    number: Option<u64>,
    file: String,
    offset: u64,
    mismatch: Mismatch,
}

impl End {
    fn damage(&self) -> StorageError {
        StorageError::corrupt(&self.file, self.offset, &self.mismatch.expected, &self.mismatch.found)
    }
}

/// Reads `segments` (ascending). With `resync`, syncs every file it read: a killed process leaves bytes that the next power loss would
/// take (R16).
///
/// Errors: `Corrupt` for damage, and whatever `record` returns.
pub async fn scan(
    disk: &DiskRef,
    stream: StreamId,
    segments: &[SegmentFile],
    resync: bool,
    record: &mut dyn FnMut(ScannedRecord) -> Result<()>,
) -> Result<Scan> {
    let mut scanner = Scanner {
        stream,
        segments,
        result: Scan::default(),
        next: None,
        end: None,
        seen: 0,
        starts: Vec::new(),
        reassembly: Reassembly::default(),
    };
    for (at, segment) in segments.iter().enumerate() {
        scanner.check_neighbours(at);
        let file = disk.open(&segment.path).await?;
        let len = file.len() / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        scanner.result.segments.push((len, Seq::ZERO));
        let mut offset = 0;
        while offset < len {
            let bytes = file.read_at(offset, READ_BYTES.min((len - offset) as usize)).await?;
            for block in bytes.chunks_exact(BLOCK_BYTES) {
                scanner.block(at, offset, block, record)?;
                offset += BLOCK_BYTES as u64;
            }
            disk.yield_now().await;
        }
        if resync {
            file.sync().await?;
        }
        file.close().await?;
    }
    scanner.result.next = scanner.next.unwrap_or(0);
    Ok(scanner.result)
}

struct Scanner<'a> {
    stream: StreamId,
    segments: &'a [SegmentFile],
    result: Scan,
    /// The number the next block must have; none before the first.
    next: Option<u64>,
    end: Option<End>,
    /// Blocks looked at, valid or not.
    seen: u64,
    /// Number of the first block, segment position, file offset of block zero: where each segment begins.
    starts: Vec<(u64, usize)>,
    reassembly: Reassembly,
}

impl Scanner<'_> {
    /// A segment missing between two others ends what counts, like an invalid block.
    fn check_neighbours(&mut self, at: usize) {
        if at == 0 || self.end.is_some() || self.segments[at - 1].index + 1 == self.segments[at].index {
            return;
        }
        let expected = format!("segment {} after it", self.segments[at - 1].index + 1);
        let found = format!("segment {}", self.segments[at].index);
        let (file, offset) = (self.segments[at - 1].path.clone(), self.result.segments[at - 1].0);
        self.end = Some(End { number: self.next, file, offset, mismatch: Mismatch { expected, found } });
    }

    fn block(
        &mut self,
        at: usize,
        offset: u64,
        block: &[u8],
        record: &mut dyn FnMut(ScannedRecord) -> Result<()>,
    ) -> Result<()> {
        let verified = verify(block, self.stream, self.segments[at].index);
        if let Ok(header) = &verified {
            self.result.mark = self.result.mark.max(header.mark);
            self.result.segments[at].1 = self.result.segments[at].1.max(header.mark);
        }
        if let Some(end) = &self.end {
            let first = end.number.or_else(|| verified.as_ref().ok().map(|h| h.number.saturating_sub(self.seen)));
            if verified.is_ok_and(|h| first.is_some_and(|first| h.synced > first)) {
                return Err(end.damage());
            }
        } else {
            match verified.and_then(|h| self.in_place(h)) {
                Ok(header) => {
                    self.next = Some(header.number + 1);
                    self.result.tail_position = offset / BLOCK_BYTES as u64 + 1;
                    if offset == 0 || self.starts.is_empty() {
                        self.starts.push((header.number - offset / BLOCK_BYTES as u64, at));
                    }
                    self.feed(at, offset, &header, &block[HEADER_BYTES..], record)?;
                }
                Err(mismatch) => {
                    let file = self.segments[at].path.clone();
                    self.end = Some(End { number: self.next, file, offset, mismatch });
                }
            }
        }
        self.seen += 1;
        Ok(())
    }

    fn in_place(&self, header: super::block::BlockHeader) -> Result<super::block::BlockHeader, Mismatch> {
        match self.next {
            Some(next) if next != header.number => {
                Err(Mismatch { expected: format!("block {next}"), found: format!("block {}", header.number) })
            }
            _ => Ok(header),
        }
    }

    fn feed(
        &mut self,
        at: usize,
        offset: u64,
        header: &super::block::BlockHeader,
        payload: &[u8],
        record: &mut dyn FnMut(ScannedRecord) -> Result<()>,
    ) -> Result<()> {
        let (segments, starts) = (self.segments, &self.starts);
        self.reassembly.feed(&segments[at].path, offset, header, payload, |bytes, began| {
            let &(base, segment) = starts.iter().rev().find(|&&(base, _)| base <= began).unwrap_or(&starts[0]);
            let offset = began.saturating_sub(base) * BLOCK_BYTES as u64;
            record(ScannedRecord { bytes, file: segments[segment].path.clone(), offset, segments: (segment, at) })
        })
    }
}
