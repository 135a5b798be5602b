//! Which rows of a rowset are dead, and since when (R12). Lives in its rowset on the tablet's owner core; it cannot fail.
//!
//! One bitmap holds every death known. Beside it lies the log of the deaths not yet folded, (row, number) in the order of the
//! numbers. A row dies once, so "dead at r" is the bitmap without the rows of the log's suffix above r. For a reader near W
//! that suffix is a handful of rows, so a reader never copies or rebuilds anything, whatever the update rate. Folding drops
//! the log's prefix; it stops at the oldest pin, at F and at the c of every running rewrite, because those still ask when a
//! row died (R12, R14, R15).
//!
//! The bitmap is kept as plain words in lazily made chunks of 64 Ki rows, the layout of roaring's dense containers: a mark costs
//! a few nanoseconds and a scan takes its selection mask word by word. On disk it is a roaring bitmap.

use crate::error::{Result, StorageError};
use crate::ids::Seq;
use arrow::buffer::{BooleanBuffer, Buffer};
use roaring::RoaringBitmap;
use std::collections::VecDeque;

/// Rows of a chunk.
const CHUNK_ROWS: usize = 1 << 16;
const CHUNK_WORDS: usize = CHUNK_ROWS / 64;

/// The dead rows of one rowset.
#[derive(Default)]
pub struct DelVector {
    chunks: Vec<Option<Box<[u64; CHUNK_WORDS]>>>,
    /// Deaths not yet folded; numbers ascend.
    log: VecDeque<(u32, Seq)>,
    /// How many log entries were folded so far: entry i of the log is the (folded + i)-th death.
    folded: u64,
    dead: u32,
}

impl DelVector {
    /// The state a file had at F: its roaring bitmap, all of it folded.
    ///
    /// Errors: `Corrupt` when the bytes are not a bitmap; `file` names whose it is.
    pub fn from_roaring(bytes: &[u8], file: &str) -> Result<DelVector> {
        let bitmap = RoaringBitmap::deserialize_from(bytes)
            .map_err(|e| StorageError::corrupt(file, 0, "a roaring bitmap of dead rows", e))?;
        let mut this = DelVector::default();
        bitmap.iter().for_each(|row| {
            this.mark(row);
        });
        Ok(this)
    }

    /// Marks `row` dead as of `seq`, which is not below any earlier one. False when it was dead already.
    pub fn insert(&mut self, row: u32, seq: Seq) -> bool {
        debug_assert!(
            self.log.back().is_none_or(|last| last.1 <= seq),
            "deaths are logged in the order of their numbers"
        );
        let new = self.mark(row);
        if new {
            self.log.push_back((row, seq));
        }
        new
    }

    fn mark(&mut self, row: u32) -> bool {
        let (chunk, word, bit) = place(row);
        if chunk >= self.chunks.len() {
            self.chunks.resize_with(chunk + 1, || None);
        }
        let words = self.chunks[chunk].get_or_insert_with(|| Box::new([0; CHUNK_WORDS]));
        let new = words[word] & bit == 0;
        words[word] |= bit;
        self.dead += new as u32;
        new
    }

    /// Whether the row is dead by now.
    pub fn is_dead(&self, row: u32) -> bool {
        let (chunk, word, bit) = place(row);
        self.chunks.get(chunk).and_then(|c| c.as_ref()).is_some_and(|words| words[word] & bit != 0)
    }

    /// How many rows are dead by now.
    pub fn dead(&self) -> u32 {
        self.dead
    }

    /// How many rows are dead as of `seq`, which is not below what was folded.
    pub fn dead_at(&self, seq: Seq) -> u32 {
        self.dead - (self.log.len() - self.first_after(seq)) as u32
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        let chunks = self.chunks.iter().flatten().count() * CHUNK_WORDS * 8;
        chunks + self.chunks.capacity() * 8 + self.log_bytes()
    }

    /// Bytes of the deaths not yet folded.
    pub fn log_bytes(&self) -> usize {
        self.log.capacity() * size_of::<(u32, Seq)>()
    }

    fn first_after(&self, seq: Seq) -> usize {
        self.log.partition_point(|entry| entry.1 <= seq)
    }

    /// The absolute position in the log of the first death above `seq`, for [`DelVector::logged_from`].
    pub fn position_after(&self, seq: Seq) -> u64 {
        self.folded + self.first_after(seq) as u64
    }

    /// The deaths from an absolute log position on, which must not have been folded away.
    pub fn logged_from(&self, position: u64) -> impl Iterator<Item = (u32, Seq)> + '_ {
        debug_assert!(position >= self.folded, "a reader's log position was folded");
        self.log.range(position.saturating_sub(self.folded) as usize..).copied()
    }

    /// The absolute position one past the newest death.
    pub fn log_end(&self) -> u64 {
        self.folded + self.log.len() as u64
    }

    /// R12: forgets when rows died at or below `bound`; that they are dead stays.
    pub fn fold(&mut self, bound: Seq) {
        let gone = self.first_after(bound);
        self.log.drain(..gone);
        self.folded += gone as u64;
        if self.log.capacity() > 1024 && self.log.len() * 4 < self.log.capacity() {
            self.log.shrink_to(self.log.len() * 2);
        }
    }

    /// What a snapshot at `at` sees; stays right while later deaths arrive.
    pub fn view(&self, at: Seq) -> DeadView {
        DeadView { at, seen: self.position_after(at), later: RoaringBitmap::new() }
    }
}

