//! Spawning on the reactor. Every task is detached and never cancelled (glommio leaks cancelled tasks); a panic is caught, because in a
//! bare task it would take the whole core away; polls are measured against P7.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt;
use hdrhistogram::Histogram;

use super::classes::{Class, Classes};
use super::fatal::fatal;
use super::heartbeat::Bell;
use super::thread::cpu_time;
use crate::limits::{STALL, TIME_SLICE};

/// One poll in this many goes into the histogram of CPU times; all are on the cheap wall clock.
const SAMPLE_EVERY: u64 = 64;
/// How old a reading of the thread's CPU clock (a system call) may be to stand for the beginning of a poll.
const READING_AGE: Duration = Duration::from_micros(100);

/// Poll durations of a core.
pub struct Polls {
    bell: Arc<Bell>,
    count: Cell<u64>,
    /// CPU time of sampled polls, microseconds (P7).
    stalls: RefCell<Histogram<u64>>,
    /// Time within sampled polls during which the thread was off its CPU, microseconds.
    gaps: RefCell<Histogram<u64>>,
    /// Polls over 2 ms by the wall clock, all of them.
    long: Cell<u64>,
    longest_micros: Cell<u64>,
    /// Polls over 2 ms of CPU time, all of them, by task (P7).
    held: RefCell<BTreeMap<&'static str, Held>>,
    /// The last reading of the CPU clock, and when it was made.
    reading: Cell<(Instant, Duration)>,
}

/// How often, and how long at most, a kind of task held its core for more than 2 ms of CPU time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    pub polls: u64,
    pub longest_micros: u64,
}

impl Polls {
    pub(crate) fn new(bell: Arc<Bell>) -> Polls {
        let histogram = || RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 2).expect("the bounds are valid"));
        Polls {
            bell,
            count: Cell::new(0),
            stalls: histogram(),
            gaps: histogram(),
            long: Cell::new(0),
            longest_micros: Cell::new(0),
            held: RefCell::default(),
            reading: Cell::new((Instant::now(), cpu_time())),
        }
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    pub fn long(&self) -> u64 {
        self.long.get()
    }

    pub fn longest_micros(&self) -> u64 {
        self.longest_micros.get()
    }

    pub fn stalls(&self) -> Histogram<u64> {
        self.stalls.borrow().clone()
    }

    pub fn gaps(&self) -> Histogram<u64> {
        self.gaps.borrow().clone()
    }

    /// Polls over 2 ms of CPU time, by task.
    pub fn held(&self) -> BTreeMap<&'static str, Held> {
        self.held.borrow().clone()
    }

    fn measure<T>(&self, task: &'static str, poll: impl FnOnce() -> T) -> T {
        let number = self.count.get() + 1;
        self.count.set(number);
        self.bell.polled(number);
        let (start, sampled) = (Instant::now(), number.is_multiple_of(SAMPLE_EVERY));
        let (read_at, mut before) = self.reading.get();
        if sampled || start.saturating_duration_since(read_at) >= READING_AGE {
            before = cpu_time();
            self.reading.set((start, before));
        }
        let value = poll();
        let wall = start.elapsed();
        if sampled || wall > STALL {
            let after = cpu_time();
            self.reading.set((start + wall, after));
            // A poll that is not sampled may be charged with what the thread did in the 100 us before it.
            let used = after.saturating_sub(before).min(wall);
            self.record(task, sampled, wall, used);
        }
        value
    }

    fn record(&self, task: &'static str, sampled: bool, wall: Duration, used: Duration) {
        let micros = used.as_micros() as u64;
        if sampled {
            self.stalls.borrow_mut().saturating_record(micros);
            self.gaps.borrow_mut().saturating_record(wall.saturating_sub(used).as_micros() as u64);
        }
        if wall > STALL {
            self.long.set(self.long.get() + 1);
            self.longest_micros.set(self.longest_micros.get().max(wall.as_micros() as u64));
        }
        if used > STALL {
            let mut held = self.held.borrow_mut();
            let held = held.entry(task).or_default();
            held.polls += 1;
            held.longest_micros = held.longest_micros.max(micros);
        }
    }
}

struct Measured<F> {
    task: &'static str,
    polls: Rc<Polls>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let (polls, task) = (self.polls.clone(), self.task);
        polls.measure(task, || self.future.as_mut().poll(cx))
    }
}

/// Spawns tasks of a core.
#[derive(Clone)]
pub struct Spawner {
    classes: Classes,
    polls: Rc<Polls>,
}

impl Spawner {
    pub fn new(classes: Classes, polls: Rc<Polls>) -> Spawner {
        Spawner { classes, polls }
    }

    /// Runs `future` as a task of its own. A panic ends the task and is logged; what the task owned is dropped.
    pub fn spawn(&self, class: Class, name: &'static str, future: impl Future<Output = ()> + 'static) {
        self.detach(class, name, async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                tracing::error!(task = name, panic = panic_text(&*panic), "task panicked");
            }
        });
    }

    /// As `spawn`, for what must not end half-way: a panic stops the process (R2: after the number nothing may fail).
    pub fn spawn_vital(&self, class: Class, name: &'static str, future: impl Future<Output = ()> + 'static) {
        self.detach(class, name, async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                fatal(format!("{name} panicked: {}", panic_text(&*panic)));
            }
        });
    }

    fn detach(&self, class: Class, task: &'static str, future: impl Future<Output = ()> + 'static) {
        let measured = Measured { task, polls: self.polls.clone(), future: Box::pin(future) };
        match glommio::spawn_local_into(measured, self.classes.queue(class)) {
            Ok(task) => drop(task.detach()),
            Err(error) => fatal(format!("the {} queue of a core is gone: {error}", class.name())),
        }
    }
}

/// `future`, or `None` once `limit` has passed. The future is dropped then, so it must allow that.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (future, timer) = (pin!(future), pin!(glommio::timer::sleep(limit)));
    match futures::future::select(future, timer).await {
        futures::future::Either::Left((value, _)) => Some(value),
        futures::future::Either::Right(_) => None,
    }
}

/// A stretch of computation that gives the core to others when its time slice is used up.
pub struct Slice {
    start: Instant,
}

impl Slice {
    pub fn start() -> Slice {
        Slice { start: Instant::now() }
    }

    /// Yields the task queue (foreign wakes are seen then) once the slice is used up.
    pub async fn yield_if_over(&mut self) {
        if self.start.elapsed() >= TIME_SLICE {
            glommio::executor().yield_task_queue_now().await;
            self.start = Instant::now();
        }
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_string())
}
