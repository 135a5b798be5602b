//! The write-ahead log of one core: one append-only stream of commit records in pre-written segment files, with group commit (R1-R3).
//!
//! | part | what |
//! |---|---|
//! | `record.rs` | [`CommitRecord`] and its byte form |
//! | `block.rs` | the 4 KiB block with its place and checksum, of manifests and the catalog log too |
//! | `writer.rs` | [`Log`]: group commit, preparing and recycling of segments |
//! | `scan.rs` | reading back at a start: whole records, torn tail or damage |
//!
//! Lives on one core. [`Log::run`] is the flusher: each turn takes all pending records as one group of blocks, one write, one
//! fdatasync, and wakes everyone who waits. `FORMAT.md` draws the bytes.

pub(crate) mod block;
mod record;
pub(crate) mod scan;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

pub use record::{CommitRecord, PartBody, StagedFile, TabletPart, decode_predicates, encode_predicates};
pub use writer::{Log, Reservation, Ticket};

use crate::ids::{CoreId, Epoch, Seq};
use std::rc::Rc;

/// Reads W, the published watermark (R5).
pub type WatermarkSource = Rc<dyn Fn() -> Seq>;

/// Sizes of a log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Length of a segment file, a multiple of the block.
    pub segment_bytes: u64,
    /// How many recycled segments are kept for reuse; more are removed.
    pub spare_segments: usize,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { segment_bytes: 32 << 20, spare_segments: 2 }
    }
}

/// Counters of a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogStats {
    /// Records appended.
    pub records: u64,
    /// Groups synced.
    pub groups: u64,
    /// Bytes written, padding and headers included.
    pub bytes: u64,
    /// Segments that hold records.
    pub segments: u64,
    /// Bytes of these segments.
    pub segment_bytes: u64,
    /// Segments recycled so far.
    pub recycled: u64,
    /// Microseconds of the last write and fdatasync.
    pub last_sync_micros: u64,
}

/// The directory of all logs.
pub const LOG_DIR: &str = "log";

/// Path of a segment: logs are named by (epoch, core), R17.
pub(crate) fn segment_path(epoch: Epoch, core: CoreId, index: u32) -> String {
    format!("{LOG_DIR}/{:08x}-{:04x}-{index:08x}.log", epoch.0, core.0)
}

/// Path of a recycled segment until it is used again.
pub(crate) fn spare_path(epoch: Epoch, core: CoreId, index: u32) -> String {
    format!("{LOG_DIR}/{:08x}-{:04x}-{index:08x}.spare", epoch.0, core.0)
}

/// Epoch, core and segment generation that a file name of the log directory tells; `None` for other names.
pub fn parse_segment_name(name: &str) -> Option<(Epoch, CoreId, u32)> {
    let mut parts = name.strip_suffix(".log")?.split('-');
    let epoch = u32::from_str_radix(parts.next()?, 16).ok()?;
    let core = u16::from_str_radix(parts.next()?, 16).ok()?;
    let index = u32::from_str_radix(parts.next()?, 16).ok()?;
    parts.next().is_none().then_some((Epoch(epoch), CoreId(core), index))
}