#[inline]
fn place(row: u32) -> (usize, usize, u64) {
    (row as usize / CHUNK_ROWS, row as usize % CHUNK_ROWS / 64, 1 << (row % 64))
}

/// The dead rows of a rowset as one snapshot sees them, without a copy of them.
pub struct DeadView {
    at: Seq,
    /// The log is known up to here.
    seen: u64,
    /// Rows that died after the snapshot: alive for it.
    later: RoaringBitmap,
}

impl DeadView {
    /// Takes note of up to `most` deaths that arrived since the last call: all of them are above the snapshot. Whether that was all;
    /// [`DeadView::live`] does the rest in one go, however many there are.
    pub fn catch_up(&mut self, dead: &DelVector, most: usize) -> bool {
        for (row, seq) in dead.logged_from(self.seen).take(most) {
            debug_assert!(seq > self.at, "a death at or below a snapshot in use");
            self.later.insert(row);
            self.seen += 1;
        }
        self.seen >= dead.log_end()
    }

    /// The live rows of `[start, start + len)`: bit i is row `start + i`; `None` when all of them live.
    pub fn live(&mut self, dead: &DelVector, start: u32, len: u32) -> Option<BooleanBuffer> {
        self.catch_up(dead, usize::MAX);
        let (first, last) = (start as usize / 64, (start as usize + len as usize).div_ceil(64));
        let mut words: Option<Vec<u64>> = None;
        for n in first..last {
            let chunk = dead.chunks.get(n / CHUNK_WORDS).and_then(|c| c.as_ref());
            let word = chunk.map_or(0, |words| words[n % CHUNK_WORDS]);
            if word != 0 {
                words.get_or_insert_with(|| vec![u64::MAX; last - first])[n - first] = !word;
            }
        }
        let mut words = words?;
        if !self.later.is_empty() {
            for row in self.later.range(start..start.saturating_add(len)) {
                words[row as usize / 64 - first] |= 1 << (row % 64);
            }
        }
        let live = BooleanBuffer::new(Buffer::from_vec(words), start as usize % 64, len as usize);
        if live.count_set_bits() == len as usize { None } else { Some(live) }
    }
}

/// A roaring bitmap of rows in the byte form of the manifest.
pub fn roaring_bytes(bitmap: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bitmap.serialized_size());
    bitmap.serialize_into(&mut bytes).expect("writing to a Vec cannot fail");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_rows(view: &mut DeadView, dead: &DelVector, start: u32, len: u32) -> Vec<u32> {
        match view.live(dead, start, len) {
            None => Vec::new(),
            Some(live) => (0..len).filter(|&i| !live.value(i as usize)).map(|i| start + i).collect(),
        }
    }

    #[test]
    fn a_snapshot_keeps_its_view_while_rows_die_and_the_log_folds() {
        let mut dead = DelVector::default();
        for (row, seq) in [(5, 1), (70_000, 1), (6, 3), (7, 4)] {
            assert!(dead.insert(row, Seq(seq)));
        }
        assert!(!dead.insert(5, Seq(4)), "a row dies once");
        let (mut at2, mut at4) = (dead.view(Seq(2)), dead.view(Seq(4)));
        assert_eq!(dead_rows(&mut at2, &dead, 0, 64), vec![5]);
        assert_eq!(dead_rows(&mut at4, &dead, 3, 20), vec![5, 6, 7]);
        dead.insert(8, Seq(5));
        dead.fold(Seq(2));
        assert_eq!(dead_rows(&mut at2, &dead, 0, 1000), vec![5]);
        assert_eq!(dead_rows(&mut at4, &dead, 6, 3), vec![6, 7]);
        assert_eq!(dead_rows(&mut at4, &dead, 69_990, 100), vec![70_000]);
        let later: Vec<_> = dead.logged_from(dead.position_after(Seq(3))).collect();
        assert_eq!(later, vec![(7, Seq(4)), (8, Seq(5))]);
        assert_eq!(dead.position_after(Seq(9)), dead.log_end());
        assert_eq!((dead.dead(), dead.dead_at(Seq(3)), dead.dead_at(Seq(9))), (5, 3, 5));
    }

    #[test]
    fn the_disk_form_round_trips_and_damage_is_named() -> Result<()> {
        let bytes = roaring_bytes(&RoaringBitmap::from_iter([1, 65_536, 9_000_000]));
        let dead = DelVector::from_roaring(&bytes, "f")?;
        assert!(dead.is_dead(1) && dead.is_dead(65_536) && dead.is_dead(9_000_000) && !dead.is_dead(2));
        assert_eq!(dead.log_end(), 0, "what the disk tells is folded");
        assert!(matches!(DelVector::from_roaring(&bytes[..7], "f"), Err(StorageError::Corrupt { .. })));
        Ok(())
    }
}
