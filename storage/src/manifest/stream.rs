//! An append-only file of records with checkpoints: what the manifest and the catalog log are made of.
//!
//! Blocks are those of the log ([`crate::log::block`]), segments are files: file n + 1 begins with a checkpoint that replaces all of file n.
//! A group is written and synced before the next one begins, so every block of an edit knows all blocks before it synced. File n is removed
//! once file n + 1 and its name are durable; a start takes the newest file whose checkpoint is whole.

use super::codec::Record;
use crate::disk::{BLOCK_BYTES, DiskRef, FileRef};
use crate::error::{Result, StorageError};
use crate::ids::Seq;
use crate::log::block::{Frames, StreamId, StreamKind};
use crate::rules::{Rule, off};
use crate::wait::{Exclusive, Signal};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The directory of manifests and of the catalog log.
pub const MANIFEST_DIR: &str = "manifest";
/// Space is set aside in steps of this size, so that a full disk is found before anything is written.
const ALLOCATE_BYTES: u64 = 256 << 10;
/// A checkpoint is due when the edits since the last one are longer than this, and than the checkpoint itself.
const EDITS_BYTES_MAX: u64 = 1 << 20;
/// Blocks made and written at a time: half a mebibyte.
const WRITE_BLOCKS: u64 = 128;

/// Where a stream goes on: plain data, so that recovery can send it to the owner core.
#[derive(Clone, Debug)]
pub(crate) struct StreamEnd {
    pub(crate) stream: StreamId,
    /// Number of the live file.
    pub(crate) file: u32,
    /// Number of the next block.
    pub(crate) next: u64,
    /// Bytes of the checkpoint that the file begins with.
    pub(crate) checkpoint_bytes: u64,
}

/// Path of a file of a stream: generation files are named by the epoch that made them (R17).
pub fn stream_path(stream: StreamId, file: u32) -> String {
    match stream.kind {
        StreamKind::Catalog => format!("{MANIFEST_DIR}/{:08x}-catalog-{file:08x}.man", stream.epoch),
        _ => format!("{MANIFEST_DIR}/{:08x}-{:04x}-{file:08x}.man", stream.epoch, stream.core),
    }
}

/// Stream and file number that a name of the manifest directory tells; `None` for other names.
pub fn parse_stream_name(name: &str) -> Option<(StreamId, u32)> {
    let mut parts = name.strip_suffix(".man")?.split('-');
    let epoch = u32::from_str_radix(parts.next()?, 16).ok()?;
    let stream = match parts.next()? {
        "catalog" => StreamId { kind: StreamKind::Catalog, epoch, core: 0 },
        core => StreamId { kind: StreamKind::Manifest, epoch, core: u16::from_str_radix(core, 16).ok()? },
    };
    let file = u32::from_str_radix(parts.next()?, 16).ok()?;
    parts.next().is_none().then_some((stream, file))
}

#[derive(Default)]
struct Queue {
    frames: Frames,
    /// Run, in order, in the moment in which the group is durable.
    on_durable: Vec<Box<dyn FnOnce()>>,
    group: Rc<Group>,
}

#[derive(Default)]
struct Group {
    result: RefCell<Option<Result<()>>>,
    done: Signal,
}

/// The writing side of one stream.
pub(crate) struct EditStream {
    disk: DiskRef,
    stream: StreamId,
    file: RefCell<FileRef>,
    number: Cell<u32>,
    next: Cell<u64>,
    checkpoint_bytes: Cell<u64>,
    queue: RefCell<Queue>,
    writing: Exclusive,
    broken: RefCell<Option<StorageError>>,
}

impl EditStream {
    pub(crate) async fn open(disk: DiskRef, end: StreamEnd) -> Result<EditStream> {
        let file = disk.open(&stream_path(end.stream, end.file)).await?;
        Ok(EditStream {
            disk,
            stream: end.stream,
            file: RefCell::new(file),
            number: Cell::new(end.file),
            next: Cell::new(end.next),
            checkpoint_bytes: Cell::new(end.checkpoint_bytes),
            queue: RefCell::default(),
            writing: Exclusive::default(),
            broken: RefCell::new(None),
        })
    }

    /// The data directory.
    pub(crate) fn disk(&self) -> &DiskRef {
        &self.disk
    }

