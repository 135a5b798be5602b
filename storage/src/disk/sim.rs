//! A machine in memory that can be killed, lose its power, run full and fail, all by seed.
//!
//! What is written and what is durable are kept apart. Per file and block there is the durable content and the list of contents
//! written since; per directory the durable names and the changes since. A power loss decides for each unsynced block which of its
//! contents is found afterwards (the durable one, the last one, one between: "stale"), may tear it at sectors of 512 bytes, and decides
//! for each unsynced name change whether it happened. Kill -9 keeps what was written but leaves it unsynced, so that the *next* power loss
//! may still take it. Either way the handles of before are dead: every call returns `Closed`.
//!
//! [`SimDisk`] is a handle; clones share the machine. Single-threaded, deterministic: the same calls and seed give the same end.

use super::{BLOCK_BYTES, DirEntry, Disk, DiskFile, DiskRef, FileRef};
use crate::error::{Result, StorageError};
use async_trait::async_trait;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The device tears a block at this unit.
const SECTOR_BYTES: usize = 512;

type Block = Rc<[u8; BLOCK_BYTES]>;

/// A failure to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Writes fail with "no space" once the device holds this many bytes.
    FullAt(u64),
    /// The n-th write from now (0 is the next) fails.
    WriteError(u64),
    /// The n-th write from now finds no space, although it was set aside (a file system without room for what it notes of the write).
    WriteFull(u64),
    /// The n-th sync from now fails; what it should have made durable stays unsynced.
    SyncError(u64),
    /// The n-th read from now fails.
    ReadError(u64),
}

/// One block of a file: what survives for certain, and what was written since.
#[derive(Clone, Default)]
struct BlockState {
    durable: Option<Block>,
    unsynced: Vec<Block>,
}

impl BlockState {
    fn current(&self) -> Option<&Block> {
        self.unsynced.last().or(self.durable.as_ref())
    }
}

#[derive(Default)]
struct Inode {
    blocks: Vec<BlockState>,
    durable_len: u64,
    len: u64,
    /// Blocks with unsynced contents, so that a sync costs what was written and not the file's length.
    dirty: Vec<usize>,
}

#[derive(Clone)]
enum NameChange {
    Create { path: String, inode: u64 },
    Remove { path: String },
    Rename { from: String, to: String },
}

#[derive(Default)]
struct Machine {
    random: u64,
    clock: u64,
    incarnation: u64,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    changes: Vec<NameChange>,
    /// Directories; they are durable at once, the directory tree is made once at the first start.
    dirs: Vec<String>,
    faults: Vec<Fault>,
    calls: u64,
    crash_at: Option<u64>,
    /// Syncs left until the machine stops inside one.
    crash_in_sync: Option<u64>,
    crashed: bool,
    interleave: bool,
    ignored_syncs: Option<String>,
}

/// A handle of the simulated machine; it is the disk of whoever holds it, and the test's remote control.
#[derive(Clone)]
pub struct SimDisk {
    machine: Rc<RefCell<Machine>>,
    incarnation: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> SimDisk {
        let machine = Machine { random: seed ^ 0x5bd1_e995_9d1b_54a5, dirs: vec![String::new()], ..Machine::default() };
        SimDisk { machine: Rc::new(RefCell::new(machine)), incarnation: 0 }
    }

    /// As the product takes it.
    pub fn disk(&self) -> DiskRef {
        Rc::new(self.clone())
    }

    /// A handle for the next start of the process, after [`SimDisk::kill`] or [`SimDisk::lose_power`].
    pub fn restart(&self) -> SimDisk {
        let mut machine = self.machine.borrow_mut();
        machine.crashed = false;
        machine.crash_at = None;
        machine.crash_in_sync = None;
        machine.faults.clear();
        SimDisk { machine: Rc::clone(&self.machine), incarnation: machine.incarnation }
    }

    /// Kill -9: every handle is dead, what was written stays, unsynced.
    pub fn kill(&self) {
        self.machine.borrow_mut().stop();
    }

    /// Power loss: every handle is dead, and the seed decides what is left of all that is not synced.
    pub fn lose_power(&self) {
        let mut machine = self.machine.borrow_mut();
        machine.stop();
        machine.lose_names();
        machine.lose_blocks();
    }

