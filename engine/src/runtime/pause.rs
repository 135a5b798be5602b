//! The pause rule: a reactor that has not parked for 4 ms while its slow lane or planner has runnable work sleeps 1 ms.
//! Measured (design 2): at nice 19 alone the siblings of a busy reactor get 1.5 % of the CPU; with the pause 22 %, at a median gap
//! of 1.07 ms. Parks are counted as voluntary context switches of the reactor's thread.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::event::Event;
use super::thread::parks;

const UNPARKED: Duration = Duration::from_millis(4);
const PAUSE: Duration = Duration::from_millis(1);

/// Whether the sibling threads of this core have work.
#[derive(Default)]
pub struct Busy {
    /// Jobs and futures handed over and not yet answered.
    handed_over: Cell<usize>,
    entered: Event,
    /// Per sibling: it is running or wants to.
    flags: std::cell::RefCell<Vec<Arc<AtomicBool>>>,
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

    /// A flag for one more sibling.
    pub fn flag(&self) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(false));
        self.flags.borrow_mut().push(flag.clone());
        flag
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
        self.flags.borrow().iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// The rule, as a task of the reactor. It costs a timer only while something is handed over.
    pub async fn keep(self: Rc<Busy>) {
        loop {
            self.entered.until(|| (self.handed_over.get() > 0).then_some(())).await;
            let before = parks();
            glommio::timer::sleep(UNPARKED).await;
            if self.is_runnable() && parks() == before {
                std::thread::sleep(PAUSE);
                self.pauses.set(self.pauses.get() + 1);
            }
        }
    }
}
