//! The log's writing side: group commit into pre-written segments, and their recycling.

use super::block::{FRAME_BYTES, Frames, StreamId, StreamKind, blocks_for};
use super::record::CommitRecord;
use super::{LogOptions, LogStats, WatermarkSource, segment_path, spare_path};
use crate::disk::{BLOCK_BYTES, DiskRef, FileRef};
use crate::error::{Result, StorageError};
use crate::ids::{CoreId, Epoch, Seq, TabletId};
use crate::rules::{Rule, off};
use crate::wait::{Exclusive, Signal};
use futures_lite::future;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// How much is zero-filled at a time: small enough that a commit beside it does not wait for the device.
const FILL_BYTES: usize = 256 << 10;

/// Blocks made and written at a time: half a mebibyte (P7).
const PACK_BLOCKS: u64 = 128;
/// The rows of a longer record are not copied when it is appended.
const SHARED_BYTES: usize = 16 << 10;

/// Per tablet the last number that names it.
pub(crate) type LastNumbers = HashMap<TabletId, Seq>;

/// A group of records that share one fdatasync.
#[derive(Default)]
struct Group {
    result: RefCell<Option<Result<()>>>,
    done: Signal,
}

impl Group {
    fn finish(&self, result: Result<()>) {
        self.result.borrow_mut().get_or_insert(result);
        self.done.notify();
    }
}

/// The wait for one appended record.
#[must_use = "a record is durable only when its ticket says so"]
pub struct Ticket {
    group: Rc<Group>,
}

impl Ticket {
    /// Returns when the record is durable. The number is taken already, so an error is fatal for the process (R2).
    pub async fn durable(self) -> Result<()> {
        self.group.done.wait(|| self.group.result.borrow().clone()).await
    }
}

/// Log space set aside for one record before it takes its number (R2); given back when dropped.
#[must_use = "the space is given back when this is dropped"]
pub struct Reservation {
    space: Rc<Space>,
    blocks: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.reserved.set(self.space.reserved.get() - self.blocks);
        self.space.changed.notify();
    }
}

/// Room in prepared segments.
#[derive(Default)]
struct Space {
    /// Blocks that are prepared and not written.
    free: Cell<u64>,
    /// Blocks promised to transactions and to pending records.
    reserved: Cell<u64>,
    /// Blocks that someone waits for, beyond what is free.
    wanted: Cell<u64>,
    /// Counts the attempts to prepare a segment; the last one's failure.
    attempts: Cell<u64>,
    failure: RefCell<Option<StorageError>>,
    changed: Signal,
}

impl Space {
    fn room(&self) -> u64 {
        self.free.get().saturating_sub(self.reserved.get())
    }
}

/// Records waiting for the next turn.
#[derive(Default)]
struct Pending {
    frames: Frames,
    records: Vec<(Seq, Vec<TabletId>)>,
    space: Vec<Reservation>,
    group: Rc<Group>,
}

/// A segment that holds records or will hold the next ones.
struct Segment {
    index: u32,
    path: String,
    file: FileRef,
    blocks: u64,
    /// Number of its first block.
    base: u64,
    /// Greatest number of a record in it.
    last: Seq,
    /// W of its synced blocks.
    mark: Seq,
    tablets: LastNumbers,
}

/// Blocks of a group that go to one segment.
struct Piece {
    file: FileRef,
    segment: u32,
    offset: u64,
    blocks: u64,
}

/// The log of one core; see the module's head. Shared by the tasks of that core.
pub struct Log {
    disk: DiskRef,
    stream: StreamId,
    options: LogOptions,
    mark: WatermarkSource,
    space: Rc<Space>,
    pending: RefCell<Pending>,
    /// Oldest first; those at the end may be prepared and empty. Blocks are written at `next`.
    segments: RefCell<VecDeque<Segment>>,
    next: Cell<u64>,
    /// Recycled files, ready to be written again.
    spares: RefCell<Vec<String>>,
    appended: Signal,
    turning: Exclusive,
    preparing: Exclusive,
    recycling: Exclusive,
    closed: Cell<bool>,
    broken: RefCell<Option<StorageError>>,
    stats: Cell<LogStats>,
}

