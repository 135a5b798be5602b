//! Starling engine: runtime of the cores, shards, transactions, catalog, loads, SQL, planning, execution.
