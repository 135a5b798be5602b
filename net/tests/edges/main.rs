//! The edges against a real server in this process, over its sockets: what well-behaved clients do, and what no client should.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../../tests/src/fuzz.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod fuzz;
#[path = "../../../tests/src/random.rs"]
mod random;

mod cancel;
mod hostile;
mod http;
mod loads;
mod mutation;
mod mysql;
mod slow;
mod support;
