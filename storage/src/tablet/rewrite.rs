//! Flush and compaction, one routine (R14, R15).
//!
//! ```text
//! begin     choose inputs and c, pin c                                            (in one step)
//! build     merge the rows alive at c into sorted files; map input row -> output row   (slices)
//!           sync files and directory
//! edit      one in flight per tablet: F read now, deaths <= F of every file, outputs included
//!           manifest append, durable on return
//! switch    snapshots >= c read the outputs, older ones the inputs; positions go through the map   (in one step)
//! re-point  the index's positions, in slices
//! later     reclaim returns the inputs when no pin or fragment needs them
//! ```
//! A flush reads at c <= W. A rewrite of files reads at c <= F, because replay starts from the tablet as it was at F [compact-at-w]. (As
//! long as records carry whole rows, replay does not read what it replaces, and nothing shows the difference; partial updates will.)
//! Deaths that arrive while it runs are logged on the inputs and translated through the map, the last of them in the switch.

use super::merge::{self, Merge, Written, blank_map};
use super::policy::Rewrite;
use super::{DeleteWhere, Tablet};
use crate::delvector::roaring_bytes;
use crate::error::{ErrorKind, Result};
use crate::ids::{FileId, Seq};
use crate::manifest::{Edit, FileMeta, Manifest};
use crate::rowset::{RowMap, Rowset, RowsetData};
use crate::rules::{Rule, off};
use crate::segment::Segment;
use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use roaring::RoaringBitmap;
use std::rc::Rc;

/// Deaths translated, and index entries re-pointed, between two yields.
const SLICE: usize = 1024;

/// What a rewrite did.
#[derive(Clone, Debug, Default)]
pub struct RewriteReport {
    /// False when there was nothing to do yet: the memtable has a commit above W, or the files are gone.
    pub done: bool,
    /// c: snapshots from here on read the outputs.
    pub snapshot: Seq,
    /// F after it.
    pub flushed: Seq,
    /// Rows of the inputs, dead ones included.
    pub rows_in: u64,
    /// Rows written.
    pub rows_out: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Files that are part of the tablet from now on.
    pub added: Vec<FileId>,
    /// Files that are not any more; they go when nobody reads them.
    pub removed: Vec<FileId>,
}

/// A rewrite that has begun: it pins c until it ends, whichever way.
struct Job<'a> {
    tablet: &'a Tablet,
    flush: bool,
    c: Seq,
    inputs: Vec<Rc<Rowset>>,
    deletes: Vec<Rc<DeleteWhere>>,
    /// Outputs that have a slot and are not read yet.
    hidden: Vec<Rc<Rowset>>,
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        let mut state = self.tablet.state.borrow_mut();
        if let Some(n) = state.running.iter().position(|&c| c == self.c) {
            state.running.swap_remove(n);
        }
        for rowset in self.hidden.drain(..) {
            state.slots.free(rowset.slot);
        }
        let flag = if self.flush { &self.tablet.flushing } else { &self.tablet.compacting };
        flag.set(false);
    }
}

impl Tablet {
    /// Does a rewrite from begin to end. `w` is W. At most one flush and one compaction run at a time; another one reports
    /// `done: false`.
    ///
    /// Errors: before the edit, of the disk: nothing has changed. From the
    /// manifest: fatal for the process, because it is unknown whether the edit is durable.
    pub async fn rewrite(&self, kind: Rewrite, w: Seq, manifest: &Manifest) -> Result<RewriteReport> {
        self.rewrite_through(kind, w, async |edit| manifest.append(edit).await).await
    }

