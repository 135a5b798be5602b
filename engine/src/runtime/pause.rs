//! The pause rule: a reactor whose slow lane or planner wanted to run for 4 ms and got less than a fifth of them sleeps 1 ms.
//! Measured (design 2): at nice 19 alone the siblings of a busy reactor get 1.5 % of the CPU; with the pause 22 %, at a median gap
//! of 1.07 ms. What they got is read off their CPU clocks. Counting the reactor's parks instead (voluntary context switches) took any park, how
//! short ever, for enough: one in each 4 ms, as on a machine with other work, and the siblings starved.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::event::Event;
use super::thread::CpuClock;

const WINDOW: Duration = Duration::from_millis(4);
const PAUSE: Duration = Duration::from_millis(1);
/// Siblings that want to run are owed one part in so many: what they get when the reactor pauses once a window.
const SHARE: u32 = 5;

/// A sibling thread as the rule sees it. Shared between the reactor and that thread: two atomics and a clock that is set once.
#[derive(Default)]
pub struct Sibling {
    wants: AtomicBool,
    /// How often it has parked.
    rests: AtomicU64,
    clock: OnceLock<CpuClock>,
}

impl Sibling {
    /// Called on the sibling's thread, first.
    pub(super) fn started(&self) {
        if let Some(clock) = CpuClock::of_this_thread() {
            self.clock.get_or_init(|| clock);
        }
    }

    /// It runs or wants to. The reactor says so too when it hands work over: until the thread has the CPU it cannot itself.
    pub fn wants_cpu(&self) {
        self.wants.store(true, Ordering::Relaxed);
    }

    /// Its thread is about to park.
    pub fn rests(&self) {
        self.rests.fetch_add(1, Ordering::Relaxed);
        self.wants.store(false, Ordering::Relaxed);
    }

    fn cpu_time(&self) -> Duration {
        self.clock.get().and_then(|clock| clock.read()).unwrap_or_default()
    }
}

/// Whether the sibling threads of this core have work.
#[derive(Default)]
pub struct Busy {
    /// Jobs and futures handed over and not yet answered.
    handed_over: Cell<usize>,
    entered: Event,
    siblings: RefCell<Vec<Arc<Sibling>>>,
    pauses: Cell<u64>,
}

/// While it lives, the siblings may have work.
pub struct Awake(Rc<Busy>);

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.handed_over.set(self.0.handed_over.get() - 1);
    }
}

impl Busy {
    pub fn new() -> Rc<Busy> {
        Rc::new(Busy::default())
    }

    /// One more sibling.
    pub fn sibling(&self) -> Arc<Sibling> {
        let sibling = Arc::new(Sibling::default());
        self.siblings.borrow_mut().push(sibling.clone());
        sibling
    }

    /// The reactor makes no room for this one any more.
    pub fn forget(&self, sibling: &Arc<Sibling>) {
        self.siblings.borrow_mut().retain(|other| !Arc::ptr_eq(other, sibling));
    }

    pub fn enter(self: &Rc<Busy>) -> Awake {
        self.handed_over.set(self.handed_over.get() + 1);
        self.entered.notify();
        Awake(self.clone())
    }

    /// How often the reactor slept for its siblings.
    pub fn pauses(&self) -> u64 {
        self.pauses.get()
    }

    /// Per sibling that wants to run: how often it has parked so far.
    fn wanting(&self) -> Vec<(Arc<Sibling>, u64)> {
        let siblings = self.siblings.borrow();
        let wanting = siblings.iter().filter(|sibling| sibling.wants.load(Ordering::Relaxed));
        wanting.map(|sibling| (sibling.clone(), sibling.rests.load(Ordering::Relaxed))).collect()
    }

    /// What all siblings have used of the CPU.
    fn cpu_time(&self) -> Duration {
        self.siblings.borrow().iter().map(|sibling| sibling.cpu_time()).sum()
    }

    /// The rule, as a task of the reactor. It costs a timer only while something is handed over.
    pub async fn keep(self: Rc<Busy>) {
        loop {
            self.entered.until(|| (self.handed_over.get() > 0).then_some(())).await;
            let (begun, used, wanting) = (Instant::now(), self.cpu_time(), self.wanting());
            glommio::timer::sleep(WINDOW).await;
            let waits = wanting.iter().any(|(sibling, rests)| {
                sibling.wants.load(Ordering::Relaxed) && sibling.rests.load(Ordering::Relaxed) == *rests
            });
            if waits && self.cpu_time().saturating_sub(used) * SHARE < begun.elapsed() {
                std::thread::sleep(PAUSE);
                self.pauses.set(self.pauses.get() + 1);
            }
        }
    }
}
