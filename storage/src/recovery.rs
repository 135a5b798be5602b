//! Starting (R16, R17): reads every log and manifest, syncs what it read, cuts, writes the root, makes the new generation.

use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::{CoreId, Epoch, Seq, TabletId};
use crate::log::TabletPart;
use crate::manifest::{CatalogImage, ManifestImage, TabletState};
use std::collections::HashMap;

/// Says which tablets there are at the cut and who owns each, from the catalog just recovered (R17: placement is a catalog map). A
/// tablet that is not named was dropped: its files and records are passed over.
pub type Placement<'a> = &'a dyn Fn(&CatalogImage) -> Result<HashMap<TabletId, CoreId>>;

/// What a start found. `Send`: core 0 recovers, the owners replay.
pub struct Recovered {
    /// The epoch of this start; its logs carry it.
    pub epoch: Epoch,
    /// W of this start: every number up to it is in the database, none above it is. The sequencer goes on with the next.
    pub cut: Seq,
    /// Every tablet that [`Placement`] named, those without a file included.
    pub tablets: HashMap<TabletId, TabletImage>,
    /// The catalog.
    pub catalog: CatalogImage,
    /// The manifest of each core, in order.
    pub manifests: Vec<ManifestImage>,
    /// The catalog log.
    pub catalog_log: ManifestImage,
    /// The segments of older epochs that are still needed.
    pub old_logs: OldLogs,
}

/// A tablet: its files at F and the records above F.
pub struct TabletImage {
    /// Its owner from now on.
    pub owner: CoreId,
    /// What its files tell.
    pub state: TabletState,
    /// Exactly the parts above its F up to the cut, ascending: the owner replays them (R15).
    pub records: Vec<(Seq, TabletPart)>,
}

/// Segments of older epochs: core 0 removes them as the tablets named in them are flushed.
#[derive(Debug, Default)]
pub struct OldLogs {}

impl OldLogs {
    /// R15, as [`crate::log::Log::recycle`]: removes segments that nobody needs. Returns how many are left.
    pub async fn recycle(
        &mut self,
        _disk: &DiskRef,
        _flushed: &dyn Fn(TabletId) -> Option<Seq>,
        _mark: Seq,
    ) -> Result<usize> {
        Ok(0)
    }

    /// The tablets that hold old segments back, each with the last number that names it there.
    pub fn holders(&self) -> Vec<(TabletId, Seq)> {
        Vec::new()
    }

    /// Bytes of the segments that are left.
    pub fn bytes(&self) -> u64 {
        0
    }
}

/// Starts: see the rules R16 and R17. `cores` may differ from the last start's. An empty directory gives epoch 1, cut 0.
///
/// Errors: `Corrupt` names file, offset, expected and found; nothing was changed then, but for syncs.
pub async fn recover(_disk: &DiskRef, _cores: u16, _placement: Placement<'_>) -> Result<Recovered> {
    Err(StorageError::Closed("recovery"))
}