    /// The routine, with the durable append as a parameter.
    pub(crate) async fn rewrite_through(
        &self,
        kind: Rewrite,
        w: Seq,
        append: impl AsyncFn(Edit) -> Result<()>,
    ) -> Result<RewriteReport> {
        // Positions move through the index: it must be there first.
        self.index().await?;
        let Some(mut job) = self.begin(&kind, w) else { return Ok(RewriteReport::default()) };
        let (written, maps) = self.build(&job).await?;
        let result = self.finish(&mut job, &written, maps, append).await;
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::ResourceExhausted) {
            // R2: nothing has changed, and the disk may be full: the outputs must not fill it further at every attempt. What cannot be
            // removed now goes at the next start.
            let _ = self.unlink(&written.iter().map(|output| output.file).collect::<Vec<_>>()).await;
        }
        result
    }

    /// From the outputs to the switch.
    async fn finish(
        &self,
        job: &mut Job<'_>,
        written: &[Written],
        maps: Vec<Vec<u32>>,
        append: impl AsyncFn(Edit) -> Result<()>,
    ) -> Result<RewriteReport> {
        let mut deaths = Deaths::new(job, written, maps);
        self.prepare(job, written).await?;
        let turn = self.editing.hold().await;
        deaths.catch_up(self, job).await;
        let edit = self.edit(job).await;
        let (flushed, added, removed) = (edit.flushed, edit.added.clone(), edit.removed.clone());
        append(edit).await?;
        // The last deaths are translated and the switch made without an await between them.
        deaths.catch_up(self, job).await;
        let report = RewriteReport {
            done: true,
            snapshot: job.c,
            flushed,
            rows_in: job.inputs.iter().map(|rowset| u64::from(rowset.rows())).sum(),
            rows_out: written.iter().map(|w| u64::from(w.rows)).sum(),
            bytes_out: written.iter().map(|w| w.bytes).sum(),
            added: added.iter().map(|meta| meta.file).collect(),
            removed,
        };
        let moved = self.switch(job, written, deaths, flushed);
        drop(turn);
        self.repoint(&moved).await;
        Ok(report)
    }

    /// Chooses inputs and c, and pins c.
    fn begin(&self, kind: &Rewrite, w: Seq) -> Option<Job<'_>> {
        let flush = *kind == Rewrite::Flush;
        let flag = if flush { &self.flushing } else { &self.compacting };
        let w = if off(Rule::FlushAboveW) { self.applied() } else { w };
        if flag.get() {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let live = state.rowsets.iter().filter(|rowset| rowset.until.get() == Seq::MAX);
        let (c, inputs): (Seq, Vec<Rc<Rowset>>) = match kind {
            Rewrite::Flush => {
                let span = |rowset: &Rc<Rowset>| rowset.memtable().and_then(|m| m.span());
                let memtables: Vec<(Rc<Rowset>, Seq, Seq)> =
                    live.filter_map(|rowset| span(rowset).map(|(first, last)| (rowset.clone(), first, last))).collect();
                // R5: nothing above W is flushed. A transaction of several parts may lie in two memtables: both or none.
                let mut count = memtables.iter().take_while(|memtable| memtable.2 <= w).count();
                let begins = |n: usize| memtables.get(n).map_or(Seq::MAX, |next| next.1);
                while count > 0 && begins(count) <= memtables[count - 1].2 {
                    count -= 1;
                }
                // c reaches up to the first commit that stays in memory.
                let c = w.min(Seq(begins(count).0 - 1));
                (c, memtables.into_iter().take(count).map(|memtable| memtable.0).collect())
            }
            Rewrite::Compact(files) => {
                let wanted = |rowset: &&Rc<Rowset>| {
                    rowset.in_manifest.get() && rowset.file_id().is_some_and(|file| files.contains(&file))
                };
                (state.flushed, live.filter(wanted).cloned().collect())
            }
        };
        if flush {
            // The active memtable ends when it is flushed, or, with nothing else to flush, so that W passes its last commit.
            let memtables =
                state.rowsets.iter().filter(|r| r.until.get() == Seq::MAX && r.memtable().is_some()).count();
            let flushed = |active: &Rc<Rowset>| inputs.iter().any(|input| Rc::ptr_eq(input, active));
            if memtables == 1 || state.active.as_ref().is_some_and(flushed) {
                state.active = None;
            }
        }
        if inputs.is_empty() {
            return None;
        }
        state.running.push(c);
        let deletes = state.predicates.iter().filter(|delete| delete.seq <= c).cloned().collect();
        flag.set(true);
        Some(Job { tablet: self, flush, c, inputs, deletes, hidden: Vec::new() })
    }

    /// Writes the rows of the inputs that are alive at c, and syncs files and directory.
    async fn build(&self, job: &Job<'_>) -> Result<(Vec<Written>, Vec<Vec<u32>>)> {
        let mut merge = Merge::new(self.schema.clone(), self.env.clone());
        let mut maps = Vec::with_capacity(job.inputs.len());
        for (input, rowset) in job.inputs.iter().enumerate() {
            maps.push(blank_map(rowset.rows(), &self.env).await);
            let mut view = rowset.dead.borrow().view(job.c);
            let deletes = job.deletes.iter().filter(|delete| delete.seq > rowset.clean).cloned().collect::<Vec<_>>();
            let Some(memtable) = rowset.memtable() else {
                merge.add_file(input, rowset, view, deletes);
                continue;
            };
            let mut live = |first: u32, batch: &RecordBatch| -> Result<Option<BooleanBuffer>> {
                let mut mask = view.live(&rowset.dead.borrow(), first, batch.num_rows() as u32);
                for delete in &deletes {
                    // Only rows older than the delete.
                    let old = memtable.rows_at(Seq(delete.seq.0 - 1)).saturating_sub(first) as usize;
                    let matches = merge::matches_all(delete, batch)?;
                    let lives = BooleanBuffer::collect_bool(batch.num_rows(), |row| row >= old || !matches.value(row));
                    mask = Some(mask.map_or(lives.clone(), |mask| &mask & &lives));
                }
                Ok(mask)
            };
            merge.add_memory(input, &memtable.batches(memtable.rows())?, Some(&mut live)).await?;
        }
        let written = merge.write(self, &mut maps).await?;
        Ok((written, maps))
    }

    /// Opens the outputs and gives them slots, so that nothing can fail once the edit is durable.
    async fn prepare(&self, job: &mut Job<'_>, written: &[Written]) -> Result<()> {
        let (min_seq, max_seq) = (merge::oldest(&job.inputs), merge::newest(&job.inputs));
        for file in written {
            let segment = Segment::open(&self.env.disk, &self.env.cache, &file.file.path(), file.file).await?;
            let meta = FileMeta { file: file.file, rows: file.rows, bytes: file.bytes, min_seq, max_seq };
            let mut state = self.state.borrow_mut();
            let from = if off(Rule::SwitchOld) { Seq::ZERO } else { job.c };
            let rowset = state.add_rowset(RowsetData::File { segment, meta }, from, job.c)?;
            state.rowsets.pop();
            job.hidden.push(rowset);
        }
        Ok(())
    }

    /// R15: the edit, built when no other of this tablet is on its way: F as it is now, or as this flush makes it, and the deaths up to it
    /// on every file, outputs included [stale-f, edit-no-dels, edit-others-only].
    ///
    /// The deaths are gathered in slices after the rest is chosen, in one step. They are complete then, because nothing above W is
    /// flushed, and stay, because those above the old F are not folded.
    async fn edit(&self, job: &Job<'_>) -> Edit {
        let (mut edit, dying) = self.edit_without_deaths(job);
        for (file, rowset, after) in dying {
            let deaths = self.deaths(&rowset, after, edit.flushed).await;
            if !deaths.is_empty() {
                edit.deletes.push((file, roaring_bytes(&deaths)));
            }
        }
        edit
    }

    /// The edit, and for each file the rowset whose deaths after a number belong to it.
    fn edit_without_deaths(&self, job: &Job<'_>) -> (Edit, Vec<(FileId, Rc<Rowset>, Seq)>) {
        let state = self.state.borrow();
        let now = if off(Rule::StaleF) { job.c } else { state.flushed };
        let (before, flushed) = (state.flushed, if job.flush { job.c.max(state.flushed) } else { now });
        let mut edit = Edit { tablet: self.id, flushed, next_file: state.next_file, ..Edit::default() };
        let (mut clean, mut dying) = (flushed, Vec::new());
        for rowset in state.rowsets.iter().filter(|rowset| rowset.until.get() == Seq::MAX) {
            let Some((_, meta)) = rowset.file() else { continue };
            if job.inputs.iter().any(|input| Rc::ptr_eq(input, rowset)) {
                edit.removed.push(meta.file);
            } else if rowset.in_manifest.get() || meta.max_seq <= flushed {
                if !rowset.in_manifest.get() {
                    edit.added.push(meta.clone());
                }
                dying.push((meta.file, rowset.clone(), before));
                clean = clean.min(rowset.clean);
            }
        }
        for output in &job.hidden {
            if let Some((_, meta)) = output.file() {
                edit.added.push(meta.clone());
                dying.push((meta.file, output.clone(), job.c));
                clean = clean.min(output.clean);
            }
        }
        // A delete predicate is kept as long as a file has still to apply it.
        edit.predicates_folded = clean;
        let kept = state.predicates.iter().filter(|p| p.seq > before && p.seq <= flushed && p.seq > clean);
        edit.predicates = kept.map(|p| (p.seq, p.predicates.clone())).collect();
        (edit, dying)
    }

    /// The rows that died with a number in (after, through], gathered in slices.
    async fn deaths(&self, rowset: &Rowset, after: Seq, through: Seq) -> RoaringBitmap {
        let (mut rows, mut next) = (RoaringBitmap::new(), rowset.dead.borrow().position_after(after));
        let end = rowset.dead.borrow().position_after(through);
        while next < end {
            let slice = (end - next).min(SLICE as u64);
            rows.extend(rowset.dead.borrow().logged_from(next).take(slice as usize).map(|death| death.0));
            next += slice;
            self.env.disk.yield_now().await;
        }
        rows
    }

    /// R14: one step. Returns the slots whose positions go through a map from now on.
    fn switch(&self, job: &mut Job<'_>, written: &[Written], deaths: Deaths, flushed: Seq) -> Vec<u16> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let outputs: Rc<[(u32, u16)]> = written.iter().zip(&job.hidden).map(|(w, r)| (w.first, r.slot)).collect();
        let (tickets, history) = (self.tickets.next(), state.history.end());
        let mut moved = Vec::with_capacity(job.inputs.len());
        for (input, to) in job.inputs.iter().zip(deaths.maps) {
            input.until.set(if off(Rule::SwitchOld) { Seq::ZERO } else { job.c });
            state.slots.set_moved(input.slot, RowMap::new(to, outputs.clone()), tickets, history);
            moved.push(input.slot);
        }
        for rowset in &state.rowsets {
            if rowset.file().is_some_and(|(_, meta)| meta.max_seq <= flushed) {
                rowset.in_manifest.set(true);
            }
        }
        for output in job.hidden.drain(..) {
            output.in_manifest.set(true);
            state.rowsets.push(output);
        }
        state.flushed = flushed;
        if off(Rule::RedoMemoryOnly) {
            state.recent.prune(None);
        }
        moved
    }

    /// Translates the index's positions, in slices; until then probes go through the maps.
    async fn repoint(&self, moved: &[u16]) {
        let (mut cursor, mut done) = (0, !self.is_primary());
        while !done {
            {
                let mut state = self.state.borrow_mut();
                let state = &mut *state;
                let slots = &state.slots;
                done = state.index.replace_moved(&mut cursor, SLICE, |locator| slots.resolve(locator));
            }
            self.env.disk.yield_now().await;
        }
        self.state.borrow_mut().slots.set_repointed(moved);
    }
}

