//! Primary index of a tablet: key -> position of its newest row. It lives on the tablet's owner core, in memory, is rebuilt
//! from the key columns at open, and nothing in it can fail.
//!
//! The index stores a 64-bit *tag* per key. Integer keys of up to eight bytes are their own tags, so equal tags are equal
//! keys ("exact"). Every other key has its hash as tag: several keys may share one, they all live side by side, and the
//! caller verifies candidates against the stored key columns before the transaction gets its number (R6).
//!
//! Shards are found through a directory over the leading bits of the mixed tag (extendible hashing: Fagin et al., TODS 1979)
//! and split one at a time at 4 to 5.3 Ki keys, so no growth step moves more than 90 KiB.
//! The batch calls hash all, prefetch all, then probe, in groups that fit the processor's outstanding misses.

mod shard;
#[cfg(test)]
pub(crate) mod tests;

use shard::{Shard, spread};

/// A shard splits at this many keys, or up to a third more. Small shards are rebuilt within a core's own cache and below the
/// size at which allocators go to the kernel; the directory has four bytes for each.
const SPLIT_KEYS: usize = 4 * 1024;
/// Directory bits beyond those that evenly spread keys would need; a shard that may not split further grows instead, so
/// that keys made to collide cannot blow up the directory.
const SPARE_DEPTH: u32 = 4;
/// Keys prefetched at a time.
const GROUP: usize = 32;

/// Position of a row in a tablet: the slot of its rowset and its row number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locator {
    /// Slot in the tablet's rowset table.
    pub slot: u16,
    /// Row within the rowset.
    pub row: u32,
}

impl Locator {
    /// No row.
    pub const NONE: Locator = Locator { slot: u16::MAX, row: u32::MAX };

    /// Whether this is [`Locator::NONE`].
    #[inline]
    pub fn is_none(self) -> bool {
        self.slot == u16::MAX
    }
}

/// The index. All calls are synchronous and O(keys given), [`PrimaryIndex::replace_moved`] O(budget).
pub struct PrimaryIndex {
    /// Shard number by the leading `depth` bits of the spread tag.
    directory: Vec<u32>,
    depth: u32,
    shards: Vec<Shard>,
    len: usize,
    shard_bytes: usize,
    split_keys: usize,
    /// Keys for which a planned shard has room.
    each: usize,
}

impl Default for PrimaryIndex {
    fn default() -> Self {
        PrimaryIndex::with_capacity(0)
    }
}

impl PrimaryIndex {
    /// An empty index with room for `keys` keys without growing.
    pub fn with_capacity(keys: usize) -> PrimaryIndex {
        PrimaryIndex::with_shards(keys, SPLIT_KEYS)
    }

    fn with_shards(keys: usize, split_keys: usize) -> PrimaryIndex {
        let mut index = PrimaryIndex::planned(keys, split_keys);
        index.add_shards(usize::MAX);
        index
    }

    /// An index that will have room for `keys` keys: call [`PrimaryIndex::add_shards`] until it says that it is whole. Many keys take
    /// much memory, and a shared core cannot touch all of it in one go (P7).
    pub fn for_keys(keys: usize) -> PrimaryIndex {
        PrimaryIndex::planned(keys, SPLIT_KEYS)
    }

    fn planned(keys: usize, split_keys: usize) -> PrimaryIndex {
        let mut depth = 0;
        while keys >> depth > split_keys / 6 * 5 {
            depth += 1;
        }
        let count = 1usize << depth;
        // Two percent more than the mean, for the spread of the hash.
        let each = if keys == 0 { 0 } else { keys / count + keys / count / 50 + 8 };
        let directory = (0..count as u32).collect();
        let shards = Vec::with_capacity(count);
        PrimaryIndex { directory, depth, shards, len: 0, shard_bytes: 0, split_keys, each }
    }

