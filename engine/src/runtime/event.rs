//! Waiting inside one core: `Event` (a condition others change) and `Permits` (a local bound). Both are `!Send` and lock nothing.
//! Dropping a waiting future is safe: it takes its waker back.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Wakes those who wait for a condition on this core.
#[derive(Default)]
pub struct Event {
    next: Cell<u64>,
    waiting: RefCell<Vec<(u64, Waker)>>,
}

impl Event {
    pub fn new() -> Event {
        Event::default()
    }

    /// Something changed: everyone looks again.
    pub fn notify(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Waits until `ready` gives a value. It is asked at once and after each `notify`.
    pub async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        let id = self.next.get();
        self.next.set(id + 1);
        let _forget = Forget { event: self, id };
        poll_fn(|cx| {
            if let Some(value) = ready() {
                return Poll::Ready(value);
            }
            let mut waiting = self.waiting.borrow_mut();
            match waiting.iter_mut().find(|(other, _)| *other == id) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => waiting.push((id, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await
    }

    /// Waits for the next `notify`.
    pub fn next(&self) -> impl Future<Output = ()> + '_ {
        let mut first = true;
        self.until(move || if std::mem::take(&mut first) { None } else { Some(()) })
    }
}

struct Forget<'a> {
    event: &'a Event,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.event.waiting.borrow_mut().retain(|(id, _)| *id != self.id);
    }
}

/// A bound on something of this core.
pub struct Permits {
    free: Cell<usize>,
    changed: Event,
}

impl Permits {
    pub fn new(count: usize) -> Rc<Permits> {
        Rc::new(Permits { free: Cell::new(count), changed: Event::new() })
    }

    /// Waits for a permit; it returns when the guard drops.
    pub async fn take(self: &Rc<Permits>) -> Permit {
        self.changed.until(|| self.try_take()).await
    }

    pub fn try_take(self: &Rc<Permits>) -> Option<Permit> {
        let left = self.free.get().checked_sub(1)?;
        self.free.set(left);
        Some(Permit { of: self.clone() })
    }

    pub fn free(&self) -> usize {
        self.free.get()
    }

    /// Waits until `all` permits are back: nothing is in flight.
    pub async fn drained(&self, all: usize) {
        self.changed.until(|| (self.free.get() >= all).then_some(())).await
    }
}

/// One permit.
#[must_use]
pub struct Permit {
    of: Rc<Permits>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.free.set(self.of.free.get() + 1);
        self.of.changed.notify();
    }
}
