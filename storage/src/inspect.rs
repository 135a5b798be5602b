//! Reading the files of a data directory from outside, for `starling-inspect` and tests: what recovery reads, without recovering. Nothing here
//! writes; any bytes give items or an error that names file, offset, expected and found.

pub use crate::log::block::{BlockHeader, Mismatch, StreamId, StreamKind};
pub use crate::log::scan::{Scan, ScannedRecord, SegmentFile, scan};
pub use crate::log::{LOG_DIR, parse_segment_name};
pub use crate::manifest::codec::{Decoded as ManifestRecord, decode as decode_manifest_record};
pub use crate::manifest::load::{LoadedManifest, list as manifest_streams, load_catalog, load_manifest};
pub use crate::manifest::stream::{MANIFEST_DIR, parse_stream_name, stream_path};

use crate::disk::{BLOCK_BYTES, DiskRef};
use crate::error::{Result, StorageError};
use crate::log::block::{HEADER_BYTES, Reassembly, claimed, verify};

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// What is found in a file of blocks, front to back.
#[derive(Debug)]
pub enum Item {
    /// A block in its place.
    Block {
        /// Where it lies.
        offset: u64,
        /// What it says.
        header: BlockHeader,
    },
    /// A record, when its last block has come.
    Record {
        /// Offset of the block in which it begins.
        offset: u64,
        /// The record.
        bytes: Vec<u8>,
    },
}

/// What lies behind the last block that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The end of the file.
    End,
    /// Zeros: prepared and not yet written.
    Unwritten,
    /// Blocks of an earlier use of the file.
    Recycled(Mismatch),
    /// A block that is not whole, above all that is known synced: what a crash leaves of a write.
    Torn(Mismatch),
    /// A block that is not whole, below a number that a later block knows synced: lost.
    Damaged(Mismatch),
}

/// A file of blocks, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockFile {
    /// Blocks that count.
    pub blocks: u64,
    /// Offset behind them.
    pub end: u64,
    /// Bytes of a record that begins in them and does not end: in a log it may go on in the next segment.
    pub open_bytes: usize,
    /// What comes after.
    pub tail: Tail,
}

/// The stream and file number that the first whole block of a file tells; `None` when there is no whole block in the first MiB.
///
/// Errors: those of the disk.
pub async fn identify(disk: &DiskRef, path: &str) -> Result<Option<(StreamId, u32)>> {
    let file = disk.open(path).await?;
    let bytes = file.read_at(0, READ_BYTES.min(file.len() as usize)).await?;
    file.close().await?;
    Ok(bytes.chunks_exact(BLOCK_BYTES).find_map(claimed))
}

/// Reads one file of a log, a manifest or the catalog log. Unlike [`scan`] it looks at one file only, and goes on to say what its end is.
///
/// Errors: `Corrupt` when valid blocks do not fit together, those of the disk, and whatever `visit` returns.
pub async fn blocks(
    disk: &DiskRef,
    path: &str,
    stream: StreamId,
    number: u32,
    visit: &mut dyn FnMut(Item) -> Result<()>,
) -> Result<BlockFile> {
    let file = disk.open(path).await?;
    let len = file.len() / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
    let mut walk = Walk {
        path,
        stream,
        number,
        base: None,
        reassembly: Reassembly::default(),
        found: BlockFile { blocks: 0, end: 0, open_bytes: 0, tail: Tail::End },
    };
    let mut offset = 0;
    while offset < len {
        let bytes = file.read_at(offset, READ_BYTES.min((len - offset) as usize)).await?;
        for block in bytes.chunks_exact(BLOCK_BYTES) {
            walk.block(offset, block, visit)?;
            offset += BLOCK_BYTES as u64;
        }
    }
    let rest = (file.len() - len) as usize;
    if rest > 0 && walk.found.tail == Tail::End {
        let expected = format!("blocks of {BLOCK_BYTES} bytes");
        walk.found.tail = Tail::Torn(Mismatch { expected, found: format!("{rest} bytes more") });
    }
    file.close().await?;
    walk.found.open_bytes = walk.reassembly.pending();
    Ok(walk.found)
}