    /// The machine stops inside the n-th call from now: that call and all later ones return `Closed`.
    pub fn crash_after(&self, calls: u64) {
        let mut machine = self.machine.borrow_mut();
        machine.crash_at = Some(machine.calls + calls);
    }

    /// The machine stops inside the n-th sync from now: what it should have made durable is written and not synced.
    pub fn crash_in_sync(&self, syncs: u64) {
        self.machine.borrow_mut().crash_in_sync = Some(syncs);
    }

    /// Whether [`SimDisk::crash_after`] or [`SimDisk::crash_in_sync`] has struck.
    pub fn crashed(&self) -> bool {
        self.machine.borrow().crashed
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> u64 {
        self.machine.borrow().calls
    }

    /// Arms a failure.
    pub fn fail(&self, fault: Fault) {
        self.machine.borrow_mut().faults.push(fault);
    }

    /// Disarms all failures.
    pub fn mend(&self) {
        self.machine.borrow_mut().faults.clear();
    }

    /// With `on`, every call gives way to the other tasks before and after its effect.
    pub fn interleave(&self, on: bool) {
        self.machine.borrow_mut().interleave = on;
    }

    /// From now on a sync of files whose path begins so does nothing: a device, or code, that lies.
    pub fn ignore_syncs(&self, prefix: &str) {
        self.machine.borrow_mut().ignored_syncs = Some(prefix.to_string());
    }

    /// Overwrites bytes of a file, durably and behind everyone's back: damage.
    pub fn damage(&self, path: &str, offset: u64, bytes: &[u8]) {
        let mut machine = self.machine.borrow_mut();
        let Some(&inode) = machine.names.get(path) else { return };
        let inode = machine.inodes.get_mut(&inode).expect("a name points to an inode");
        for (at, &byte) in bytes.iter().enumerate() {
            let position = offset as usize + at;
            let Some(block) = inode.blocks.get_mut(position / BLOCK_BYTES) else { return };
            let mut content = block.current().map_or([0; BLOCK_BYTES], |b| **b);
            content[position % BLOCK_BYTES] = byte;
            *block = BlockState { durable: Some(Rc::new(content)), unsynced: Vec::new() };
        }
    }

    /// The bytes of a file as a reader would find them now.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let machine = self.machine.borrow();
        let inode = machine.inodes.get(machine.names.get(path)?)?;
        let mut bytes = vec![0; inode.len as usize];
        inode.copy(0, &mut bytes);
        Some(bytes)
    }

    /// All file names, sorted.
    pub fn files(&self) -> Vec<String> {
        self.machine.borrow().names.keys().cloned().collect()
    }

    /// Counts a call and fails when this handle is dead or the machine stops now.
    fn call(&self) -> Result<()> {
        let mut machine = self.machine.borrow_mut();
        if machine.incarnation != self.incarnation || machine.crashed {
            return Err(DEAD);
        }
        machine.calls += 1;
        machine.clock += 7;
        if machine.crash_at.is_some_and(|at| machine.calls > at) {
            machine.crashed = true;
            return Err(DEAD);
        }
        Ok(())
    }

    fn count_sync(&self) {
        let mut machine = self.machine.borrow_mut();
        match &mut machine.crash_in_sync {
            Some(0) => machine.crash_at = Some(machine.calls),
            Some(left) => *left -= 1,
            None => {}
        }
    }

    async fn interleaving_point(&self) {
        if self.machine.borrow().interleave {
            GiveWay(false).await;
        }
    }

    fn alive(&self) -> Result<()> {
        let machine = self.machine.borrow();
        if machine.incarnation != self.incarnation || machine.crashed { Err(DEAD) } else { Ok(()) }
    }
}

const DEAD: StorageError = StorageError::Closed("the simulated machine stopped");

/// Ready at the second poll: lets other tasks run.
struct GiveWay(bool);

