//! One shard of the primary index: open addressing over buckets of nine slots that fill two cache lines. A shard is small, so
//! that growing or splitting it, which walks it from front to back, takes a few tens of microseconds.
//!
//! ```text
//! bucket, 128 bytes:  9 x tag u64 | 9 x row u32 | 9 x rowset slot u16 | u16: bits 0-8 occupied, bit 15 overflowed
//! ```
//! A key lives in its home bucket or, when that was full, in one of the next ones; every bucket that was passed over has its
//! overflow bit set, so a search ends at the first bucket without it. The bit is cleared only by a rebuild, which an erase
//! starts when half of the slots have seen one. Home buckets are monotone in the hash (multiply-shift range reduction), so a
//! rebuild or a split walks old and new buckets in the same order.

use super::Locator;
use crate::key::mix64;

/// Slots of a bucket.
const SLOTS: usize = 9;
/// All nine occupied.
const FULL: u16 = (1 << SLOTS) - 1;
/// A key whose home is this bucket or an earlier one lives further on.
const OVERFLOWED: u16 = 1 << 15;

/// Nine slots in two cache lines.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    tags: [u64; SLOTS],
    rows: [u32; SLOTS],
    slots: [u16; SLOTS],
    meta: u16,
}

const _: () = assert!(size_of::<Bucket>() == 128);

impl Bucket {
    const EMPTY: Bucket = Bucket { tags: [0; SLOTS], rows: [0; SLOTS], slots: [0; SLOTS], meta: 0 };

    #[inline]
    fn matches(&self, tag: u64) -> u16 {
        let mut found = 0u16;
        for (i, &t) in self.tags.iter().enumerate() {
            found |= ((t == tag) as u16) << i;
        }
        found & self.meta
    }

    #[inline]
    fn locator(&self, i: usize) -> Locator {
        Locator { slot: self.slots[i], row: self.rows[i] }
    }

    #[inline]
    fn set(&mut self, i: usize, locator: Locator) {
        self.slots[i] = locator.slot;
        self.rows[i] = locator.row;
    }
}

/// Spreads tags over shards and buckets. Integer keys are their own tags, so they are mixed here.
#[inline]
pub(super) fn spread(tag: u64) -> u64 {
    mix64(tag ^ 0x243f_6a88_85a3_08d3)
}

/// A part of the index: the keys whose spread hash begins with the shard's prefix.
pub(super) struct Shard {
    buckets: Vec<Bucket>,
    len: usize,
    /// Erases since the last rebuild: each may have left an overflow bit behind.
    erased: usize,
    /// How many leading bits of the hash the shard's prefix has.
    pub(super) depth: u32,
    /// Splits at this many keys; differs between shards, so that they do not split together.
    split_at: usize,
    /// The least `split_at` of a shard.
    split: usize,
}

/// Buckets for `keys` keys at a load of 80 to 94 %, staggered by `prefix` so that shards do not grow together either.
fn buckets_for(keys: usize, prefix: u64) -> usize {
    let load = 0.80 + 0.14 * ((mix64(prefix) >> 40) as f64 / (1u64 << 24) as f64);
    ((keys as f64 / (SLOTS as f64 * load)).ceil() as usize).max(1)
}

