//! One at a time, on one core: whoever wants through waits until the one inside has left. Guards what must not overlap across
//! awaits: manifest edits of a tablet (R15) and the building of its index.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// The passage.
#[derive(Default)]
pub(super) struct Turnstile {
    busy: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Turnstile {
    /// Waits until nobody is inside, and enters.
    pub(super) async fn enter(&self) -> Turn<'_> {
        poll_fn(|context| {
            if self.busy.get() {
                self.waiting.borrow_mut().push(context.waker().clone());
                return Poll::Pending;
            }
            self.busy.set(true);
            Poll::Ready(())
        })
        .await;
        Turn { turnstile: self }
    }
}

/// Being inside; left when dropped.
pub(super) struct Turn<'a> {
    turnstile: &'a Turnstile,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turnstile.busy.set(false);
        // All are woken, so that one that has gone away cannot swallow the wake-up; the first to run enters.
        self.turnstile.waiting.take().into_iter().for_each(Waker::wake);
    }
}