impl Future for GiveWay {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Inode {
    fn copy(&self, offset: u64, out: &mut [u8]) {
        for (at, byte_run) in out.chunks_mut(BLOCK_BYTES).enumerate().collect::<Vec<_>>() {
            let mut done = 0;
            while done < byte_run.len() {
                let position = offset as usize + at * BLOCK_BYTES + done;
                let (index, within) = (position / BLOCK_BYTES, position % BLOCK_BYTES);
                let run = (BLOCK_BYTES - within).min(byte_run.len() - done);
                match self.blocks.get(index).and_then(BlockState::current) {
                    Some(block) => byte_run[done..done + run].copy_from_slice(&block[within..within + run]),
                    None => byte_run[done..done + run].fill(0),
                }
                done += run;
            }
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, chunk) in data.chunks_exact(BLOCK_BYTES).enumerate() {
            let index = offset as usize / BLOCK_BYTES + at;
            if self.blocks.len() <= index {
                self.blocks.resize_with(index + 1, BlockState::default);
            }
            let mut content = [0; BLOCK_BYTES];
            content.copy_from_slice(chunk);
            let block = &mut self.blocks[index];
            if block.unsynced.is_empty() {
                self.dirty.push(index);
            }
            block.unsynced.push(Rc::new(content));
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    /// What a sync submitted now will make durable when it completes.
    fn sync_point(&self) -> SyncPoint {
        SyncPoint { len: self.len, blocks: self.dirty.iter().map(|&i| (i, self.blocks[i].unsynced.len())).collect() }
    }

    fn complete(&mut self, point: SyncPoint) {
        for (index, count) in point.blocks {
            let block = &mut self.blocks[index];
            let count = count.min(block.unsynced.len());
            if count > 0 {
                block.durable = Some(Rc::clone(&block.unsynced[count - 1]));
                block.unsynced.drain(..count);
            }
        }
        self.durable_len = self.durable_len.max(point.len);
        let blocks = &self.blocks;
        self.dirty.retain(|&i| !blocks[i].unsynced.is_empty());
    }
}

struct SyncPoint {
    len: u64,
    blocks: Vec<(usize, usize)>,
}

impl Machine {
    fn stop(&mut self) {
        self.incarnation += 1;
        self.crashed = true;
    }

    /// splitmix64.
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        crate::key::mix64(self.random) % below
    }

    fn used_bytes(&self) -> u64 {
        self.inodes.values().map(|i| i.len).sum()
    }

    /// Every unsynced name change happened or did not, each by itself, in order; one whose source is not there falls away.
    fn lose_names(&mut self) {
        let mut names = self.durable_names.clone();
        for change in std::mem::take(&mut self.changes) {
            if self.random(2) == 0 {
                continue;
            }
            change.apply(&mut names);
        }
        self.names = names.clone();
        self.durable_names = names;
        let live: std::collections::BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|id, _| live.contains(id));
    }

    fn lose_blocks(&mut self) {
        let mut inodes = std::mem::take(&mut self.inodes);
        for inode in inodes.values_mut() {
            let grown = (inode.len - inode.durable_len) / BLOCK_BYTES as u64;
            inode.len = inode.durable_len + self.random(grown + 1) * BLOCK_BYTES as u64;
            inode.durable_len = inode.len;
            for index in std::mem::take(&mut inode.dirty) {
                let block = &mut inode.blocks[index];
                let mut choices = vec![block.durable.clone().unwrap_or_else(|| Rc::new([0; BLOCK_BYTES]))];
                choices.append(&mut block.unsynced);
                block.durable = Some(self.survivor(&choices));
            }
            inode.blocks.truncate(inode.len as usize / BLOCK_BYTES);
        }
        self.inodes = inodes;
    }

    /// One of the contents a block had, or one in eight times sectors of two of them.
    fn survivor(&mut self, choices: &[Block]) -> Block {
        let pick = |machine: &mut Machine| match machine.random(4) {
            0 => 0,
            1 => machine.random(choices.len() as u64) as usize,
            _ => choices.len() - 1,
        };
        let first = pick(self);
        if self.random(8) > 0 {
            return Rc::clone(&choices[first]);
        }
        let (mut torn, second) = (*choices[first], pick(self));
        for sector in 0..BLOCK_BYTES / SECTOR_BYTES {
            if self.random(2) == 0 {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                torn[range.clone()].copy_from_slice(&choices[second][range]);
            }
        }
        Rc::new(torn)
    }

    /// Whether an armed fault of this sort strikes now.
    fn strikes(&mut self, sort: fn(&mut Fault) -> Option<&mut u64>) -> bool {
        let mut struck = None;
        for (at, fault) in self.faults.iter_mut().enumerate() {
            if let Some(count) = sort(fault) {
                if *count == 0 {
                    struck = Some(at);
                } else {
                    *count -= 1;
                }
            }
        }
        struck.map(|at| self.faults.remove(at)).is_some()
    }

    fn rename_all(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Create { path, inode } => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Remove { path } => {
                names.remove(path);
            }
            NameChange::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }

