//! The distinct values among the rows of a column: the first row of each, and the code of every row. A small open-addressing
//! table over row numbers, so that one table serves words and strings.

use crate::key::mix64;

/// The most values a dictionary can have: codes are 16 bits.
pub const VALUES_MAX: usize = 1 << 16;
const SLOTS_MIN: usize = 1 << 10;

/// Distinct values seen so far, by the row where each was seen first.
pub struct Distinct {
    /// Code + 1 of the value that hashes here, 0 for none; a power of two of them, at most half used.
    slots: Vec<u32>,
    hashes: Vec<u32>,
    first_rows: Vec<u32>,
    codes: Vec<u16>,
}

impl Distinct {
    /// Nothing seen; room for the codes of `rows` rows.
    pub fn new(rows: usize) -> Distinct {
        let (hashes, first_rows) = (Vec::new(), Vec::new());
        Distinct { slots: vec![0; SLOTS_MIN], hashes, first_rows, codes: Vec::with_capacity(rows) }
    }

    /// How many distinct values.
    pub fn count(&self) -> usize {
        self.first_rows.len()
    }

    /// The code of every row added.
    pub fn codes(&self) -> &[u16] {
        &self.codes
    }

    /// By code, the first row that has the value.
    pub fn first_rows(&self) -> &[u32] {
        &self.first_rows
    }

    /// Adds the next row; `same(row)` tells whether an earlier row has its value. False, and nothing added, when there
    /// would be too many values for a dictionary.
    pub fn add(&mut self, hash: u64, same: impl Fn(u32) -> bool) -> bool {
        let hash = mix64(hash) as u32;
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 {
            let code = self.slots[slot] as usize - 1;
            if self.hashes[code] == hash && same(self.first_rows[code]) {
                self.codes.push(code as u16);
                return true;
            }
            slot = (slot + 1) & mask;
        }
        if self.count() == VALUES_MAX {
            return false;
        }
        let code = self.count();
        self.slots[slot] = code as u32 + 1;
        self.hashes.push(hash);
        self.first_rows.push(self.codes.len() as u32);
        self.codes.push(code as u16);
        if self.count() * 2 > self.slots.len() {
            self.grow();
        }
        true
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 4 - 1;
        self.slots = vec![0; mask + 1];
        for (code, &hash) in self.hashes.iter().enumerate() {
            let mut slot = hash as usize & mask;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = code as u32 + 1;
        }
    }
}
