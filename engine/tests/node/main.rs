//! Whole nodes: real executors, files and logs, driven from outside.
#![expect(clippy::unwrap_used, reason = "tests")]

mod commit;
mod labels;
mod restart;
mod rewrite;
mod runtime;
mod support;
mod turns;