    /// Appends a record; durable on return, and `on_durable` has run. Concurrent callers share a write and an fdatasync.
    ///
    /// Errors: `DiskFull` before anything is written: nothing has changed. Any other is fatal: what the file holds is unknown.
    pub(crate) async fn append(&self, record: &Record<'_>, on_durable: impl FnOnce() + 'static) -> Result<()> {
        let group = {
            let mut queue = self.queue.borrow_mut();
            queue.frames.push(|out| record.encode(out));
            queue.on_durable.push(Box::new(on_durable));
            Rc::clone(&queue.group)
        };
        let _turn = self.writing.hold().await;
        // Someone before took this record along.
        if let Some(result) = &*group.result.borrow() {
            return result.clone();
        }
        let queue = self.queue.take();
        let result = self.write_group(&queue.frames).await;
        if result.is_ok() {
            queue.on_durable.into_iter().for_each(|run| run());
        }
        *group.result.borrow_mut() = Some(result.clone());
        group.done.notify();
        result
    }

    async fn write_group(&self, frames: &Frames) -> Result<()> {
        if let Some(e) = &*self.broken.borrow() {
            return Err(e.clone());
        }
        let file = Rc::clone(&self.file.borrow());
        let (next, count) = (self.next.get(), frames.blocks());
        let end = (next + count) * BLOCK_BYTES as u64;
        if file.len() < end {
            file.allocate(end.next_multiple_of(ALLOCATE_BYTES)).await?;
        }
        let number = self.number.get();
        let written = async {
            write_blocks(&file, self.stream, next, number, frames).await?;
            file.sync().await
        };
        written.await.map_err(|e| {
            // Some of it may be there by now, whatever the reason: not the "nothing has changed" of a full disk.
            let e = match e {
                StorageError::DiskFull { file } => {
                    StorageError::Io { call: "write", file, reason: "no space, although it was set aside".to_string() }
                }
                e => e,
            };
            self.broken.borrow_mut().get_or_insert(e).clone()
        })?;
        self.next.set(next + count);
        Ok(())
    }

    /// Whether the edits outweigh the checkpoint.
    pub(crate) fn checkpoint_due(&self) -> bool {
        let edits = (self.next.get() * BLOCK_BYTES as u64).saturating_sub(self.checkpoint_bytes.get());
        edits > EDITS_BYTES_MAX.max(self.checkpoint_bytes.get())
    }

    /// Writes what `records` gives into the next file and switches to it. `records` is asked when no edit is on its way.
    ///
    /// Errors: of the disk, before the switch: the old file goes on.
    pub(crate) async fn checkpoint(&self, records: impl AsyncFnOnce() -> Frames) -> Result<()> {
        let _turn = self.writing.hold().await;
        if let Some(e) = &*self.broken.borrow() {
            return Err(e.clone());
        }
        let (old, number) = (self.number.get(), self.number.get() + 1);
        let made = write_checkpoint(&self.disk, self.stream, number, &records().await).await;
        let made = match made {
            Ok(()) => self.disk.sync_dir(MANIFEST_DIR).await,
            Err(e) => Err(e),
        };
        let path = stream_path(self.stream, number);
        if let Err(e) = made {
            // The old file goes on, so the new one must never be taken for a newer state.
            let removed = self.disk.remove(&path).await;
            let gone = match removed {
                Ok(()) | Err(StorageError::NotFound(_)) => self.disk.sync_dir(MANIFEST_DIR).await,
                Err(e) => Err(e),
            };
            if let Err(e) = gone {
                self.broken.borrow_mut().get_or_insert(e);
            }
            return Err(e);
        }
        let file = self.disk.open(&path).await.inspect_err(|e| {
            self.broken.borrow_mut().get_or_insert(e.clone());
        })?;
        let bytes = file.len();
        let before = self.file.replace(file);
        self.number.set(number);
        self.next.set(bytes / BLOCK_BYTES as u64);
        self.checkpoint_bytes.set(bytes);
        before.close().await?;
        self.disk.remove(&stream_path(self.stream, old)).await
    }
}

/// Writes a group from block `first` on, some blocks at a time (P7).
async fn write_blocks(file: &FileRef, stream: StreamId, first: u64, number: u32, frames: &Frames) -> Result<()> {
    let mut packer = frames.packer(stream, first, first, Seq::ZERO);
    for done in (0..frames.blocks()).step_by(WRITE_BLOCKS as usize) {
        file.write_at((first + done) * BLOCK_BYTES as u64, &packer.next(WRITE_BLOCKS, |_| number)).await?;
    }
    Ok(())
}

/// Writes and syncs a file that begins with a checkpoint; its name is durable once the directory is synced.
pub(crate) async fn write_checkpoint(disk: &DiskRef, stream: StreamId, number: u32, frames: &Frames) -> Result<()> {
    let file = disk.create(&stream_path(stream, number)).await?;
    write_blocks(&file, stream, 0, number, frames).await?;
    // R16: what was read at a start is durable here before anything is built on it.
    if !off(Rule::NoResyncEdit) {
        file.sync().await?;
    }
    file.close().await
}