impl Log {
    /// Starts a log of this epoch; it has no file of this epoch yet. The first segment is prepared before the call returns.
    pub async fn create(
        disk: DiskRef,
        epoch: Epoch,
        core: CoreId,
        options: LogOptions,
        mark: WatermarkSource,
    ) -> Result<Rc<Log>> {
        if options.segment_bytes < 2 * BLOCK_BYTES as u64 || !options.segment_bytes.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(StorageError::Invalid(format!("log segments of {} bytes", options.segment_bytes)));
        }
        let log = Rc::new(Log {
            disk,
            stream: StreamId { kind: StreamKind::Log, epoch: epoch.0, core: core.0 },
            options,
            mark,
            space: Rc::default(),
            pending: RefCell::default(),
            segments: RefCell::default(),
            next: Cell::new(0),
            spares: RefCell::default(),
            appended: Signal::default(),
            turning: Exclusive::default(),
            preparing: Exclusive::default(),
            recycling: Exclusive::default(),
            closed: Cell::new(false),
            broken: RefCell::new(None),
            stats: Cell::default(),
        });
        log.prepare().await?;
        Ok(log)
    }

    /// Sets aside space for a record of this length ([`CommitRecord::encoded_len`]); waits while a segment is being prepared.
    ///
    /// Errors: `DiskFull` when it cannot be prepared. Nothing has a number yet, so the transaction just fails (R2).
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation> {
        if bytes > u32::MAX as usize - FRAME_BYTES {
            let detail = format!("{bytes} bytes in one commit record, at most 4 GiB");
            return Err(StorageError::Limit { limit: "commit_record_bytes", detail });
        }
        // One block more than the record fills: its group may leave the last block half empty.
        let blocks = blocks_for(bytes + FRAME_BYTES) + 1;
        let space = &self.space;
        let mut attempts = None;
        space
            .changed
            .wait(|| {
                if let Some(e) = &*self.broken.borrow() {
                    return Some(Err(e.clone()));
                }
                if space.room() >= blocks {
                    space.reserved.set(space.reserved.get() + blocks);
                    return Some(Ok(Reservation { space: Rc::clone(space), blocks }));
                }
                let seen = *attempts.get_or_insert(space.attempts.get());
                if let Some(e) = space.failure.borrow().as_ref().filter(|_| seen != space.attempts.get()) {
                    return Some(Err(e.clone()));
                }
                space.wanted.set(space.wanted.get().max(blocks));
                self.appended.notify();
                None
            })
            .await
    }

    /// Hands a record to the flusher. Records become durable in the order of these calls. The record must not be longer than `space`
    /// was reserved for.
    pub fn append(&self, record: &CommitRecord, space: Reservation) -> Ticket {
        if let Some(e) = &*self.broken.borrow() {
            let group = Rc::new(Group::default());
            group.finish(Err(e.clone()));
            return Ticket { group };
        }
        let mut pending = self.pending.borrow_mut();
        match record.encoded_len() > SHARED_BYTES {
            true => pending.frames.push_shared(record.pieces()),
            false => pending.frames.push(|out| record.encode(out)),
        }
        pending.records.push((record.seq, record.parts.iter().map(|p| p.tablet).collect()));
        pending.space.push(space);
        let ticket = Ticket { group: Rc::clone(&pending.group) };
        drop(pending);
        self.appended.notify();
        ticket
    }

    /// The flusher and the maker of segments; the engine spawns it once. Returns after [`Log::close`], or with the error that broke the
    /// log: the process must stop then.
    pub async fn run(&self) -> Result<()> {
        future::try_zip(self.flush_loop(), self.prepare_loop()).await.map(|_| ())
    }

    async fn flush_loop(&self) -> Result<()> {
        loop {
            let more = || match (self.pending.borrow().records.is_empty(), self.closed.get()) {
                (false, _) => Some(true),
                (true, true) => Some(false),
                (true, false) => None,
            };
            if !self.appended.wait(more).await {
                return Ok(());
            }
            self.turn().await?;
        }
    }

    /// Keeps one whole segment prepared ahead, and as many as someone waits for.
    async fn prepare_loop(&self) -> Result<()> {
        loop {
            let due = || {
                let ahead = (self.options.segment_bytes / BLOCK_BYTES as u64).max(self.space.wanted.get());
                let failed = self.space.failure.borrow().is_some() && self.space.wanted.get() == 0;
                match (self.closed.get() || self.broken.borrow().is_some(), self.space.room() < ahead && !failed) {
                    (true, _) => Some(false),
                    (false, true) => Some(true),
                    (false, false) => None,
                }
            };
            if !self.appended.wait(due).await {
                return Ok(());
            }
            // A full disk is the error of those who wait for room; the next one who comes tries again.
            let _ = self.prepare().await;
        }
    }

    /// One group: writes and syncs all that is pending. Returns how many records.
    pub async fn turn(&self) -> Result<usize> {
        let _turn = if off(Rule::SyncAny) { None } else { Some(self.turning.hold().await) };
        if let Some(e) = &*self.broken.borrow() {
            return Err(e.clone());
        }
        let pending = self.pending.take();
        if pending.records.is_empty() {
            return Ok(0);
        }
        let started = self.disk.now_micros();
        let result = self.write_group(&pending).await;
        if let Err(e) = &result {
            // R2: never retried; what the device holds is unknown.
            self.broken.borrow_mut().get_or_insert(e.clone());
            self.pending.borrow().group.finish(Err(e.clone()));
            self.space.changed.notify();
        }
        pending.group.finish(result.clone());
        result?;
        let mut stats = self.stats.get();
        stats.records += pending.records.len() as u64;
        stats.groups += 1;
        stats.bytes += pending.frames.blocks() * BLOCK_BYTES as u64;
        stats.last_sync_micros = self.disk.now_micros().saturating_sub(started);
        self.stats.set(stats);
        // The written blocks are no longer free and no longer reserved: look whether a segment is due.
        self.appended.notify();
        Ok(pending.records.len())
    }

    async fn write_group(&self, pending: &Pending) -> Result<()> {
        let (number, count) = (self.next.get(), pending.frames.blocks());
        while self.space.free.get() < count {
            self.prepare().await?;
        }
        let mark = (self.mark)();
        let pieces = self.place(pending, number, count);
        // Everything below `number` is synced: groups are written one after the other.
        let mut packer = pending.frames.packer(self.stream, number, number, mark);
        self.next.set(number + count);
        self.space.free.set(self.space.free.get() - count);
        if off(Rule::SyncAny) && number.is_multiple_of(2) {
            for _ in 0..20 {
                self.disk.yield_now().await;
            }
        }
        for piece in &pieces {
            for done in (0..piece.blocks).step_by(PACK_BLOCKS as usize) {
                let blocks = packer.next(PACK_BLOCKS.min(piece.blocks - done), |_| piece.segment);
                piece.file.write_at(piece.offset + done * BLOCK_BYTES as u64, &blocks).await?;
            }
        }
        // R3: submitted only now that every block of the group, and of all groups before, is written.
        for piece in &pieces {
            piece.file.sync().await?;
        }
        let mut segments = self.segments.borrow_mut();
        for segment in segments.iter_mut().filter(|s| s.base < number + count && number < s.base + s.blocks) {
            segment.mark = segment.mark.max(mark);
        }
        Ok(())
    }

    /// Where the blocks go; notes in each segment the records that touch it.
    fn place(&self, pending: &Pending, number: u64, count: u64) -> Vec<Piece> {
        let mut segments = self.segments.borrow_mut();
        let mut pieces = Vec::new();
        for segment in segments.iter_mut() {
            let from = number.max(segment.base);
            let to = (number + count).min(segment.base + segment.blocks);
            if from >= to {
                continue;
            }
            let offset = (from - segment.base) * BLOCK_BYTES as u64;
            pieces.push(Piece { file: Rc::clone(&segment.file), segment: segment.index, offset, blocks: to - from });
            let ends = pending.frames.starts.iter().skip(1).copied().chain([pending.frames.len()]);
            for ((&start, end), (seq, tablets)) in pending.frames.starts.iter().zip(ends).zip(&pending.records) {
                let first = number + start as u64 / super::block::PAYLOAD_BYTES as u64;
                let last = number + blocks_for(end) - 1;
                if first < to && from <= last {
                    segment.note(*seq, tablets);
                }
            }
        }
        pieces
    }

    /// Makes one more segment ready behind the last one: a recycled file, or a new one filled with zeros.
    async fn prepare(&self) -> Result<()> {
        let _one = self.preparing.hold().await;
        let made = self.make_segment().await;
        self.space.attempts.set(self.space.attempts.get() + 1);
        self.space.wanted.set(0);
        let result = match made {
            Ok(segment) => {
                self.space.free.set(self.space.free.get() + segment.blocks);
                *self.space.failure.borrow_mut() = None;
                self.segments.borrow_mut().push_back(segment);
                Ok(())
            }
            Err(e) => {
                *self.space.failure.borrow_mut() = Some(e.clone());
                Err(e)
            }
        };
        self.space.changed.notify();
        result
    }

    #[cfg(test)]
    pub(crate) async fn prepare_for_tests(&self) -> Result<()> {
        self.prepare().await
    }

    async fn make_segment(&self) -> Result<Segment> {
        let (index, base) = self.segments.borrow().back().map_or((0, 0), |s| (s.index + 1, s.base + s.blocks));
        let path = segment_path(Epoch(self.stream.epoch), CoreId(self.stream.core), index);
        let spare = self.spares.borrow_mut().pop();
        let file = match spare {
            Some(spare) => {
                self.disk.rename(&spare, &path).await?;
                self.disk.open(&path).await?
            }
            None => match self.fill(&path).await {
                Ok(file) => file,
                Err(e) => {
                    // What was filled so far would only keep a full disk full.
                    let _ = self.disk.remove(&path).await;
                    return Err(e);
                }
            },
        };
        // The name is durable before any block of it can be.
        self.disk.sync_dir(super::LOG_DIR).await?;
        let blocks = self.options.segment_bytes / BLOCK_BYTES as u64;
        Ok(Segment { index, path, file, blocks, base, last: Seq::ZERO, mark: Seq::ZERO, tablets: LastNumbers::new() })
    }

    async fn fill(&self, path: &str) -> Result<FileRef> {
        let file = self.disk.create(path).await?;
        let zeros = vec![0; FILL_BYTES.min(self.options.segment_bytes as usize)];
        let mut offset = 0;
        while offset < self.options.segment_bytes {
            let len = zeros.len().min((self.options.segment_bytes - offset) as usize);
            file.write_at(offset, &zeros[..len]).await?;
            offset += len as u64;
        }
        file.sync().await?;
        Ok(file)
    }

    /// Makes [`Log::run`] return once everything appended is durable.
    pub fn close(&self) {
        self.closed.set(true);
        self.appended.notify();
        self.space.changed.notify();
    }

    /// R15: recycles segments, oldest first, as long as every tablet named in one is flushed past it (`flushed` gives its durable F,
    /// `None` when it was dropped) and a durable mark >= its last number stands outside it: `mark` (the greatest F of any core, or the
    /// root's cut) or the W of a synced block that stays. Returns how many.
    pub async fn recycle(&self, flushed: &dyn Fn(TabletId) -> Option<Seq>, mark: Seq) -> Result<usize> {
        // One at a time: of two segments on their way out, the younger must never be gone durably before the older.
        let _one = self.recycling.hold().await;
        let mut count = 0;
        while let Some(segment) = self.take_recyclable(flushed, mark) {
            segment.file.close().await?;
            if self.spares.borrow().len() < self.options.spare_segments {
                let spare = spare_path(Epoch(self.stream.epoch), CoreId(self.stream.core), segment.index);
                self.disk.rename(&segment.path, &spare).await?;
                self.disk.sync_dir(super::LOG_DIR).await?;
                self.spares.borrow_mut().push(spare);
            } else {
                self.disk.remove(&segment.path).await?;
                // One by one, so that what a power loss leaves is never a log with a hole.
                self.disk.sync_dir(super::LOG_DIR).await?;
            }
            count += 1;
        }
        let mut stats = self.stats.get();
        stats.recycled += count as u64;
        self.stats.set(stats);
        Ok(count)
    }

    fn take_recyclable(&self, flushed: &dyn Fn(TabletId) -> Option<Seq>, mark: Seq) -> Option<Segment> {
        let mut segments = self.segments.borrow_mut();
        let staying = segments.iter().skip(1).map(|s| s.mark).max().unwrap_or(Seq::ZERO);
        let oldest = segments.front()?;
        // The segment being written, and those prepared behind it, stay.
        if oldest.base + oldest.blocks > self.next.get()
            || !is_past(&oldest.tablets, oldest.last, flushed, mark.max(staying))
        {
            return None;
        }
        segments.pop_front()
    }

    /// The tablets that hold the oldest segment back: each with the last number that names it there.
    pub fn oldest_holders(&self) -> Vec<(TabletId, Seq)> {
        let segments = self.segments.borrow();
        let mut holders: Vec<_> =
            segments.front().map(|s| s.tablets.iter().map(|(&t, &s)| (t, s)).collect()).unwrap_or_default();
        holders.sort();
        holders
    }

    /// Counters.
    pub fn stats(&self) -> LogStats {
        let segments = self.segments.borrow();
        let used = segments.iter().filter(|s| s.base < self.next.get());
        let (count, bytes) = used.fold((0, 0), |(n, b), s| (n + 1, b + s.blocks * BLOCK_BYTES as u64));
        LogStats { segments: count, segment_bytes: bytes, ..self.stats.get() }
    }
}

impl Segment {
    fn note(&mut self, seq: Seq, tablets: &[TabletId]) {
        self.last = self.last.max(seq);
        for &tablet in tablets {
            let last = self.tablets.entry(tablet).or_default();
            *last = (*last).max(seq);
        }
    }
}

/// R15: whether a segment may go: all its tablets are flushed past it, and `mark`, which stands outside it, covers its last number.
pub(crate) fn is_past(tablets: &LastNumbers, last: Seq, flushed: &dyn Fn(TabletId) -> Option<Seq>, mark: Seq) -> bool {
    (mark >= last || off(Rule::DropUnmarked))
        && tablets.iter().all(|(&tablet, &last)| flushed(tablet).is_none_or(|f| f >= last))
}
