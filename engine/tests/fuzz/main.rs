//! Bytes from outside, changed at random, through the engine's own paths: SQL to the end of its run on a real node, Stream Load's headers and bodies,
//! the catalog's durable form. The corpora are in `tests/corpus`; how they are changed is in `tests/src/fuzz.rs` of the workspace.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../../tests/src/fuzz.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod fuzz;
#[path = "../../../tests/src/random.rs"]
mod random;
#[path = "../session/support.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod support;

mod catalog;
mod loads;
mod sql;

use std::path::{Path, PathBuf};

/// A folder of `tests/corpus`.
fn corpus(parser: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(parser)
}
