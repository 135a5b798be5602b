//! The harness of the end to end tests: the real `starling` in a process of its own, reached over its sockets. Links no engine.
//!
//! | part | what it is |
//! |---|---|
//! | `server` | a server process: start, stop, kill -9 |
//! | `load` | Stream Load as curl does it |
//! | `python` | a virtual environment with the real clients and DuckDB |
//! | `random` | seeded numbers; the seed is printed when a test fails |
//!
//! `fuzz.rs` is not part of it: the tests of the other crates, on which this one must not depend nor they on it, include that file by path.

pub mod load;
pub mod python;
pub mod random;
pub mod server;

pub use load::{LoadReply, stream_load};
pub use random::Random;
pub use server::Server;

/// A number of the environment, for the long forms of tests; `default` is the short form.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
