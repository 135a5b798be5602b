//! The manifest of one core: an append-only log of edits with checkpoints, which says what files each tablet has and through which
//! number it is flushed (R15). The catalog log is the same machinery with the engine's bytes as edits.
//!
//! Lives on one core. An edit is durable when [`Manifest::append`] returns; edits of concurrent callers share one fdatasync.

mod state;

pub use state::{Edit, FileMeta, TabletState};

use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::{Seq, TabletId};
use bytes::Bytes;
use std::rc::Rc;

/// What a manifest file starts from: given out by recovery, sent to the owner core.
#[derive(Clone, Debug)]
pub struct ManifestImage {}

/// What the catalog log starts from.
#[derive(Clone, Debug, Default)]
pub struct CatalogImage {
    /// The number up to which the checkpoint and the edits tell the catalog's state (its F).
    pub flushed: Seq,
    /// The engine's whole catalog; empty before the first checkpoint.
    pub checkpoint: Bytes,
    /// Changes since the checkpoint, ascending.
    pub edits: Vec<(Seq, Bytes)>,
    /// DDL parts of commit records above `flushed`, up to the cut, ascending (R10): what replay applies last.
    pub records: Vec<(Seq, Bytes)>,
}

/// The manifest of this core.
pub struct Manifest {
    _private: (),
}

impl Manifest {
    /// Opens the manifest that recovery has left for this core.
    pub async fn open(_disk: DiskRef, _image: ManifestImage) -> Result<Rc<Manifest>> {
        Err(StorageError::Closed("manifest"))
    }

    /// Appends an edit; durable on return. An error is fatal for the process: what the file holds is unknown.
    pub async fn append(&self, _edit: Edit) -> Result<()> {
        Err(StorageError::Closed("manifest"))
    }

    /// Writes a checkpoint into a new file and switches to it when the edits since the last one outweigh it.
    pub async fn checkpoint_if_due(&self) -> Result<bool> {
        Err(StorageError::Closed("manifest"))
    }

    /// F of a tablet as the disk has it; `None` for a tablet without an edit.
    pub fn flushed(&self, _tablet: TabletId) -> Option<Seq> {
        None
    }

    /// The greatest F ever written here, dropped tablets included (R15: marks never decrease).
    pub fn mark(&self) -> Seq {
        Seq::ZERO
    }
}

/// The catalog log of core 0.
pub struct CatalogLog {
    _private: (),
}

impl CatalogLog {
    /// Opens the catalog log that recovery has left.
    pub async fn open(_disk: DiskRef, _image: ManifestImage) -> Result<Rc<CatalogLog>> {
        Err(StorageError::Closed("catalog log"))
    }

    /// Appends a change of the catalog with number `seq` <= W; durable on return. Numbers ascend, and every change up to `seq` is in it.
    pub async fn append(&self, _seq: Seq, _edit: Bytes) -> Result<()> {
        Err(StorageError::Closed("catalog log"))
    }

    /// Whether the edits since the last checkpoint outweigh it.
    pub fn checkpoint_due(&self) -> bool {
        false
    }

    /// Writes the whole catalog as it is at `seq` <= W and switches to it.
    pub async fn checkpoint(&self, _seq: Seq, _catalog: Bytes) -> Result<()> {
        Err(StorageError::Closed("catalog log"))
    }

    /// F of the catalog.
    pub fn flushed(&self) -> Seq {
        Seq::ZERO
    }
}
