//! Files, behind two small traits, so that a simulator can stand in for the device.
//!
//! | part | what |
//! |---|---|
//! | `glommio.rs` | [`GlommioDisk`]: O_DIRECT files on the io_uring of the core it was opened on |
//! | `sim.rs` | [`SimDisk`]: a machine in memory that can lose its power |
//! | `lock.rs` | [`DirLock`]: one process per data directory |
//!
//! A [`Disk`] belongs to one core and is not `Send`. Paths are relative to the data directory. The calls are boxed futures: the
//! cost is nothing beside an I/O. After a failed write or sync a file is poisoned: what it holds is unknown (R2).

mod glommio;
mod lock;
mod sim;

pub use glommio::GlommioDisk;
pub use lock::DirLock;
pub use sim::{Fault, SimDisk};

use crate::error::Result;
use async_trait::async_trait;
use bytes::Bytes;
use std::rc::Rc;

/// Unit of writing: every offset and length written is a multiple of it.
pub const BLOCK_BYTES: usize = 4096;

/// A shared disk of this core.
pub type DiskRef = Rc<dyn Disk>;
/// A shared open file of this core.
pub type FileRef = Rc<dyn DiskFile>;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The last component of the path.
    pub name: String,
    /// Length in bytes; 0 for a directory.
    pub bytes: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// The data directory as one core sees it.
#[async_trait(?Send)]
pub trait Disk {
    /// Creates a file, or empties the one that is there. The name is durable after [`Disk::sync_dir`] only.
    async fn create(&self, path: &str) -> Result<FileRef>;
    /// Opens a file for reading and writing. Errors: `NotFound`.
    async fn open(&self, path: &str) -> Result<FileRef>;
    /// Removes a name; open files stay readable.
    async fn remove(&self, path: &str) -> Result<()>;
    /// Renames within one directory, replacing what was there.
    async fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// The names of a directory, sorted; `""` is the data directory itself. Errors: `NotFound`.
    async fn list(&self, dir: &str) -> Result<Vec<DirEntry>>;
    /// Creates a directory; nothing happens when it is there.
    async fn create_dir(&self, dir: &str) -> Result<()>;
    /// Makes the names of a directory durable; `""` is the data directory itself.
    async fn sync_dir(&self, dir: &str) -> Result<()>;
    /// Called in loops of computation: gives the core to others when the caller's time slice is used up (P7).
    async fn yield_now(&self);
    /// Microseconds of a clock that never goes back.
    fn now_micros(&self) -> u64;
}

/// An open file.
#[async_trait(?Send)]
pub trait DiskFile {
    /// Reads `len` bytes at any alignment. Errors: `Corrupt` when the file ends before them.
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes>;
    /// Writes whole blocks: `offset` and the length are multiples of [`BLOCK_BYTES`]. Durable after [`DiskFile::sync`] only.
    async fn write_at(&self, offset: u64, data: &[u8]) -> Result<()>;
    /// fdatasync: what was written before the call is durable on return. Poisons the file when it fails.
    async fn sync(&self) -> Result<()>;
    /// Reserves space, so that writing up to `len` bytes cannot find the device full. The length becomes `len` at least.
    async fn allocate(&self, len: u64) -> Result<()>;
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Whether nothing was ever written.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Closes the descriptor; further calls fail. Dropping the last reference closes it as well, a moment later.
    async fn close(&self) -> Result<()>;
    /// Path relative to the data directory, as it was opened.
    fn path(&self) -> &str;
}
