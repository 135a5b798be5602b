//! Starling's edges: the MySQL protocol, HTTP and the `starling` binary.
//!
//! | part | what it is |
//! |---|---|
//! | `serve` | one running server: addresses bound, node started, connections accepted, stop in order |
//! | `listen` | exclusive listeners, and handing each connection to the core that has fewest |
//! | `socket` | one accepted socket on its core; the watch that ends idle and stuck ones |
//! | `mysql` | MySQL protocol: handshake, commands, results |
//! | `http` | HTTP/1.1: Stream Load, health, metrics |
//! | `stats` | what the edges count |
//! | `demo` | a table that is updated while dashboards read it, over the sockets |
//! | `doctor` | whether this machine can run Starling, and how to mend it |
//! | `machine` | CPUs, memory and file descriptors of this machine or container |
//! | `process` | CPU time, memory and files of this process, for /metrics |
//! | `signals` | waiting for SIGTERM and SIGINT |
//!
//! glommio appears in `listen`, `socket` and `mysql::commands` (yielding) only. Nothing here owns data: a connection lives on one core
//! and calls the engine there.

pub mod demo;
pub mod doctor;
mod http;
mod listen;
pub mod machine;
mod mysql;
mod process;
pub mod serve;
pub mod signals;
mod socket;
pub mod stats;
