//! The pause rule: a reactor whose slow lane or planner wants to run and got less than a fifth of the last 4 ms sleeps 1 ms.
//! Measured (design 2): at nice 19 alone the siblings of a busy reactor get 1.5 % of the CPU; with the pause 22 %, at a median gap
//! of 1.07 ms. What they got is read off their CPU clocks. Counting the reactor's parks instead (voluntary context switches) took any park, how
//! short ever, for enough: one in each 4 ms, as on a machine with other work, and the siblings starved.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::event::Event;
use super::thread::CpuClock;

const WINDOW: Duration = Duration::from_millis(4);
const PAUSE: Duration = Duration::from_millis(1);
/// Siblings that want to run are owed one part in so many: what they get when the reactor pauses once a window.
const SHARE: u32 = 5;

/// A sibling thread as the rule sees it. Shared between the reactor and that thread: an atomic and a clock that is set once.
#[derive(Default)]
pub struct Sibling {
    runs: AtomicBool,
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
        self.runs.store(true, Ordering::Relaxed);
    }

    /// Its thread is about to park.
    pub fn rests(&self) {
        self.runs.store(false, Ordering::Relaxed);
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

    fn is_runnable(&self) -> bool {
        self.siblings.borrow().iter().any(|sibling| sibling.runs.load(Ordering::Relaxed))
    }

    /// What all siblings have used of the CPU.
    fn cpu_time(&self) -> Duration {
        self.siblings.borrow().iter().map(|sibling| sibling.cpu_time()).sum()
    }

    /// The rule, as a task of the reactor. It costs a timer only while something is handed over.
    pub async fn keep(self: Rc<Busy>) {
        loop {
            self.entered.until(|| (self.handed_over.get() > 0).then_some(())).await;
            let (begun, used) = (Instant::now(), self.cpu_time());
            glommio::timer::sleep(WINDOW).await;
            if self.is_runnable() && self.cpu_time().saturating_sub(used) * SHARE < begun.elapsed() {
                std::thread::sleep(PAUSE);
                self.pauses.set(self.pauses.get() + 1);
            }
        }
    }
}
