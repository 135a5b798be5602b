//! Waiting within one core: no atomics, no allocation per wake. Everything here is cancel-safe: a dropped waiter is woken for nothing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Wakes all who wait, who then look again.
#[derive(Default)]
pub(crate) struct Signal {
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Wakes everyone.
    pub(crate) fn notify(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Returns when `ready` gives a value; it is asked now and after every [`Signal::notify`].
    pub(crate) async fn wait<R>(&self, mut ready: impl FnMut() -> Option<R>) -> R {
        poll_fn(|cx| match ready() {
            Some(value) => Poll::Ready(value),
            None => {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|w| w.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }
}

/// Mutual exclusion among the tasks of one core, held across awaits.
#[derive(Default)]
pub(crate) struct Exclusive {
    held: Cell<bool>,
    waiting: RefCell<VecDeque<Waker>>,
}

/// Held [`Exclusive`]; released when dropped.
pub(crate) struct Held<'a>(&'a Exclusive);

impl Exclusive {
    /// Waits for the turn.
    pub(crate) async fn hold(&self) -> Held<'_> {
        poll_fn(|cx| {
            if self.held.replace(true) {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|w| w.will_wake(cx.waker())) {
                    waiting.push_back(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Poll::Ready(Held(self))
        })
        .await
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.set(false);
        // All of them: a waiter may have been dropped, and then its wake would be lost.
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }
}
