//! Starling engine: runtime of the cores, shards, transactions, catalog, loads, SQL, planning, execution.

pub mod functions;
pub mod types;
