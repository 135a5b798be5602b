//! The page cache of a core: verified pages of segment files, bounded in bytes.
//!
//! Replacement is CLOCK with a twist against scans: a page enters without its reference bit, so a page that is read once
//! is the first to go, and only a second use protects it for one more turn of the hand. (Source: Corbato, "A paging
//! experiment with the Multics system", 1968; the cold start is that of 2Q, Johnson and Shasha, VLDB 1994.)
//!
//! Lives on one core, is not `Send`, never does I/O and cannot fail.

use crate::ids::FileId;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// Bookkeeping charged to each page besides its bytes.
const PAGE_OVERHEAD: usize = 96;

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageKey {
    /// The segment file.
    pub file: FileId,
    /// Offset of the page in it, in bytes.
    pub offset: u64,
}

/// Counters of a [`PageCache`] since its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Pages found.
    pub hits: u64,
    /// Pages not found.
    pub misses: u64,
    /// Pages put in.
    pub inserted: u64,
    /// Pages pushed out by others.
    pub evicted: u64,
    /// Bytes held now, bookkeeping included.
    pub bytes: usize,
    /// Most bytes it may hold.
    pub bytes_max: usize,
    /// Pages held now.
    pub pages: usize,
}

/// The page cache of one core.
pub struct PageCache {
    clock: RefCell<Clock>,
    hits: Cell<u64>,
    misses: Cell<u64>,
}

struct Slot {
    key: PageKey,
    /// Empty for a free slot.
    page: Bytes,
    used: bool,
}

#[derive(Default)]
struct Clock {
    places: HashMap<PageKey, usize>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    bytes_max: usize,
    inserted: u64,
    evicted: u64,
}

impl PageCache {
    /// A cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Rc<PageCache> {
        let clock = Clock { bytes_max, ..Clock::default() };
        Rc::new(PageCache { clock: RefCell::new(clock), hits: Cell::new(0), misses: Cell::new(0) })
    }

    /// The page, when it is here. Counts a hit or a miss.
    pub fn get(&self, key: PageKey) -> Option<Bytes> {
        let found = self.clock.borrow_mut().touch(key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.set(counter.get() + 1);
        found
    }

    /// Keeps a verified page. One that is greater than an eighth of the cache is not kept: it would push out everything.
    pub fn insert(&self, key: PageKey, page: Bytes) {
        self.clock.borrow_mut().insert(key, page);
    }

    /// Forgets the pages of a file that is gone.
    pub fn forget(&self, file: FileId) {
        self.clock.borrow_mut().forget(file);
    }

    /// Sets the bound, and evicts down to it.
    pub fn resize(&self, bytes_max: usize) {
        let mut clock = self.clock.borrow_mut();
        clock.bytes_max = bytes_max;
        clock.evict(0);
    }

    /// Counters.
    pub fn stats(&self) -> CacheStats {
        let clock = self.clock.borrow();
        CacheStats {
            hits: self.hits.get(),
            misses: self.misses.get(),
            inserted: clock.inserted,
            evicted: clock.evicted,
            bytes: clock.bytes,
            bytes_max: clock.bytes_max,
            pages: clock.places.len(),
        }
    }
}

impl Clock {
    fn touch(&mut self, key: PageKey) -> Option<Bytes> {
        let slot = &mut self.slots[*self.places.get(&key)?];
        slot.used = true;
        Some(slot.page.clone())
    }

    fn insert(&mut self, key: PageKey, page: Bytes) {
        let cost = page.len() + PAGE_OVERHEAD;
        if cost > self.bytes_max / 8 || self.places.contains_key(&key) {
            return;
        }
        self.evict(cost);
        let slot = Slot { key, page, used: false };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(key, place);
        self.bytes += cost;
        self.inserted += 1;
    }

    /// Moves the hand until `room` more bytes fit.
    fn evict(&mut self, room: usize) {
        while self.bytes + room > self.bytes_max && !self.places.is_empty() {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let slot = &mut self.slots[self.hand];
            if slot.page.is_empty() {
                continue;
            }
            if std::mem::take(&mut slot.used) {
                continue;
            }
            self.release(self.hand);
            self.evicted += 1;
        }
    }

    fn release(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        self.bytes -= slot.page.len() + PAGE_OVERHEAD;
        slot.page = Bytes::new();
        self.places.remove(&slot.key);
        self.free.push(place);
    }

    fn forget(&mut self, file: FileId) {
        let places: Vec<usize> = self.places.iter().filter(|(key, _)| key.file == file).map(|(_, &p)| p).collect();
        places.into_iter().for_each(|place| self.release(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TabletId;

    fn key(number: u64, offset: u64) -> PageKey {
        PageKey { file: FileId { tablet: TabletId(1), number }, offset }
    }

    fn page(len: usize) -> Bytes {
        Bytes::from(vec![7u8; len])
    }

    #[test]
    fn stays_within_its_bytes_and_counts() {
        let cache = PageCache::new(100_000);
        for i in 0..100 {
            assert!(cache.get(key(1, i)).is_none());
            cache.insert(key(1, i), page(4_000));
            assert!(cache.stats().bytes <= 100_000);
        }
        let stats = cache.stats();
        assert_eq!((stats.misses, stats.hits, stats.inserted), (100, 0, 100));
        assert_eq!(stats.pages, 100_000 / 4_096);
        assert_eq!(stats.evicted as usize, 100 - stats.pages);
        assert!(cache.get(key(1, 99)).is_some());
    }

    #[test]
    fn a_scan_does_not_push_out_what_is_used() {
        let cache = PageCache::new(100_000);
        for i in 0..10 {
            cache.insert(key(1, i), page(4_000));
        }
        for scanned in 0..1_000 {
            cache.insert(key(2, scanned), page(4_000));
            for i in 0..10 {
                assert!(cache.get(key(1, i)).is_some(), "page {i} lost after {scanned} scanned pages");
            }
        }
    }

    #[test]
    fn forgets_a_file_and_reuses_its_room() {
        let cache = PageCache::new(100_000);
        (0..10).for_each(|i| cache.insert(key(i % 2, i), page(4_000)));
        cache.forget(key(0, 0).file);
        assert_eq!(cache.stats().pages, 5);
        assert!(cache.get(key(0, 2)).is_none() && cache.get(key(1, 3)).is_some());
        (10..15).for_each(|i| cache.insert(key(3, i), page(4_000)));
        assert_eq!(cache.clock.borrow().slots.len(), 10);
        cache.resize(8_192);
        assert_eq!(cache.stats().pages, 2);
    }

    #[test]
    fn a_giant_is_not_kept() {
        let cache = PageCache::new(100_000);
        cache.insert(key(1, 0), page(50_000));
        assert_eq!(cache.stats().pages, 0);
    }
}
