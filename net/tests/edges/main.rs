//! The edges against a real server in this process, over its sockets: what well-behaved clients do, and what no client should.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cancel;
mod hostile;
mod http;
mod loads;
mod mysql;
mod support;