    fn dir(&self) -> &str {
        let (NameChange::Create { path, .. } | NameChange::Remove { path } | NameChange::Rename { to: path, .. }) =
            self;
        parent(path)
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn io_error(call: &'static str, file: &str) -> StorageError {
    StorageError::Io { call, file: file.to_string(), reason: "simulated device error".to_string() }
}

#[async_trait(?Send)]
impl Disk for SimDisk {
    async fn create(&self, path: &str) -> Result<FileRef> {
        self.interleaving_point().await;
        self.call()?;
        let inode = {
            let mut machine = self.machine.borrow_mut();
            if !machine.dirs.iter().any(|d| d == parent(path)) {
                return Err(StorageError::NotFound(format!("directory {}", parent(path))));
            }
            machine.next_inode += 1;
            let inode = machine.next_inode;
            machine.inodes.insert(inode, Inode::default());
            machine.rename_all(NameChange::Create { path: path.to_string(), inode });
            inode
        };
        self.interleaving_point().await;
        Ok(self.file(path, inode))
    }

    async fn open(&self, path: &str) -> Result<FileRef> {
        self.interleaving_point().await;
        self.call()?;
        let inode = self.machine.borrow().names.get(path).copied();
        Ok(self.file(path, inode.ok_or_else(|| StorageError::NotFound(path.to_string()))?))
    }

    async fn remove(&self, path: &str) -> Result<()> {
        self.interleaving_point().await;
        self.call()?;
        let mut machine = self.machine.borrow_mut();
        if !machine.names.contains_key(path) {
            return Err(StorageError::NotFound(path.to_string()));
        }
        machine.rename_all(NameChange::Remove { path: path.to_string() });
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.interleaving_point().await;
        self.call()?;
        let mut machine = self.machine.borrow_mut();
        if !machine.names.contains_key(from) {
            return Err(StorageError::NotFound(from.to_string()));
        }
        if parent(from) != parent(to) {
            return Err(StorageError::Invalid(format!("rename of {from} to another directory, {to}")));
        }
        machine.rename_all(NameChange::Rename { from: from.to_string(), to: to.to_string() });
        Ok(())
    }

    async fn list(&self, dir: &str) -> Result<Vec<DirEntry>> {
        self.interleaving_point().await;
        self.call()?;
        let machine = self.machine.borrow();
        if !machine.dirs.iter().any(|d| d == dir) {
            return Err(StorageError::NotFound(format!("directory {dir}")));
        }
        let name = |path: &str| path[if dir.is_empty() { 0 } else { dir.len() + 1 }..].to_string();
        let files = machine.names.iter().filter(|(path, _)| parent(path) == dir).map(|(path, inode)| DirEntry {
            name: name(path),
            bytes: machine.inodes.get(inode).map_or(0, |i| i.len),
            is_dir: false,
        });
        let dirs = machine.dirs.iter().filter(|d| !d.is_empty() && parent(d) == dir);
        let dirs = dirs.map(|path| DirEntry { name: name(path), bytes: 0, is_dir: true });
        let mut entries: Vec<DirEntry> = files.chain(dirs).collect();
        entries.sort();
        Ok(entries)
    }

    async fn create_dir(&self, dir: &str) -> Result<()> {
        self.interleaving_point().await;
        self.call()?;
        let mut machine = self.machine.borrow_mut();
        if !machine.dirs.iter().any(|d| d == dir) {
            machine.dirs.push(dir.to_string());
        }
        Ok(())
    }

    async fn sync_dir(&self, dir: &str) -> Result<()> {
        self.interleaving_point().await;
        self.call()?;
        let mut machine = self.machine.borrow_mut();
        let (synced, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut machine.changes).into_iter().partition(|c| c.dir() == dir);
        machine.changes = left;
        for change in synced {
            change.apply(&mut machine.durable_names);
        }
        Ok(())
    }

    async fn yield_now(&self) {
        self.interleaving_point().await;
    }

    fn now_micros(&self) -> u64 {
        let mut machine = self.machine.borrow_mut();
        machine.clock += 1;
        machine.clock
    }
}

impl SimDisk {
    fn file(&self, path: &str, inode: u64) -> FileRef {
        Rc::new(SimFile {
            disk: self.clone(),
            path: path.to_string(),
            inode,
            poison: RefCell::new(None),
            closed: Cell::new(false),
        })
    }
}

struct SimFile {
    disk: SimDisk,
    path: String,
    inode: u64,
    poison: RefCell<Option<StorageError>>,
    closed: Cell<bool>,
}

impl SimFile {
    fn usable(&self) -> Result<()> {
        if self.closed.get() {
            return Err(StorageError::Closed("file"));
        }
        match &*self.poison.borrow() {
            Some(e) => Err(StorageError::Poisoned { file: self.path.clone(), reason: e.to_string() }),
            None => Ok(()),
        }
    }

    fn poison(&self, error: StorageError) -> StorageError {
        self.poison.borrow_mut().get_or_insert_with(|| error.clone());
        error
    }

    fn with<R>(&self, f: impl FnOnce(&mut Inode) -> R) -> Result<R> {
        let mut machine = self.disk.machine.borrow_mut();
        machine.inodes.get_mut(&self.inode).map(f).ok_or(DEAD)
    }
}

#[async_trait(?Send)]
impl DiskFile for SimFile {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.usable()?;
        self.disk.interleaving_point().await;
        self.disk.call()?;
        if self.disk.machine.borrow_mut().strikes(|f| if let Fault::ReadError(n) = f { Some(n) } else { None }) {
            return Err(io_error("read", &self.path));
        }
        self.with(|inode| {
            if offset + len as u64 > inode.len {
                let wanted = format!("{len} bytes");
                return Err(StorageError::corrupt(
                    &self.path,
                    offset,
                    wanted,
                    format!("the file's end at {}", inode.len),
                ));
            }
            let mut bytes = vec![0; len];
            inode.copy(offset, &mut bytes);
            Ok(Bytes::from(bytes))
        })?
    }

    async fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.usable()?;
        if !offset.is_multiple_of(BLOCK_BYTES as u64) || !data.len().is_multiple_of(BLOCK_BYTES) {
            return Err(StorageError::Invalid(format!("write of {} bytes at {offset}: not whole blocks", data.len())));
        }
        self.disk.interleaving_point().await;
        let running = self.disk.alive().is_ok();
        if let Err(e) = self.disk.call() {
            // The machine stopped in this very call: the device may have got part of the write.
            if running && !data.is_empty() {
                let blocks = (data.len() / BLOCK_BYTES) as u64;
                let part = self.disk.machine.borrow_mut().random(blocks + 1) as usize * BLOCK_BYTES;
                self.with(|inode| inode.write(offset, &data[..part]))?;
            }
            return Err(self.poison(e));
        }
        {
            let mut machine = self.disk.machine.borrow_mut();
            if machine.strikes(|f| if let Fault::WriteError(n) = f { Some(n) } else { None }) {
                return Err(self.poison(io_error("write", &self.path)));
            }
            if machine.strikes(|f| if let Fault::WriteFull(n) = f { Some(n) } else { None }) {
                return Err(self.poison(StorageError::DiskFull { file: self.path.clone() }));
            }
            let limit = machine.faults.iter().find_map(|f| if let Fault::FullAt(n) = f { Some(*n) } else { None });
            let grows =
                machine.inodes.get(&self.inode).map_or(0, |i| (offset + data.len() as u64).saturating_sub(i.len));
            if grows > 0 && limit.is_some_and(|limit| machine.used_bytes() + grows > limit) {
                return Err(self.poison(StorageError::DiskFull { file: self.path.clone() }));
            }
        }
        self.with(|inode| inode.write(offset, data))?;
        self.disk.interleaving_point().await;
        self.disk.alive()
    }

