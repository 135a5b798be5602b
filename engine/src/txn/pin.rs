//! Pins (R11): a statement stores W in its core's `oldest` slot, reads W again until it has not changed, and keeps the slot at the
//! minimum of the core's pins while it runs. Reclaim reads W first and every slot after it. All of it SeqCst: the store of the
//! slot must come before the second load of W in the one order all cores agree on.
//!
//! A pin that W has passed long ago is taken away, and its statement fails: otherwise one forgotten cursor would keep dead rows, memory and
//! files for ever. The core looks a few times a second; it is patient while there is room, and less so when loads wait for memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    /// By snapshot, oldest first, and a number of its own: who comes later may pin the same snapshot.
    held: RefCell<BTreeMap<(Seq, u64), Held>>,
    next: Cell<u64>,
    expired: Cell<u64>,
}

/// A pin and its clones.
struct Held {
    count: usize,
    /// When W was first seen above it: only then it keeps anything that others do not need.
    passed: Option<Instant>,
    /// Told when the pin is taken away.
    on_expiry: Option<Box<dyn Fn()>>,
}

impl Pins {
    pub fn new(core: CoreId, watermark: Watermark, oldest: Oldest) -> Rc<Pins> {
        let (held, next, expired) = (RefCell::default(), Cell::new(0), Cell::new(0));
        Rc::new(Pins { core, watermark, oldest, held, next, expired })
    }

    pub fn watermark(&self) -> Seq {
        self.watermark.get()
    }

    /// Pins the newest visible snapshot.
    pub fn pin(self: &Rc<Pins>) -> Pin {
        let number = self.next.get();
        self.next.set(number + 1);
        let mut seq = self.watermark.get();
        loop {
            self.hold(seq, number);
            let again = self.watermark.get();
            if again == seq {
                return Pin { seq, number, of: self.clone() };
            }
            // R11: W moved between the load and the store; reclaim may not have seen the slot.
            self.release(seq, number);
            seq = again;
        }
    }

    /// How many pins there are, and the oldest.
    pub fn held(&self) -> (usize, Option<Seq>) {
        let held = self.held.borrow();
        (held.values().map(|held| held.count).sum(), held.keys().next().map(|(seq, _)| *seq))
    }

    /// How many pins were taken away.
    pub fn expired(&self) -> u64 {
        self.expired.get()
    }

    /// R11: takes away the pins that W has passed `age` ago or earlier. Who reads at one of them gets an error from then on: tablets
    /// refuse snapshots below those that they have reclaimed for. Called now and then; returns how many.
    pub fn expire(&self, age: Duration) -> usize {
        let (now, watermark) = (Instant::now(), self.watermark.get());
        let mut gone = Vec::new();
        self.held.borrow_mut().retain(|(seq, _), held| {
            let passed = if *seq < watermark { *held.passed.get_or_insert(now) } else { return true };
            let keep = now.saturating_duration_since(passed) < age;
            if !keep {
                gone.push(held.on_expiry.take());
            }
            keep
        });
        self.expired.set(self.expired.get() + gone.len() as u64);
        // Its reader is told before anything is freed.
        gone.iter().flatten().for_each(|tell| tell());
        self.publish();
        gone.len()
    }

    fn hold(&self, seq: Seq, number: u64) {
        let new = || Held { count: 0, passed: None, on_expiry: None };
        self.held.borrow_mut().entry((seq, number)).or_insert_with(new).count += 1;
        self.publish();
    }

    fn release(&self, seq: Seq, number: u64) {
        let mut held = self.held.borrow_mut();
        // One that was taken away is not there any more.
        if let Some(pin) = held.get_mut(&(seq, number)) {
            pin.count -= 1;
            if pin.count == 0 {
                held.remove(&(seq, number));
            }
        }
        drop(held);
        self.publish();
    }

    /// The slot is the minimum of the core's pins.
    fn publish(&self) {
        let least = self.held.borrow().keys().next().map_or(Seq::MAX, |(seq, _)| *seq);
        self.oldest.store(self.core, least);
    }
}

/// A pinned snapshot. Everything a statement reads, it reads at `seq`. It may be taken away when it grows too old (R11).
pub struct Pin {
    seq: Seq,
    number: u64,
    of: Rc<Pins>,
}

impl Pin {
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Has `tell` called when the pin is taken away, so that its reader stops and lets go of what it holds.
    pub fn on_expiry(&self, tell: impl Fn() + 'static) {
        if let Some(held) = self.of.held.borrow_mut().get_mut(&(self.seq, self.number)) {
            held.on_expiry = Some(Box::new(tell));
        }
    }
}

impl Clone for Pin {
    /// Holds the same snapshot longer; one that was taken away stays away.
    fn clone(&self) -> Pin {
        if let Some(held) = self.of.held.borrow_mut().get_mut(&(self.seq, self.number)) {
            held.count += 1;
        }
        Pin { seq: self.seq, number: self.number, of: self.of.clone() }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.of.release(self.seq, self.number);
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

    #[test]
    fn a_pin_that_w_has_passed_long_ago_is_taken_away() {
        let (watermark, oldest) = (Watermark::new(Seq(5)), Oldest::new(2));
        let pins = Pins::new(CoreId(1), watermark.clone(), oldest.clone());
        let told = Rc::new(Cell::new(0));
        let (old, copy) = (pins.pin(), told.clone());
        old.on_expiry(move || copy.set(copy.get() + 1));
        let clone = old.clone();
        // Nothing newer is there: it keeps nothing, however old it is.
        assert_eq!((pins.expire(Duration::ZERO), pins.held()), (0, (2, Some(Seq(5)))));
        watermark.set(Seq(9));
        let (new, hour) = (pins.pin(), Duration::from_secs(3600));
        assert_eq!((pins.expire(hour), oldest.horizon(&watermark)), (0, Seq(5)));
        assert_eq!((pins.expire(Duration::ZERO), oldest.horizon(&watermark), told.get()), (1, Seq(9), 1));
        // What is left of it does not disturb who pins later.
        drop(clone.clone());
        drop((old, clone));
        assert_eq!((pins.held(), pins.expired()), ((1, Some(Seq(9))), 1));
        drop(new);
        assert_eq!(pins.held(), (0, None));
    }
}
