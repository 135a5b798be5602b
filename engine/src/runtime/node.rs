//! A node: the cores of one process, their start in order and their stop in reverse.

use std::path::PathBuf;
use std::rc::Rc;

use starling_storage::ids::CoreId;

use crate::error::{EngineError, Result};
use crate::shard::Core;

/// What an operator chooses.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The data directory; made when it does not exist.
    pub data: PathBuf,
    /// Executors; more than the machine has CPUs is allowed.
    pub cores: u16,
    /// Bytes for everything: caches, memtables, queries.
    pub memory: u64,
}

/// How the stop went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Commits that were still in flight when the stop began; all of them ended.
    pub commits_drained: u64,
    /// What went wrong, first error first.
    pub errors: Vec<String>,
}

/// A running node. Dropping it without `stop` leaves the cores running.
pub struct Node {}

impl Node {
    /// Opens the data directory (refused while another process has it), recovers, starts the cores. Blocks until they serve.
    pub fn start(_options: NodeOptions) -> Result<Node> {
        Err(EngineError::unsupported("start"))
    }

    pub fn cores(&self) -> u16 {
        0
    }

    /// Runs `work` on a core and waits for what it gives. For threads outside; a task that lives on is spawned by `work`.
    pub fn run_on<T, F, W>(&self, _core: CoreId, _work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce(Rc<Core>) -> F + Send + 'static,
    {
        Err(EngineError::unsupported("run_on"))
    }

    /// Stops in order: sessions are ended, commits in flight finish, background work ends, files are closed. Blocks.
    pub fn stop(self) -> StopReport {
        StopReport::default()
    }
}