    async fn sync(&self) -> Result<()> {
        self.usable()?;
        // The device takes what was written when the sync is submitted, not what comes while it runs.
        let point = self.with(|inode| inode.sync_point())?;
        self.disk.interleaving_point().await;
        self.disk.count_sync();
        self.disk.call().map_err(|e| self.poison(e))?;
        if self.disk.machine.borrow_mut().strikes(|f| if let Fault::SyncError(n) = f { Some(n) } else { None }) {
            return Err(self.poison(io_error("fdatasync", &self.path)));
        }
        let ignored =
            self.disk.machine.borrow().ignored_syncs.as_ref().is_some_and(|p| self.path.starts_with(p.as_str()));
        if !ignored {
            self.with(|inode| inode.complete(point))?;
        }
        self.disk.interleaving_point().await;
        self.disk.alive()
    }

    async fn allocate(&self, len: u64) -> Result<()> {
        self.usable()?;
        self.disk.interleaving_point().await;
        self.disk.call()?;
        let mut machine = self.disk.machine.borrow_mut();
        let limit = machine.faults.iter().find_map(|f| if let Fault::FullAt(n) = f { Some(*n) } else { None });
        let grows = machine.inodes.get(&self.inode).map_or(0, |i| len.saturating_sub(i.len));
        if grows > 0 && limit.is_some_and(|limit| machine.used_bytes() + grows > limit) {
            return Err(StorageError::DiskFull { file: self.path.clone() });
        }
        let inode = machine.inodes.get_mut(&self.inode).ok_or(DEAD)?;
        inode.len = inode.len.max(len);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.with(|inode| inode.len).unwrap_or(0)
    }

