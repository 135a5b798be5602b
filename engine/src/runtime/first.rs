//! Starting an executor until one runs.
//!
//! glommio 0.9 may park before it has polled anything (see `heartbeat`): at its very first turn there is no waker yet that somebody else could
//! use, so nothing ends that park. What such an executor was to run is therefore kept where another one can take it; seen in one start of
//! a hundred on a machine with eight busy threads a CPU. The one that is left behind holds a thread, its rings and nothing of ours.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{EngineError, Result};

/// How long the first executor may take to its first poll before another one is started beside it; each further one may take twice as long.
/// Longer costs a start that long when a wake-up is lost; shorter starts more than are needed on a slow machine, where the slow one may still win.
const FIRST_POLL_WAIT: Duration = Duration::from_millis(500);
/// Executors that are started for one core at most: a minute in all.
const STARTS_MAX: usize = 7;

/// What an executor asks, in its first poll, for its work.
pub(super) struct Claim<T> {
    number: usize,
    work: Arc<Mutex<Option<T>>>,
    taken: flume::Sender<usize>,
}

impl<T> Claim<T> {
    /// The work; `None` when another executor has it: this one ends.
    pub fn take(self) -> Option<T> {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // The starter waits for it; if it has given up meanwhile, the work is ours all the same.
        let _ = self.taken.send(self.number);
        Some(work)
    }
}

/// Starts executors with `start` until one has taken `work`; gives that one's handle. Error: that of `start`; none of many came to run.
pub(super) fn first_to_run<T, H>(work: T, mut start: impl FnMut(Claim<T>) -> Result<H>) -> Result<H> {
    let work = Arc::new(Mutex::new(Some(work)));
    let (taken, takers) = flume::unbounded();
    let mut started = Vec::new();
    for number in 0..STARTS_MAX {
        started.push(start(Claim { number, work: work.clone(), taken: taken.clone() })?);
        if let Ok(taker) = takers.recv_timeout(FIRST_POLL_WAIT * (1 << number)) {
            return Ok(started.swap_remove(taker));
        }
        tracing::warn!(number, "an executor has not begun to run; another one is started");
    }
    Err(EngineError::environment(format!("{STARTS_MAX} executors were started for one core and none came to run")))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn an_executor_that_never_polls_is_replaced() {
        let mut parked = None;
        let handle = first_to_run("work", |claim| {
            Ok(if claim.number == 0 {
                parked = Some(claim);
                None
            } else {
                Some(thread::spawn(move || claim.take()))
            })
        });
        let handle = handle.unwrap().expect("the second one took it");
        assert_eq!(handle.join().unwrap(), Some("work"));
        assert_eq!(parked.and_then(Claim::take), None, "one that wakes too late finds nothing to do");
    }

    #[test]
    fn executors_that_run_are_not_doubled() {
        let mut started = 0;
        let handle = first_to_run(7, |claim| {
            started += 1;
            Ok(thread::spawn(move || claim.take()))
        });
        assert_eq!((handle.unwrap().join().unwrap(), started), (Some(7), 1));
    }

    #[test]
    fn an_error_of_a_start_is_told() {
        let failed: Result<()> = first_to_run(7, |_| Err(EngineError::environment("no memory")));
        assert!(failed.unwrap_err().message.contains("no memory"));
    }
}
