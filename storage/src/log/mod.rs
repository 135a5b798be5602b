//! The write-ahead log of one core: one append-only stream of commit records in pre-written segment files, with group commit (R1-R3).
//!
//! | part | what |
//! |---|---|
//! | `record.rs` | [`CommitRecord`] and its byte form |
//!
//! Lives on one core. [`Log::run`] is the flusher: each turn takes all pending records as one group of blocks, one write, one
//! fdatasync, and wakes everyone who waits. `FORMAT.md` draws the bytes.

mod record;

pub use record::{CommitRecord, PartBody, StagedFile, TabletPart, decode_predicates, encode_predicates};

use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::{CoreId, Epoch, Seq, TabletId};
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

/// The log of this core.
pub struct Log {
    _private: (),
}

/// Log space set aside for one record before it takes its number (R2); returned when dropped.
#[must_use = "the space is given back when this is dropped"]
pub struct Reservation {
    _private: (),
}

/// The wait for one appended record.
#[must_use = "a record is durable only when its ticket says so"]
pub struct Ticket {
    _private: (),
}

impl Ticket {
    /// Returns when the record is durable. The number is taken already, so an error is fatal for the process.
    pub async fn durable(self) -> Result<()> {
        Err(StorageError::Closed("log"))
    }
}

impl Log {
    /// Starts a log of this epoch; it has no file of this epoch yet. The first segment is written before the call returns.
    pub async fn create(
        _disk: DiskRef,
        _epoch: Epoch,
        _core: CoreId,
        _options: LogOptions,
        _mark: WatermarkSource,
    ) -> Result<Rc<Log>> {
        Err(StorageError::Closed("log"))
    }

    /// Sets aside space for a record of this length ([`CommitRecord::encoded_len`]); waits while the next segment is being made.
    ///
    /// Errors: `DiskFull` when it cannot be made. Nothing has a number yet, so the transaction just fails.
    pub async fn reserve(&self, _bytes: usize) -> Result<Reservation> {
        Err(StorageError::Closed("log"))
    }

    /// Hands a record to the flusher. Records become durable in the order of these calls.
    pub fn append(&self, _record: &CommitRecord, _space: Reservation) -> Ticket {
        Ticket { _private: () }
    }

    /// The flusher and the maker of segments; the engine spawns it once. Returns after [`Log::close`], or with the error that
    /// broke the log: the process must stop then.
    pub async fn run(&self) -> Result<()> {
        Err(StorageError::Closed("log"))
    }

    /// One group: writes and syncs all that is pending. Returns how many records. [`Log::run`] for the simulator.
    pub async fn turn(&self) -> Result<usize> {
        Err(StorageError::Closed("log"))
    }

    /// Makes [`Log::run`] return once everything appended is durable.
    pub fn close(&self) {}

    /// R15: recycles segments, oldest first, as long as every tablet named in one is flushed past it (`flushed` gives its F, `None`
    /// when it was dropped) and a durable mark >= its last number stands outside it: `mark` (the greatest F of any core, or the root's
    /// cut) or the W of a block that stays. Returns how many.
    pub async fn recycle(&self, _flushed: &dyn Fn(TabletId) -> Option<Seq>, _mark: Seq) -> Result<usize> {
        Err(StorageError::Closed("log"))
    }

    /// The tablets that hold the oldest segment back: each with the last number that names it there.
    pub fn oldest_holders(&self) -> Vec<(TabletId, Seq)> {
        Vec::new()
    }

    /// Counters.
    pub fn stats(&self) -> LogStats {
        LogStats::default()
    }
}
