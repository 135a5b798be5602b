//! The end of the process when going on would break a promise: a failed log write, a panic after a commit number (R2). Nothing is
//! unwound and nothing is flushed: recovery from the log is the one way back, and it is tested.

use std::fmt::Display;

/// Exit status of a process that stopped itself; `abort` gives 134 (SIGABRT), which supervisors restart.
pub fn fatal(reason: impl Display) -> ! {
    tracing::error!(%reason, "process stops; it recovers at the next start");
    eprintln!("starling: fatal: {reason}");
    std::process::abort()
}