impl Shard {
    /// An empty shard with room for `keys` keys, whose hashes begin with the `depth` top bits of `prefix`. It splits at
    /// `split` to 4/3 of `split` keys.
    pub(super) fn new(depth: u32, prefix: u64, keys: usize, split: usize) -> Shard {
        let stagger = (mix64(prefix ^ depth as u64) % (split as u64 / 3)) as usize;
        Shard {
            buckets: vec![Bucket::EMPTY; buckets_for(keys, prefix)],
            len: 0,
            erased: 0,
            depth,
            split,
            split_at: split + stagger,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// Whether one more key calls for a split.
    pub(super) fn is_large(&self) -> bool {
        self.len >= self.split_at
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((((hash << self.depth) >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    /// Asks the processor for the home bucket of `hash`.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let bucket: *const Bucket = &self.buckets[self.home(hash)];
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "prefetch hint, no data is read")]
        // SAFETY: a prefetch of any address has no effect on memory; this one lies inside `buckets` anyway.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(bucket.cast());
            _mm_prefetch::<_MM_HINT_T0>(bucket.cast::<i8>().wrapping_add(64));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = bucket;
    }

    /// Calls `found` with every locator stored under `tag` until it answers true.
    #[inline]
    pub(super) fn search(&self, hash: u64, tag: u64, mut found: impl FnMut(Locator) -> bool) {
        let mut at = self.home(hash);
        // Once around at most: after erases every bucket may carry the bit.
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut hits = bucket.matches(tag);
            while hits != 0 {
                if found(bucket.locator(hits.trailing_zeros() as usize)) {
                    return;
                }
                hits &= hits - 1;
            }
            if bucket.meta & OVERFLOWED == 0 {
                return;
            }
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
    }

    /// Bucket and slot of the first entry of `tag` that `wanted` accepts.
    #[inline]
    fn find(&self, hash: u64, tag: u64, mut wanted: impl FnMut(Locator) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut hits = bucket.matches(tag);
            while hits != 0 {
                let i = hits.trailing_zeros() as usize;
                if wanted(bucket.locator(i)) {
                    return Some((at, i));
                }
                hits &= hits - 1;
            }
            if bucket.meta & OVERFLOWED == 0 {
                return None;
            }
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
        None
    }

    /// Points the first accepted entry of `tag` at `new` and returns where it pointed.
    #[inline]
    pub(super) fn replace(
        &mut self,
        hash: u64,
        tag: u64,
        new: Locator,
        wanted: impl FnMut(Locator) -> bool,
    ) -> Option<Locator> {
        let (at, i) = self.find(hash, tag, wanted)?;
        let old = self.buckets[at].locator(i);
        self.buckets[at].set(i, new);
        Some(old)
    }

    /// Adds an entry, whatever is there under the same tag. The caller splits first when the shard is large.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, tag: u64, locator: Locator) {
        // At most 95 % full: with nine slots a bucket a search still looks at less than two buckets on average (Knuth, TAOCP 6.4,
        // table 4). Growing by 3/16 keeps the mean at 87 %, and an insert moves five entries on average.
        if self.len * 20 >= self.buckets.len() * SLOTS * 19 {
            let more = (self.buckets.len() * 3 / 16).max(1);
            self.rebuild(self.buckets.len() + more);
        }
        self.place(hash, tag, locator);
    }

    #[inline]
    fn place(&mut self, hash: u64, tag: u64, locator: Locator) {
        let mut at = self.home(hash);
        loop {
            let bucket = &mut self.buckets[at];
            let free = !bucket.meta & FULL;
            if free != 0 {
                let i = free.trailing_zeros() as usize;
                bucket.tags[i] = tag;
                bucket.set(i, locator);
                bucket.meta |= 1 << i;
                self.len += 1;
                return;
            }
            bucket.meta |= OVERFLOWED;
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
    }

    /// Removes the first accepted entry of `tag` and returns where it pointed.
    pub(super) fn erase(&mut self, hash: u64, tag: u64, wanted: impl FnMut(Locator) -> bool) -> Option<Locator> {
        let (at, i) = self.find(hash, tag, wanted)?;
        let old = self.buckets[at].locator(i);
        self.buckets[at].meta &= !(1 << i);
        self.len -= 1;
        self.erased += 1;
        if self.erased * 2 > self.buckets.len() * SLOTS {
            let fit = buckets_for(self.len + self.len / 16, 0);
            self.rebuild(if self.len * 2 < self.buckets.len() * SLOTS { fit } else { self.buckets.len() });
        }
        Some(old)
    }

    fn rebuild(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::EMPTY; buckets]);
        self.len = 0;
        self.erased = 0;
        each(&old, |tag, locator| self.place(spread(tag), tag, locator));
    }

    /// Splits by the next bit of the hash; `prefix` is this shard's.
    pub(super) fn split(self, prefix: u64) -> (Shard, Shard) {
        let bit = 1u64 << (63 - self.depth);
        let depth = self.depth + 1;
        let mut right_len = 0;
        each(&self.buckets, |tag, _| right_len += (spread(tag) & bit != 0) as usize);
        let mut left = Shard::new(depth, prefix, self.len - right_len, self.split);
        let mut right = Shard::new(depth, prefix | bit, right_len, self.split);
        each(&self.buckets, |tag, locator| {
            let hash = spread(tag);
            if hash & bit == 0 { left.place(hash, tag, locator) } else { right.place(hash, tag, locator) }
        });
        (left, right)
    }

    /// Rewrites every locator; returns how many entries were visited.
    pub(super) fn map(&mut self, mut to: impl FnMut(Locator) -> Locator) -> usize {
        for bucket in &mut self.buckets {
            let mut occupied = bucket.meta & FULL;
            while occupied != 0 {
                let i = occupied.trailing_zeros() as usize;
                let new = to(bucket.locator(i));
                bucket.set(i, new);
                occupied &= occupied - 1;
            }
        }
        self.len
    }

    /// Visits every entry.
    pub(super) fn each(&self, visit: impl FnMut(u64, Locator)) {
        each(&self.buckets, visit);
    }
}

fn each(buckets: &[Bucket], mut visit: impl FnMut(u64, Locator)) {
    for bucket in buckets {
        let mut occupied = bucket.meta & FULL;
        while occupied != 0 {
            let i = occupied.trailing_zeros() as usize;
            visit(bucket.tags[i], bucket.locator(i));
            occupied &= occupied - 1;
        }
    }
}