/// The deaths on the inputs since c, as they are carried over to the outputs in the order of their numbers.
struct Deaths {
    maps: Vec<Vec<u32>>,
    /// First ordinal of each output.
    firsts: Vec<u32>,
    /// How far each input's log has been carried over.
    read: Vec<u64>,
}

impl Deaths {
    fn new(job: &Job<'_>, written: &[Written], maps: Vec<Vec<u32>>) -> Deaths {
        let read = job.inputs.iter().map(|input| input.dead.borrow().position_after(job.c)).collect();
        Deaths { maps, firsts: written.iter().map(|w| w.first).collect(), read }
    }

    /// Carries over all there are; on return nothing has happened since the last one.
    async fn catch_up(&mut self, tablet: &Tablet, job: &Job<'_>) {
        while !self.slice(job) {
            tablet.env.disk.yield_now().await;
        }
    }

    /// Up to [`SLICE`] deaths, lowest number first; whether that was all.
    fn slice(&mut self, job: &Job<'_>) -> bool {
        for _ in 0..SLICE {
            let next = |(n, input): (usize, &Rc<Rowset>)| {
                input.dead.borrow().logged_from(self.read[n]).next().map(|(row, seq)| (seq, n, row))
            };
            let Some((seq, input, row)) = job.inputs.iter().enumerate().filter_map(next).min() else { return true };
            self.read[input] += 1;
            let ordinal = self.maps[input][row as usize];
            if ordinal != RowMap::DROPPED && !off(Rule::NoTranslate) {
                let output = self.firsts.partition_point(|&first| first <= ordinal) - 1;
                job.hidden[output].dead.borrow_mut().insert(ordinal - self.firsts[output], seq);
            }
        }
        false
    }
}
