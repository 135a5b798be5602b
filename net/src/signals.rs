//! SIGTERM and SIGINT, taken by one waiting thread instead of a handler. `take` must come before any other thread is made, as threads
//! inherit what is blocked.
//!
//! While the server starts, a signal ends the process at once: recovery writes nothing that the next one cannot find again. While it
//! serves, the first asks for a clean stop, and a second ends the process: the stop hangs, and the operator insists.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

/// Exit status of a process that a signal ended before it was done.
const EXIT_INTERRUPTED: i32 = 130;

/// The signals that ask for a stop.
pub struct StopSignals {
    serving: Arc<AtomicBool>,
    first: mpsc::Receiver<&'static str>,
}

/// Blocks SIGTERM and SIGINT for this thread and those it makes, and starts the one that waits for them.
pub fn take() -> io::Result<StopSignals> {
    let set = block()?;
    let serving = Arc::new(AtomicBool::new(false));
    let (asked, first) = mpsc::channel();
    let is_serving = serving.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let name = wait(&set);
        if !is_serving.load(Ordering::Acquire) {
            eprintln!("starling: {name} while starting: ends; the next start recovers");
            std::process::exit(EXIT_INTERRUPTED);
        }
        // Nobody waits any more when the process is ending anyway.
        asked.send(name).ok();
        let name = wait(&set);
        eprintln!("starling: {name} again: ends without a clean stop; the next start recovers");
        std::process::exit(EXIT_INTERRUPTED);
    })?;
    Ok(StopSignals { serving, first })
}

impl StopSignals {
    /// The server serves: from now on the first signal asks for a clean stop.
    pub fn serving(&self) {
        self.serving.store(true, Ordering::Release);
    }

    /// Waits for the first signal; gives its name.
    pub fn wait(&self) -> &'static str {
        self.first.recv().unwrap_or("the end of the signal thread")
    }
}

#[expect(unsafe_code, reason = "signal sets have no safe interface in std")]
fn block() -> io::Result<libc::sigset_t> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills the whole set before anything reads it.
    let set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        let mut set = set.assume_init();
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        set
    };
    // SAFETY: the set is valid, and the old mask is not asked for.
    let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if error != 0 { Err(io::Error::from_raw_os_error(error)) } else { Ok(set) }
}

#[expect(unsafe_code, reason = "signal sets have no safe interface in std")]
fn wait(set: &libc::sigset_t) -> &'static str {
    loop {
        let mut signal = 0;
        // SAFETY: the set is valid and `signal` is there to be filled.
        let error = unsafe { libc::sigwait(&raw const *set, &raw mut signal) };
        match (error, signal) {
            (0, libc::SIGINT) => return "SIGINT",
            (0, _) => return "SIGTERM",
            // Only EINTR is left: look again.
            _ => {}
        }
    }
}
