//! A set of the 1024-row vectors of a segment: what pruning leaves over.

use crate::encoding::VECTOR_ROWS;
use std::ops::Range;

/// Which vectors of a segment may hold a match. Vector v holds rows `[v * 1024, (v + 1) * 1024)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorSet {
    words: Vec<u64>,
    rows: u32,
}

impl VectorSet {
    /// All vectors of a segment of `rows` rows.
    pub fn all(rows: u32) -> VectorSet {
        let mut set = VectorSet::none(rows);
        (0..set.vectors()).for_each(|vector| set.words[vector / 64] |= 1 << (vector % 64));
        set
    }

    /// No vector of a segment of `rows` rows.
    pub fn none(rows: u32) -> VectorSet {
        let vectors = (rows as usize).div_ceil(VECTOR_ROWS);
        VectorSet { words: vec![0; vectors.div_ceil(64)], rows }
    }

    /// How many vectors the segment has.
    pub fn vectors(&self) -> usize {
        (self.rows as usize).div_ceil(VECTOR_ROWS)
    }

    /// How many vectors are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no vector is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Whether the vector is in the set.
    pub fn contains(&self, vector: usize) -> bool {
        self.words.get(vector / 64).is_some_and(|word| word >> (vector % 64) & 1 == 1)
    }

    /// Takes a vector out.
    pub fn remove(&mut self, vector: usize) {
        if let Some(word) = self.words.get_mut(vector / 64) {
            *word &= !(1 << (vector % 64));
        }
    }

    /// Takes out every vector for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        for vector in 0..self.vectors() {
            if self.contains(vector) && !keep(vector) {
                self.remove(vector);
            }
        }
    }

    /// The vectors, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.vectors()).filter(|&vector| self.contains(vector))
    }

    /// The rows of the set as maximal ranges, ascending; the last one ends at the segment's row count.
    pub fn row_ranges(&self) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for vector in self.iter() {
            let start = (vector * VECTOR_ROWS) as u32;
            let end = self.rows.min(start.saturating_add(VECTOR_ROWS as u32));
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_neighbours_and_end_with_the_rows() {
        let mut set = VectorSet::all(70 * 1024 + 5);
        assert_eq!((set.vectors(), set.count()), (71, 71));
        assert_eq!(set.row_ranges(), vec![0..70 * 1024 + 5]);
        set.retain(|v| !(2..69).contains(&v));
        assert_eq!(set.row_ranges(), vec![0..2048, 69 * 1024..70 * 1024 + 5]);
        assert_eq!(set.iter().collect::<Vec<_>>(), vec![0, 1, 69, 70]);
        set.retain(|_| false);
        assert!(set.is_empty() && set.row_ranges().is_empty());
        assert_eq!(VectorSet::all(0).count(), 0);
    }
}
