//! The manifest of one core: an append-only log of edits with checkpoints, which says what files each tablet has and through which
//! number it is flushed (R15). The catalog log is the same machinery with the engine's bytes as edits.
//!
//! | part | what |
//! |---|---|
//! | `state.rs` | [`Edit`], [`TabletState`] and how one changes the other |
//! | `codec.rs` | the records of a file |
//! | `stream.rs` | appending, checkpoints, switching files |
//! | `load.rs` | reading back at a start |
//!
//! Lives on one core. An edit is durable when [`Manifest::append`] returns; edits of concurrent callers share one fdatasync. `FORMAT.md` draws the
//! bytes.

pub(crate) mod codec;
pub(crate) mod load;
mod state;
pub(crate) mod stream;
#[cfg(test)]
mod tests;

pub use state::{Edit, FileMeta, TabletState};

use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::{Seq, TabletId};
use crate::log::block::Frames;
use crate::rules::{Rule, off};
use bytes::Bytes;
use codec::Record;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use stream::{EditStream, StreamEnd};

/// What the manifest of a core starts from: given out by recovery, sent to the owner core.
#[derive(Clone, Debug)]
pub struct ManifestImage {
    pub(crate) end: StreamEnd,
    pub(crate) mark: Seq,
    pub(crate) tablets: BTreeMap<TabletId, TabletState>,
}

/// What the catalog log starts from.
#[derive(Clone, Debug, Default)]
pub struct CatalogImage {
    /// The number up to which the checkpoint and the edits tell the catalog's state (its F).
    pub flushed: Seq,
    /// The number of the checkpoint.
    pub checkpoint_seq: Seq,
    /// The engine's whole catalog at that number; empty before the first checkpoint.
    pub checkpoint: Bytes,
    /// Changes since the checkpoint, ascending.
    pub edits: Vec<(Seq, Bytes)>,
    /// DDL parts of commit records above `flushed`, up to the cut, ascending (R10): what replay applies last.
    pub records: Vec<(Seq, Bytes)>,
    pub(crate) end: Option<StreamEnd>,
}

/// What edits change when they are durable.
struct States {
    tablets: RefCell<BTreeMap<TabletId, TabletState>>,
    mark: Cell<Seq>,
}

/// The manifest of this core.
pub struct Manifest {
    stream: EditStream,
    states: Rc<States>,
}

impl Manifest {
    /// Opens the manifest that recovery has left for this core.
    pub async fn open(disk: DiskRef, image: ManifestImage) -> Result<Rc<Manifest>> {
        let states = Rc::new(States { tablets: RefCell::new(image.tablets), mark: Cell::new(image.mark) });
        Ok(Rc::new(Manifest { stream: EditStream::open(disk, image.end).await?, states }))
    }

    /// Appends an edit; durable on return, and then [`Manifest::flushed`] tells it. The caller has synced the files it names and their
    /// directory, and has no other edit of this tablet on its way (R15).
    ///
    /// Errors: `DiskFull` and `Corrupt` (an edit that does not fit the state) change nothing; any other is fatal for the process, because
    /// what the file holds is unknown.
    pub async fn append(&self, edit: Edit) -> Result<()> {
        let edit = broken_for_tests(edit);
        let (tablet, flushed, states) = (edit.tablet, edit.flushed, Rc::clone(&self.states));
        if edit.dropped {
            return self.stream.append(&Record::Edit(&edit), move || states.take_in(tablet, flushed, None)).await;
        }
        // Made on a copy first: what is durable must always replay. No other edit of this tablet can come between.
        let mut state = self.state(tablet);
        state.apply_but_deletes(&edit)?;
        for (file, bytes) in &edit.deletes {
            state.add_deletes(*file, bytes)?;
            self.stream.disk().yield_now().await;
        }
        self.stream.append(&Record::Edit(&edit), move || states.take_in(tablet, flushed, Some(state))).await
    }

    /// Writes a checkpoint into a new file and switches to it when the edits since the last one outweigh it; whether it did. Errors of the
    /// disk leave the old file in use, unless it is poisoned.
    pub async fn checkpoint_if_due(&self) -> Result<bool> {
        if !self.stream.checkpoint_due() {
            return Ok(false);
        }
        self.checkpoint().await?;
        Ok(true)
    }

    pub(crate) async fn checkpoint(&self) -> Result<()> {
        let records = async || {
            let mut checkpoint = Checkpoint::begin(self.states.mark.get());
            let ids: Vec<TabletId> = self.states.tablets.borrow().keys().copied().collect();
            for tablet in ids {
                if let Some(state) = self.states.tablets.borrow().get(&tablet) {
                    checkpoint.add(tablet, state);
                }
                self.stream.disk().yield_now().await;
            }
            checkpoint.end()
        };
        self.stream.checkpoint(records).await
    }

    /// The state of a tablet as the disk has it; the default one for a tablet without an edit.
    pub fn state(&self, tablet: TabletId) -> TabletState {
        self.states.tablets.borrow().get(&tablet).cloned().unwrap_or_default()
    }

    /// F of a tablet as the disk has it; `None` for a tablet without an edit.
    pub fn flushed(&self, tablet: TabletId) -> Option<Seq> {
        self.states.tablets.borrow().get(&tablet).map(|s| s.flushed)
    }

