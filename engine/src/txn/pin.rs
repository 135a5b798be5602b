//! Pins (R11): a statement stores W in its core's `oldest` slot, reads W again until it has not changed, and keeps the slot at the
//! minimum of the core's pins while it runs. Reclaim reads W first and every slot after it. All of it SeqCst: the store of the
//! slot must come before the second load of W in the one order all cores agree on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use starling_storage::ids::{CoreId, Seq};

/// W, the published watermark: one for the process (R5). Only the sequencer moves it.
#[derive(Clone, Debug, Default)]
pub struct Watermark(Arc<AtomicU64>);

impl Watermark {
    pub fn new(seq: Seq) -> Watermark {
        Watermark(Arc::new(AtomicU64::new(seq.0)))
    }

    pub fn get(&self) -> Seq {
        Seq(self.0.load(Ordering::SeqCst))
    }

    pub(super) fn set(&self, seq: Seq) {
        self.0.store(seq.0, Ordering::SeqCst);
    }
}

/// A slot on a cache line of its own.
#[repr(align(128))]
#[derive(Debug)]
struct Slot(AtomicU64);

/// The `oldest` slots, one a core.
#[derive(Clone, Debug)]
pub struct Oldest(Arc<[Slot]>);

impl Oldest {
    pub fn new(cores: u16) -> Oldest {
        Oldest((0..cores).map(|_| Slot(AtomicU64::new(u64::MAX))).collect())
    }

    fn store(&self, core: CoreId, seq: Seq) {
        self.0[usize::from(core.0)].0.store(seq.0, Ordering::SeqCst);
    }

    /// No reader needs versions below this: W first, then every slot (R11).
    pub fn horizon(&self, watermark: &Watermark) -> Seq {
        let first = watermark.get();
        self.0.iter().map(|slot| Seq(slot.0.load(Ordering::SeqCst))).fold(first, Seq::min)
    }
}

/// The pins of one core.
pub struct Pins {
    core: CoreId,
    watermark: Watermark,
    oldest: Oldest,
    held: RefCell<BTreeMap<Seq, usize>>,
}

impl Pins {
    pub fn new(core: CoreId, watermark: Watermark, oldest: Oldest) -> Rc<Pins> {
        Rc::new(Pins { core, watermark, oldest, held: RefCell::new(BTreeMap::new()) })
    }

    pub fn watermark(&self) -> Seq {
        self.watermark.get()
    }

    /// Pins the newest visible snapshot.
    pub fn pin(self: &Rc<Pins>) -> Pin {
        let mut seq = self.watermark.get();
        loop {
            self.hold(seq);
            let again = self.watermark.get();
            if again == seq {
                return Pin { seq, of: self.clone() };
            }
            // R11: W moved between the load and the store; reclaim may not have seen the slot.
            self.release(seq);
            seq = again;
        }
    }

    /// How many pins there are, and the oldest.
    pub fn held(&self) -> (usize, Option<Seq>) {
        let held = self.held.borrow();
        (held.values().sum(), held.keys().next().copied())
    }

    fn hold(&self, seq: Seq) {
        *self.held.borrow_mut().entry(seq).or_insert(0) += 1;
        self.publish();
    }

    fn release(&self, seq: Seq) {
        let mut held = self.held.borrow_mut();
        if let Some(count) = held.get_mut(&seq) {
            *count -= 1;
            if *count == 0 {
                held.remove(&seq);
            }
        }
        drop(held);
        self.publish();
    }

    /// The slot is the minimum of the core's pins.
    fn publish(&self) {
        let least = self.held.borrow().keys().next().copied().unwrap_or(Seq::MAX);
        self.oldest.store(self.core, least);
    }
}

/// A pinned snapshot. Everything a statement reads, it reads at `seq`.
pub struct Pin {
    seq: Seq,
    of: Rc<Pins>,
}

impl Pin {
    pub fn seq(&self) -> Seq {
        self.seq
    }
}

impl Clone for Pin {
    /// Holds the same snapshot longer.
    fn clone(&self) -> Pin {
        self.of.hold(self.seq);
        Pin { seq: self.seq, of: self.of.clone() }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.of.release(self.seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_the_minimum_of_the_pins() {
        let (watermark, oldest) = (Watermark::new(Seq(5)), Oldest::new(2));
        let pins = Pins::new(CoreId(1), watermark.clone(), oldest.clone());
        assert_eq!(oldest.horizon(&watermark), Seq(5));
        let old = pins.pin();
        watermark.set(Seq(9));
        let new = pins.pin();
        assert_eq!((old.seq(), new.seq(), oldest.horizon(&watermark)), (Seq(5), Seq(9), Seq(5)));
        let again = old.clone();
        drop(old);
        assert_eq!(oldest.horizon(&watermark), Seq(5));
        drop(again);
        assert_eq!(oldest.horizon(&watermark), Seq(9));
        drop(new);
        watermark.set(Seq(11));
        assert_eq!((oldest.horizon(&watermark), pins.held()), (Seq(11), (0, None)));
    }
}