struct Walk<'a> {
    path: &'a str,
    stream: StreamId,
    number: u32,
    /// Number of the block at offset 0, once a block has told it.
    base: Option<u64>,
    reassembly: Reassembly,
    found: BlockFile,
}

impl Walk<'_> {
    fn block(&mut self, offset: u64, block: &[u8], visit: &mut dyn FnMut(Item) -> Result<()>) -> Result<()> {
        let place = offset / BLOCK_BYTES as u64;
        let header = match verify(block, self.stream, self.number) {
            Ok(header) => header,
            Err(mismatch) => {
                if self.found.tail == Tail::End {
                    self.found.tail = tail(block, mismatch, claimed(block) == Some((self.stream, self.number)));
                }
                return Ok(());
            }
        };
        if self.found.tail != Tail::End {
            // R16: a block that knows a lost one to be synced makes the end before it damage.
            let lost = self.base.unwrap_or_else(|| header.number.saturating_sub(place)) + self.found.blocks;
            if header.synced > lost
                && let Tail::Torn(mismatch) | Tail::Recycled(mismatch) = &self.found.tail
            {
                self.found.tail = Tail::Damaged(mismatch.clone());
            } else if header.synced > lost && self.found.tail == Tail::Unwritten {
                let (expected, found) = (format!("block {lost}"), "zeros".to_string());
                self.found.tail = Tail::Damaged(Mismatch { expected, found });
            }
            return Ok(());
        }
        let base = *self.base.get_or_insert(header.number.saturating_sub(place));
        if header.number != base + place {
            let (expected, found) = (format!("block {}", base + place), format!("block {}", header.number));
            self.found.tail = Tail::Torn(Mismatch { expected, found });
            return Ok(());
        }
        (self.found.blocks, self.found.end) = (place + 1, offset + BLOCK_BYTES as u64);
        visit(Item::Block { offset, header })?;
        self.reassembly.feed(self.path, offset, &header, &block[HEADER_BYTES..], |bytes, began| {
            visit(Item::Record { offset: began.saturating_sub(base) * BLOCK_BYTES as u64, bytes })
        })
    }
}

/// What a block that does not count is. `ours`: it is whole and claims this very place, so something else about it is wrong.
fn tail(block: &[u8], mismatch: Mismatch, ours: bool) -> Tail {
    if block.iter().all(|&byte| byte == 0) {
        return Tail::Unwritten;
    }
    match claimed(block).is_some() && !ours {
        true => Tail::Recycled(mismatch),
        false => Tail::Torn(mismatch),
    }
}

/// The segments of every log, ascending, as [`scan`] wants them.
///
/// Errors: those of the disk.
pub async fn log_segments(disk: &DiskRef) -> Result<Vec<(StreamId, Vec<SegmentFile>)>> {
    let mut logs: Vec<(StreamId, Vec<SegmentFile>)> = Vec::new();
    for entry in disk.list(LOG_DIR).await? {
        let Some((epoch, core, index)) = parse_segment_name(&entry.name) else { continue };
        let stream = StreamId { kind: StreamKind::Log, epoch: epoch.0, core: core.0 };
        let segment = SegmentFile { index, path: format!("{LOG_DIR}/{}", entry.name) };
        match logs.iter_mut().find(|(s, _)| *s == stream) {
            Some((_, segments)) => segments.push(segment),
            None => logs.push((stream, vec![segment])),
        }
    }
    logs.iter_mut().for_each(|(_, segments)| segments.sort_by_key(|s| s.index));
    Ok(logs)
}

/// Gives an error of decoding a record the file and the offset at which the record begins.
pub fn in_file(error: StorageError, file: &str, offset: u64) -> StorageError {
    match error {
        StorageError::Corrupt { offset: within, expected, found, .. } => {
            StorageError::corrupt(file, offset, expected, format!("{found} (byte {within} of the record)"))
        }
        other => other,
    }
}
