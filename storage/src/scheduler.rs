//! A deterministic executor for tests: one seed, one order of all tasks. It plays the cores of the simulated machine.

use crate::key::mix64;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Random numbers by seed (splitmix64).
#[derive(Clone)]
pub(crate) struct Random(Rc<Cell<u64>>);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(Rc::new(Cell::new(mix64(seed ^ 0x1234_5678_9abc_def1))))
    }

    /// A number below `below` (> 0).
    pub(crate) fn below(&self, below: u64) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        mix64(self.0.get()) % below
    }

    /// True once in `times`.
    pub(crate) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }
}

struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    ready: Arc<Ready>,
}

/// The executor; clones share it, so that tasks can spawn tasks.
#[derive(Clone)]
pub(crate) struct Scheduler {
    random: Random,
    tasks: Rc<RefCell<Vec<Task>>>,
    spawned: Rc<RefCell<Vec<Task>>>,
    steps: Rc<Cell<u64>>,
}

impl Scheduler {
    pub(crate) fn new(random: Random) -> Scheduler {
        Scheduler { random, tasks: Rc::default(), spawned: Rc::default(), steps: Rc::default() }
    }

    /// Adds a task; it runs when the executor does.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let task = Task { future: Box::pin(future), ready: Arc::new(Ready(AtomicBool::new(true))) };
        self.spawned.borrow_mut().push(task);
    }

    /// Polls ready tasks in random order until `stop` holds, or until none is ready. Returns whether it was stopped.
    pub(crate) fn run(&self, mut stop: impl FnMut() -> bool) -> bool {
        loop {
            if stop() {
                return true;
            }
            self.tasks.borrow_mut().append(&mut self.spawned.borrow_mut());
            let ready: Vec<usize> = {
                let tasks = self.tasks.borrow();
                (0..tasks.len()).filter(|&i| tasks[i].ready.0.load(Ordering::Relaxed)).collect()
            };
            if ready.is_empty() {
                return false;
            }
            let chosen = ready[self.random.below(ready.len() as u64) as usize];
            self.steps.set(self.steps.get() + 1);
            let mut task = self.tasks.borrow_mut().swap_remove(chosen);
            task.ready.0.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&task.ready));
            if task.future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
                self.tasks.borrow_mut().push(task);
            }
        }
    }

    /// Runs one future to its end beside all tasks; `None` when nothing can go on, or when `stop` holds.
    pub(crate) fn block_on<R: 'static>(
        &self,
        future: impl Future<Output = R> + 'static,
        mut stop: impl FnMut() -> bool,
    ) -> Option<R> {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        self.spawn(async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        let done = Rc::clone(&result);
        self.run(|| done.borrow().is_some() || stop());
        result.take()
    }

    /// Drops every task: the process is gone.
    pub(crate) fn kill(&self) {
        self.spawned.borrow_mut().clear();
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    /// How many polls were made.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }
}
