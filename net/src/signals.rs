//! SIGTERM and SIGINT, taken by one waiting thread instead of a handler. `block` must come before any other thread is made, as threads
//! inherit what is blocked.

use std::io;

/// The signals that ask for a stop.
pub struct StopSignals {
    set: libc::sigset_t,
}

/// Keeps SIGTERM and SIGINT from ending the process; they wait for `StopSignals::wait`.
#[expect(unsafe_code, reason = "signal sets have no safe interface in std")]
pub fn block() -> io::Result<StopSignals> {
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
    if error != 0 { Err(io::Error::from_raw_os_error(error)) } else { Ok(StopSignals { set }) }
}

impl StopSignals {
    /// Waits for the next of them; gives its name.
    #[expect(unsafe_code, reason = "signal sets have no safe interface in std")]
    pub fn wait(&self) -> &'static str {
        loop {
            let mut signal = 0;
            // SAFETY: the set is valid and `signal` is there to be filled.
            let error = unsafe { libc::sigwait(&raw const self.set, &raw mut signal) };
            match (error, signal) {
                (0, libc::SIGINT) => return "SIGINT",
                (0, _) => return "SIGTERM",
                // Only EINTR is left: look again.
                _ => {}
            }
        }
    }

    /// From now on a second signal ends the process at once: the stop hangs, and the operator insists.
    pub fn insist(self) {
        let spawned = std::thread::Builder::new().name("signals".into()).spawn(move || {
            let name = self.wait();
            eprintln!("starling: {name} again: ends without a clean stop; the next start recovers");
            std::process::exit(130);
        });
        if let Err(error) = spawned {
            tracing::debug!(%error, "no thread for a second signal");
        }
    }
}
