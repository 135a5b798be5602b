//! Starling engine: runtime of the cores, shards, transactions, catalog, loads, SQL, planning, execution.
//!
//! | folder | part |
//! |---|---|
//! | `runtime` | executors, mailboxes, scheduling classes, slow lane, planner, start and stop |
//! | `shard` | `Core`: what one core owns and the messages it answers |
//! | `txn` | sequencer, loads, labels, turns, pins |
//! | `catalog` | databases and tables, as an immutable value every core has a copy of |
//! | `load` | formats and Stream Load |
//! | `sql`, `session`, `admin` | statements, connections, SHOW and information_schema |
//! | `plan`, `exec` | planning, fragments, pipelines, exchanges |
//! | `functions`, `types` | function registry and type rules |

pub mod admin;
pub mod catalog;
pub mod error;
pub mod exec;
pub mod functions;
pub mod limits;
pub mod load;
pub mod metrics;
pub mod plan;
pub mod runtime;
pub mod session;
pub mod shard;
pub mod sql;
pub mod txn;
pub mod types;

pub use error::{EngineError, Result};
