//! Publish: a committed record becomes part of the tablet (R4, R6), live and in replay by the same code.
//!
//! Nothing here fails in a way a caller could mend: the number is taken, so an error ends the process. A staged batch is applied
//! without I/O. Work is done in slices; between them a snapshot below the commit's number reads what it read before, because
//! the new rows and the deaths they cause carry that number, and a staging transaction takes a ticket before it looks.

use super::stage::{ProbedKeys, Staged, StagedBody, StagedRows, StagedSegment};
use super::{Applied, DeleteWhere, State, Tablet};
use crate::error::{Result, StorageError};
use crate::ids::Seq;
use crate::index::Locator;
use crate::log::{PartBody, TabletPart};
use crate::manifest::FileMeta;
use crate::rows;
use crate::rowset::RowsetData;
use crate::rules::{Rule, off};
use crate::schema::Predicate;
use arrow::array::RecordBatch;
use std::ops::Range;
use std::rc::Rc;

impl Tablet {
    /// Applies the tablet's part of commit `seq`. `staged` is what [`Tablet::stage`] returned for it; without it (replay) the
    /// record is staged here first, which may read files.
    ///
    /// Errors: fatal for the process; the number is taken.
    pub async fn apply(&self, seq: Seq, part: &TabletPart, staged: Option<Staged>) -> Result<Applied> {
        if seq < self.applied() {
            return Err(StorageError::Invalid(format!("commit {seq} after {} on tablet {}", self.applied(), self.id)));
        }
        let staged = match staged {
            Some(staged) => staged,
            None => self.stage_record(part).await?,
        };
        // The ticket stays open until the end: it keeps the positions in `staged` translatable.
        let (p, applied) = (staged.ticket.p, staged.body);
        let applied = match applied {
            StagedBody::Memory(rows) => self.apply_rows(seq, p, rows).await?,
            StagedBody::Files(files) => self.apply_files(seq, p, files).await?,
            StagedBody::DeleteWhere(predicates) => self.apply_delete(seq, predicates)?,
        };
        let mut state = self.state.borrow_mut();
        state.applied = seq;
        state.last_written = seq;
        state.turns += 1;
        drop(staged.ticket);
        let least = self.tickets.least();
        state.recent.prune(least);
        Ok(applied)
    }

    /// Applies a record found by recovery; the caller gives exactly those above F, in order (R15).
    pub async fn replay(&self, seq: Seq, part: &TabletPart) -> Result<()> {
        self.apply(seq, part, None).await.map(|_| ())
    }

    async fn stage_record(&self, part: &TabletPart) -> Result<Staged> {
        if part.tablet != self.id {
            return Err(StorageError::Invalid(format!("a record of tablet {} for tablet {}", part.tablet, self.id)));
        }
        match &part.body {
            PartBody::Rows(bytes) => self.stage_again(rows::decode(&self.schema, bytes)?, part.clone()).await,
            PartBody::Files(files) => {
                self.index().await?;
                let ticket = self.open_ticket();
                let mut segments = Vec::with_capacity(files.len());
                for file in files {
                    segments.push(self.open_staged(*file).await?);
                }
                Ok(Staged { part: part.clone(), body: StagedBody::Files(segments), ticket })
            }
            PartBody::DeleteWhere(predicates) => self.stage_delete(predicates.clone()),
            PartBody::Ddl(_) => Err(StorageError::Invalid("a catalog change is not a tablet's".into())),
        }
    }

    async fn apply_rows(&self, seq: Seq, p: u64, rows: StagedRows) -> Result<Applied> {
        let count = rows.upserts.num_rows();
        let (slot, first) = self.append(seq, &rows.upserts)?;
        let at = |i: usize| if i < count { Locator { slot, row: first + i as u32 } } else { Locator::NONE };
        let mut applied = Applied { upserted: count as u64, ..Applied::default() };
        applied.replaced = self.publish(seq, p, &rows.keys, 0..count.min(rows.keys.keys.tags.len()), &at).await;
        applied.deleted = self.publish(seq, p, &rows.keys, count..rows.keys.keys.tags.len(), &at).await;
        Ok(applied)
    }

    /// R6: a big batch is attached as the rowsets it was written as; its keys are folded into the index in slices.
    async fn apply_files(&self, seq: Seq, p: u64, files: Vec<StagedSegment>) -> Result<Applied> {
        let mut applied = Applied::default();
        // An empty commit in the memtable: it is dirty until a flush has put the files into the manifest.
        self.append(seq, &RecordBatch::new_empty(self.arrow.clone()))?;
        for staged in files {
            let (file, keys) = (staged.file, 0..staged.keys.keys.tags.len());
            self.state.borrow_mut().next_file_after(file.file.number);
            if file.deletes {
                applied.deleted += self.publish(seq, p, &staged.keys, keys, &|_| Locator::NONE).await;
                continue;
            }
            let meta = FileMeta { file: file.file, rows: file.rows, bytes: file.bytes, min_seq: seq, max_seq: seq };
            let data = RowsetData::File { segment: staged.segment, meta };
            let slot = self.state.borrow_mut().add_rowset(data, seq, seq)?.slot;
            let at = |i: usize| Locator { slot, row: i as u32 };
            applied.replaced += self.publish(seq, p, &staged.keys, keys, &at).await;
            applied.upserted += u64::from(file.rows);
        }
        Ok(applied)
    }