    /// The greatest F ever written here, dropped tablets included (R15: marks never decrease).
    pub fn mark(&self) -> Seq {
        self.states.mark.get()
    }
}

/// Applies what a rule that is switched off would have done wrong.
fn broken_for_tests(mut edit: Edit) -> Edit {
    let added: Vec<_> = edit.added.iter().map(|f| f.file).collect();
    if off(Rule::EditNoDels) {
        edit.deletes.retain(|(file, _)| added.contains(file));
    }
    if off(Rule::EditOthersOnly) {
        edit.deletes.retain(|(file, _)| !added.contains(file));
    }
    edit
}

impl States {
    /// What a tablet is from now on; `None`: dropped.
    fn take_in(&self, tablet: TabletId, flushed: Seq, state: Option<TabletState>) {
        self.mark.set(self.mark.get().max(flushed));
        match state {
            Some(state) => self.tablets.borrow_mut().insert(tablet, state),
            None => self.tablets.borrow_mut().remove(&tablet),
        };
    }
}

/// The records of a manifest's checkpoint in the making.
struct Checkpoint {
    frames: Frames,
    count: u64,
}

impl Checkpoint {
    fn begin(mark: Seq) -> Checkpoint {
        let mut frames = Frames::default();
        frames.push(|out| Record::Begin { mark }.encode(out));
        Checkpoint { frames, count: 0 }
    }

    fn add(&mut self, tablet: TabletId, state: &TabletState) {
        self.frames.push(|out| Record::Tablet { tablet, state }.encode(out));
        self.count += 1;
    }

    fn end(mut self) -> Frames {
        self.frames.push(|out| Record::End { count: self.count }.encode(out));
        self.frames
    }
}

/// The records of a manifest's checkpoint.
pub(crate) fn checkpoint_frames(tablets: &BTreeMap<TabletId, TabletState>, mark: Seq) -> Frames {
    let mut checkpoint = Checkpoint::begin(mark);
    tablets.iter().for_each(|(&tablet, state)| checkpoint.add(tablet, state));
    checkpoint.end()
}

/// The records of a catalog checkpoint, with the edits behind it.
pub(crate) fn catalog_frames(seq: Seq, catalog: &[u8], edits: &[(Seq, Bytes)]) -> Frames {
    let mut frames = Frames::default();
    frames.push(|out| Record::Begin { mark: seq }.encode(out));
    frames.push(|out| Record::Catalog { seq, bytes: catalog }.encode(out));
    frames.push(|out| Record::End { count: 1 }.encode(out));
    for (seq, bytes) in edits {
        frames.push(|out| Record::CatalogEdit { seq: *seq, bytes }.encode(out));
    }
    frames
}

/// What the catalog log knows to be durable.
struct CatalogStates {
    flushed: Cell<Seq>,
    /// Edits behind the checkpoint: a checkpoint at an older number takes the rest along.
    edits: RefCell<Vec<(Seq, Bytes)>>,
}

/// The catalog log of core 0: numbered changes and checkpoints in the engine's own bytes (R10).
pub struct CatalogLog {
    stream: EditStream,
    states: Rc<CatalogStates>,
}

impl CatalogLog {
    /// Opens the catalog log that recovery has left.
    ///
    /// Errors: `Invalid` for an image that recovery has not made.
    pub async fn open(disk: DiskRef, image: &CatalogImage) -> Result<Rc<CatalogLog>> {
        let end =
            image.end.clone().ok_or_else(|| StorageError::Invalid("a catalog image without a file".to_string()))?;
        let states = CatalogStates { flushed: Cell::new(image.flushed), edits: RefCell::new(image.edits.clone()) };
        Ok(Rc::new(CatalogLog { stream: EditStream::open(disk, end).await?, states: Rc::new(states) }))
    }

    /// Appends a change of the catalog with number `seq` <= W (R5); durable on return. Numbers ascend, and every change up to `seq` is in.
    pub async fn append(&self, seq: Seq, edit: Bytes) -> Result<()> {
        let (states, kept) = (Rc::clone(&self.states), edit.clone());
        let durable = move || {
            states.flushed.set(states.flushed.get().max(seq));
            states.edits.borrow_mut().push((seq, kept));
        };
        self.stream.append(&Record::CatalogEdit { seq, bytes: &edit }, durable).await
    }

    /// Whether the edits since the last checkpoint outweigh it.
    pub fn checkpoint_due(&self) -> bool {
        self.stream.checkpoint_due()
    }

    /// Writes the whole catalog as it is at `seq` <= W and switches to it.
    pub async fn checkpoint(&self, seq: Seq, catalog: Bytes) -> Result<()> {
        let states = &self.states;
        let records = async || {
            states.edits.borrow_mut().retain(|(s, _)| *s > seq);
            catalog_frames(seq, &catalog, &states.edits.borrow())
        };
        self.stream.checkpoint(records).await?;
        states.flushed.set(states.flushed.get().max(seq));
        Ok(())
    }

    /// F of the catalog.
    pub fn flushed(&self) -> Seq {
        self.states.flushed.get()
    }
}
