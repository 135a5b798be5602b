//! When a tablet should be rewritten: pure functions of sizes, ages and the core's needs.

use super::{Tablet, TabletLimits};
use crate::ids::{FileId, Seq};
use crate::rowset::RowsetData;

/// Files compacted together at most: each holds a block of its rows in memory, and the row map has four bytes for every row.
const TOGETHER_FILES: usize = 16;

/// A rewrite to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Memtables to segment files.
    Flush,
    /// These files to fewer and bigger ones without dead rows.
    Compact(Vec<FileId>),
}

/// What the core says when it asks for work.
#[derive(Clone, Copy, Debug)]
pub struct RewriteContext {
    /// The disk's clock.
    pub now_micros: u64,
    /// W.
    pub watermark: Seq,
    /// Flush whatever there is: memory is short, or the core is stopping.
    pub flush_now: bool,
    /// R15: the log needs this tablet to be flushed through here.
    pub flush_through: Seq,
}

/// A file as the choice sees it.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    file: FileId,
    rows: u64,
    dead: u64,
    bytes: u64,
}

impl Tablet {
    /// What is due, flush before compaction; `None` when nothing is, or it is running already.
    pub fn rewrite_due(&self, context: &RewriteContext) -> Option<Rewrite> {
        if !self.flushing.get() && self.flush_due(context) {
            return Some(Rewrite::Flush);
        }
        if self.compacting.get() {
            return None;
        }
        let mut files = Vec::new();
        let state = self.state.borrow();
        for rowset in &state.rowsets {
            if let RowsetData::File { meta, .. } = &rowset.data
                && rowset.until.get() == Seq::MAX
                && rowset.in_manifest.get()
            {
                // Rows that a kept delete predicate hides are not counted anywhere; a file that has one to apply counts as half dead.
                let hidden = state.predicates.iter().any(|p| p.seq > rowset.clean && p.seq <= state.flushed);
                // Deaths above F stay what they are: a rewrite of files reads at F, and would write the same file again and again (R14).
                let dead = if hidden { meta.rows / 2 } else { rowset.dead.borrow().dead_at(state.flushed) };
                files.push(Candidate {
                    file: meta.file,
                    rows: u64::from(meta.rows),
                    dead: u64::from(dead),
                    bytes: meta.bytes,
                });
            }
        }
        let chosen = choose(&files, &self.env.limits);
        if chosen.is_empty() { None } else { Some(Rewrite::Compact(chosen)) }
    }

    fn flush_due(&self, context: &RewriteContext) -> bool {
        let state = self.state.borrow();
        let memtable = |r: &&std::rc::Rc<crate::rowset::Rowset>| r.until.get() == Seq::MAX && r.memtable().is_some();
        let Some(rowset) = state.rowsets.iter().find(memtable) else { return false };
        let Some((oldest, (first, last))) = rowset.memtable().and_then(|m| Some((m, m.span()?))) else { return false };
        // R5: nothing above W is flushed. The active memtable may still be sealed, so that W passes it.
        let sealed = state.active.as_ref().is_none_or(|active| active.slot != rowset.slot);
        if first > context.watermark || sealed && last > context.watermark {
            return false;
        }
        let limits = &self.env.limits;
        let full = oldest.rows() >= limits.memtable_rows || oldest.bytes() >= limits.memtable_bytes;
        let old = context.now_micros.saturating_sub(oldest.created_micros()) >= limits.memtable_age_micros;
        full || old || context.flush_now || first <= context.flush_through
    }
}

/// Files to compact together. First a class of `tier_files` or more files of similar live size (within a factor of four, size-tiered
/// compaction), the smallest class first; then the file with the greatest share of dead rows, if it is above the limit.
fn choose(files: &[Candidate], limits: &TabletLimits) -> Vec<FileId> {
    let live_bytes = |f: &Candidate| f.bytes * (f.rows - f.dead.min(f.rows)) / f.rows.max(1);
    // A file that is as big as files get is not merged again for its size.
    let full = |f: &&Candidate| f.rows - f.dead.min(f.rows) < u64::from(limits.segment_rows) / 2;
    let mut sized: Vec<(u64, FileId)> =
        files.iter().filter(full).map(|f| (live_bytes(f).max(64 << 10), f.file)).collect();
    sized.sort_unstable();
    let mut start = 0;
    for end in 1..=sized.len() {
        if end == sized.len() || sized[end].0 > sized[start].0.saturating_mul(4) {
            if end - start >= limits.tier_files.max(2) {
                return sized[start..end.min(start + TOGETHER_FILES)].iter().map(|f| f.1).collect();
            }
            start = end;
        }
    }
    let dead = |f: &&Candidate| f.dead > 0 && f.dead * 100 >= f.rows * u64::from(limits.dead_percent);
    let worst = files.iter().filter(dead).max_by_key(|f| f.dead * 1000 / f.rows.max(1));
    worst.map(|f| vec![f.file]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TabletId;

    fn file(number: u64, rows: u64, dead: u64) -> Candidate {
        Candidate { file: FileId { tablet: TabletId(1), number }, rows, dead, bytes: rows * 100 }
    }

    fn chosen(files: &[Candidate]) -> Vec<u64> {
        let mut numbers: Vec<u64> = choose(files, &TabletLimits::default()).iter().map(|f| f.number).collect();
        numbers.sort();
        numbers
    }

    #[test]
    fn four_files_of_a_size_go_together_smallest_first() {
        let small: Vec<Candidate> = (0..3).map(|n| file(n, 1000, 0)).collect();
        assert_eq!(chosen(&small), Vec::<u64>::new());
        let big: Vec<Candidate> = (10..14).map(|n| file(n, 500_000, 0)).collect();
        assert_eq!(chosen(&[&small[..], &big].concat()), vec![10, 11, 12, 13]);
        assert_eq!(chosen(&[&big[..], &small, &[file(5, 1200, 0)]].concat()), vec![0, 1, 2, 5]);
        let many: Vec<Candidate> = (0..100).map(|n| file(n, 1000, 0)).collect();
        assert_eq!(chosen(&many).len(), TOGETHER_FILES);
    }

    #[test]
    fn full_files_rest_until_they_are_mostly_dead() {
        let full: Vec<Candidate> = (0..9).map(|n| file(n, 2 << 20, 1000)).collect();
        assert_eq!(chosen(&full), Vec::<u64>::new());
        assert_eq!(chosen(&[&full[..], &[file(20, 2 << 20, 1 << 20), file(21, 2 << 20, 800_000)]].concat()), vec![20]);
    }
}