    fn apply_delete(&self, seq: Seq, predicates: Vec<Predicate>) -> Result<Applied> {
        self.append(seq, &RecordBatch::new_empty(self.arrow.clone()))?;
        let mut state = self.state.borrow_mut();
        let mut all: Vec<Rc<DeleteWhere>> = state.predicates.to_vec();
        all.push(Rc::new(DeleteWhere { seq, predicates }));
        state.predicates = Rc::new(all);
        Ok(Applied::default())
    }

    /// Adds the rows to the memtable; slot and first row.
    fn append(&self, seq: Seq, rows: &RecordBatch) -> Result<(u16, u32)> {
        let mut state = self.state.borrow_mut();
        state.seal_if_full(&self.env.limits);
        let active = state.active(self)?;
        let memtable = active.memtable().expect("the active rowset is a memtable");
        Ok((active.slot, memtable.append(seq, rows)?))
    }

    /// Points keys at their new positions and marks what they replace, slice by slice; how many replaced something.
    async fn publish(
        &self,
        seq: Seq,
        p: u64,
        keys: &ProbedKeys,
        range: Range<usize>,
        at: &dyn Fn(usize) -> Locator,
    ) -> u64 {
        let (mut replaced, slice) = (0, self.env.limits.slice_rows.max(1));
        let mut next = range.start;
        while next < range.end {
            let end = range.end.min(next + slice);
            // Others than this batch's own ticket: only they will ask what was written.
            let remember = self.tickets.count() > 1;
            replaced += self.state.borrow_mut().publish(seq, p, keys, next..end, at, remember);
            next = end;
            if next < range.end {
                self.env.disk.yield_now().await;
            }
        }
        replaced
    }
}

impl State {
    pub(super) fn next_file_after(&mut self, number: u64) {
        self.next_file = self.next_file.max(number + 1);
    }

    fn publish(
        &mut self,
        seq: Seq,
        p: u64,
        keys: &ProbedKeys,
        range: Range<usize>,
        at: &dyn Fn(usize) -> Locator,
        remember: bool,
    ) -> u64 {
        let tags = &keys.keys.tags[range.clone()];
        let mut old = Vec::with_capacity(tags.len());
        if keys.keys.keys.is_some() {
            self.publish_hashed(seq, p, keys, range, at, remember, &mut old);
        } else if range.is_empty() || at(range.start).is_none() {
            self.index.erase(tags, &mut old);
        } else {
            self.index.upsert(tags, |i| at(range.start + i), &mut old);
        }
        let mut replaced = 0;
        for (&tag, &old) in tags.iter().zip(&old) {
            let old = self.slots.resolve(old);
            if let Some(rowset) = self.slots.rowset(old.slot) {
                rowset.dead.borrow_mut().insert(old.row, seq);
                self.history.push(tag, seq, old);
                replaced += 1;
            }
        }
        replaced
    }

    /// R6: takes the verified position of each key, or where a commit after p has put it.
    fn publish_hashed(
        &mut self,
        seq: Seq,
        p: u64,
        keys: &ProbedKeys,
        range: Range<usize>,
        at: &dyn Fn(usize) -> Locator,
        remember: bool,
        replaced: &mut Vec<Locator>,
    ) {
        let Some(encoded) = &keys.keys.keys else { return };
        let turn = self.turns + 1;
        let recent = remember.then(|| self.recent.begin(turn, encoded));
        for i in range {
            let (tag, new) = (keys.keys.tags[i], at(i));
            let rewritten = if off(Rule::NoRedo) { None } else { self.recent.find(tag, encoded.get(i), p) };
            let old = match rewritten {
                None if off(Rule::StagedStale) => keys.at[i],
                known => self.slots.resolve(known.unwrap_or(keys.at[i])),
            };
            let slots = &self.slots;
            let here = |entry: Locator| slots.resolve(entry) == old;
            match (old.is_none(), new.is_none()) {
                (true, true) => {}
                (true, false) => self.index.insert(tag, new),
                (false, true) => {
                    self.index.erase_where(tag, here);
                }
                (false, false) => {
                    self.index.replace_where(tag, new, here);
                }
            }
            replaced.push(old);
            if let Some(number) = recent {
                self.recent.add(tag, turn, number, i as u32, new);
            }
        }
        debug_assert!(seq >= self.applied);
    }
}