    async fn close(&self) -> Result<()> {
        self.closed.set(true);
        Ok(())
    }

    fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::block_on;

    fn block(byte: u8) -> Vec<u8> {
        vec![byte; BLOCK_BYTES]
    }

    /// A durable file of one block of 1s, overwritten with 2s and then 3s that are not synced.
    async fn dirty(sim: &SimDisk) -> FileRef {
        let disk = sim.disk();
        let file = disk.create("f").await.unwrap();
        file.write_at(0, &block(1)).await.unwrap();
        file.sync().await.unwrap();
        disk.sync_dir("").await.unwrap();
        file.write_at(0, &block(2)).await.unwrap();
        file.write_at(0, &block(3)).await.unwrap();
        file
    }

    #[test]
    fn kill_keeps_what_was_written_and_power_loss_any_of_it() {
        let mut found = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let sim = SimDisk::new(seed);
            block_on(async {
                let file = dirty(&sim).await;
                sim.kill();
                assert_eq!(file.sync().await.unwrap_err().to_string(), DEAD.to_string());
                assert_eq!(sim.contents("f").unwrap(), block(3));
                sim.restart().lose_power();
            });
            let bytes = sim.contents("f").unwrap();
            let mut sorts = bytes.clone();
            sorts.dedup();
            found.insert(if sorts.len() > 1 { 0 } else { bytes[0] });
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3], "torn, old, stale and new blocks");
    }

    #[test]
    fn a_name_lives_through_a_power_loss_for_certain_when_its_directory_was_synced() {
        let (mut lost, mut back) = (0, 0);
        for seed in 0..100 {
            let sim = SimDisk::new(seed);
            block_on(async {
                let disk = sim.disk();
                disk.create("kept").await.unwrap();
                disk.create("old").await.unwrap();
                disk.sync_dir("").await.unwrap();
                disk.create("new").await.unwrap();
                disk.remove("old").await.unwrap();
            });
            sim.lose_power();
            let files = sim.files();
            assert!(files.contains(&"kept".to_string()));
            lost += usize::from(!files.contains(&"new".to_string()));
            back += usize::from(files.contains(&"old".to_string()));
        }
        assert!((20..80).contains(&lost) && (20..80).contains(&back), "{lost} lost, {back} back");
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_and_a_failed_one_poisons() {
        for seed in 0..50 {
            let sim = SimDisk::new(seed);
            block_on(async {
                let file = dirty(&sim).await;
                file.sync().await.unwrap();
                sim.fail(Fault::SyncError(0));
                file.write_at(0, &block(4)).await.unwrap();
                assert!(matches!(file.sync().await, Err(StorageError::Io { .. })));
                assert!(matches!(file.write_at(0, &block(5)).await, Err(StorageError::Poisoned { .. })));
            });
            sim.lose_power();
            let first = sim.contents("f").unwrap()[0];
            assert!(first == 3 || first == 4, "{first}");
        }
    }

    #[test]
    fn a_full_device_refuses_growth_only() {
        let sim = SimDisk::new(1);
        block_on(async {
            let file = dirty(&sim).await;
            sim.fail(Fault::FullAt(BLOCK_BYTES as u64));
            file.write_at(0, &block(4)).await.unwrap();
            assert!(matches!(file.allocate(2 * BLOCK_BYTES as u64).await, Err(StorageError::DiskFull { .. })));
            assert!(matches!(file.write_at(BLOCK_BYTES as u64, &block(4)).await, Err(StorageError::DiskFull { .. })));
        });
    }
}