    /// Makes up to `count` of the shards that are planned; whether there are more to make. Nothing else may be called before the last.
    pub fn add_shards(&mut self, count: usize) -> bool {
        let planned = 1usize << self.depth;
        let end = planned.min(self.shards.len().saturating_add(count));
        for number in self.shards.len()..end {
            let prefix = if self.depth == 0 { 0 } else { (number as u64) << (64 - self.depth) };
            let shard = Shard::new(self.depth, prefix, self.each, self.split_keys);
            self.shard_bytes += shard.bytes();
            self.shards.push(shard);
        }
        end < planned
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory held, exactly: slots, directory and shard headers.
    pub fn bytes(&self) -> usize {
        self.shard_bytes + self.directory.capacity() * 4 + self.shards.capacity() * size_of::<Shard>()
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        let i = if self.depth == 0 { 0 } else { (hash >> (64 - self.depth)) as usize };
        self.directory[i] as usize
    }

    fn prefetch(&self, tags: &[u64], hashes: &mut [u64; GROUP]) {
        for (hash, &tag) in hashes.iter_mut().zip(tags) {
            *hash = spread(tag);
            self.shards[self.shard_of(*hash)].prefetch(*hash);
        }
    }

    /// Position of each tag's entry, [`Locator::NONE`] where there is none, appended to `out`. For exact tags.
    pub fn probe(&self, tags: &[u64], out: &mut Vec<Locator>) {
        let mut hashes = [0u64; GROUP];
        for group in tags.chunks(GROUP) {
            self.prefetch(group, &mut hashes);
            for (&tag, &hash) in group.iter().zip(&hashes) {
                let mut found = Locator::NONE;
                self.shards[self.shard_of(hash)].search(hash, tag, |locator| {
                    found = locator;
                    true
                });
                out.push(found);
            }
        }
    }

    /// Every entry of each tag as (index into `tags`, position), appended to `out`. For hashed tags.
    pub fn candidates(&self, tags: &[u64], out: &mut Vec<(u32, Locator)>) {
        let mut hashes = [0u64; GROUP];
        for (n, group) in tags.chunks(GROUP).enumerate() {
            self.prefetch(group, &mut hashes);
            for (i, (&tag, &hash)) in group.iter().zip(&hashes).enumerate() {
                self.shards[self.shard_of(hash)].search(hash, tag, |locator| {
                    out.push(((n * GROUP + i) as u32, locator));
                    false
                });
            }
        }
    }

    /// Points each exact tag at its new position; what it replaced (or [`Locator::NONE`]) is appended to `replaced`.
    pub fn upsert(&mut self, tags: &[u64], new: impl Fn(usize) -> Locator, replaced: &mut Vec<Locator>) {
        let mut hashes = [0u64; GROUP];
        for (n, group) in tags.chunks(GROUP).enumerate() {
            self.prefetch(group, &mut hashes);
            for (i, (&tag, &hash)) in group.iter().zip(&hashes).enumerate() {
                let (shard, new) = (self.shard_of(hash), new(n * GROUP + i));
                match self.shards[shard].replace(hash, tag, new, |_| true) {
                    Some(old) => replaced.push(old),
                    None => {
                        self.insert_hashed(hash, tag, new);
                        replaced.push(Locator::NONE);
                    }
                }
            }
        }
    }

    /// Removes exact tags; where each pointed (or [`Locator::NONE`]) is appended to `erased`.
    pub fn erase(&mut self, tags: &[u64], erased: &mut Vec<Locator>) {
        let mut hashes = [0u64; GROUP];
        for group in tags.chunks(GROUP) {
            self.prefetch(group, &mut hashes);
            for (&tag, &hash) in group.iter().zip(&hashes) {
                erased.push(self.erase_hashed(hash, tag, |_| true).unwrap_or(Locator::NONE));
            }
        }
    }

    /// Adds an entry beside whatever the tag already has. For hashed tags, when the key is known to be absent.
    pub fn insert(&mut self, tag: u64, new: Locator) {
        self.insert_hashed(spread(tag), tag, new);
    }

    /// Adds an entry for each tag, beside whatever is there: for building, when every key is known to be new.
    pub fn insert_all(&mut self, tags: &[u64], at: impl Fn(usize) -> Locator) {
        let mut hashes = [0u64; GROUP];
        for (n, group) in tags.chunks(GROUP).enumerate() {
            self.prefetch(group, &mut hashes);
            for (i, (&tag, &hash)) in group.iter().zip(&hashes).enumerate() {
                self.insert_hashed(hash, tag, at(n * GROUP + i));
            }
        }
    }

    /// Points the entry of `tag` that `wanted` accepts at `new`; where it pointed.
    pub fn replace_where(&mut self, tag: u64, new: Locator, wanted: impl FnMut(Locator) -> bool) -> Option<Locator> {
        let hash = spread(tag);
        let shard = self.shard_of(hash);
        self.shards[shard].replace(hash, tag, new, wanted)
    }

    /// Removes the entry of `tag` that `wanted` accepts; where it pointed.
    pub fn erase_where(&mut self, tag: u64, wanted: impl FnMut(Locator) -> bool) -> Option<Locator> {
        self.erase_hashed(spread(tag), tag, wanted)
    }

    fn erase_hashed(&mut self, hash: u64, tag: u64, wanted: impl FnMut(Locator) -> bool) -> Option<Locator> {
        let shard = self.shard_of(hash);
        let before = self.shards[shard].bytes();
        let old = self.shards[shard].erase(hash, tag, wanted)?;
        self.len -= 1;
        self.shard_bytes = self.shard_bytes - before + self.shards[shard].bytes();
        Some(old)
    }

    #[inline]
    fn insert_hashed(&mut self, hash: u64, tag: u64, new: Locator) {
        let mut shard = self.shard_of(hash);
        let depth_max = (self.len / self.split_keys + 1).ilog2() + 1 + SPARE_DEPTH;
        while self.shards[shard].is_large() && self.shards[shard].depth < depth_max {
            self.split(shard, hash);
            shard = self.shard_of(hash);
        }
        let before = self.shards[shard].bytes();
        self.shards[shard].insert(hash, tag, new);
        self.shard_bytes = self.shard_bytes - before + self.shards[shard].bytes();
        self.len += 1;
    }

    /// Splits the shard to which `hash` belongs.
    fn split(&mut self, shard: usize, hash: u64) {
        let depth = self.shards[shard].depth;
        if depth == self.depth {
            self.directory = self.directory.iter().flat_map(|&s| [s, s]).collect();
            self.depth += 1;
        }
        let prefix = if depth == 0 { 0 } else { hash >> (64 - depth) << (64 - depth) };
        let old = std::mem::replace(&mut self.shards[shard], Shard::new(depth, prefix, 0, self.split_keys));
        self.shard_bytes -= old.bytes();
        let (left, right) = old.split(prefix);
        self.shard_bytes += left.bytes() + right.bytes();
        self.shards[shard] = left;
        self.shards.push(right);
        // The directory entries of the shard are one run; its second half becomes the new shard's.
        let width = 1usize << (self.depth - depth);
        let first = if self.depth == 0 { 0 } else { (prefix >> (64 - self.depth)) as usize };
        let number = (self.shards.len() - 1) as u32;
        self.directory[first + width / 2..first + width].fill(number);
    }

    /// R14: translates positions in slices after a rewrite. `cursor` starts at 0 and is the hash prefix done so far; splits
    /// between slices only refine prefixes, so nothing is skipped. Visits at least one shard and at most about `budget`
    /// entries more; true when all is done.
    pub fn replace_moved(&mut self, cursor: &mut u64, budget: usize, to: impl Fn(Locator) -> Locator) -> bool {
        let mut visited = 0;
        loop {
            let shard = self.shard_of(*cursor);
            visited += self.shards[shard].map(&to);
            let depth = self.shards[shard].depth;
            let width = if depth == 0 { 0 } else { 1u64 << (64 - depth) };
            *cursor = cursor.wrapping_add(width);
            if *cursor == 0 {
                return true;
            }
            if visited >= budget {
                return false;
            }
        }
    }

    /// Visits every entry; for consistency checks and tests.
    pub fn each(&self, mut visit: impl FnMut(u64, Locator)) {
        self.shards.iter().for_each(|shard| shard.each(&mut visit));
    }
}
