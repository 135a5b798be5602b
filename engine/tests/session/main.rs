//! Statements over whole nodes: sessions on real cores, files and logs.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ddl;
mod dml;
mod partial;
mod prepared;
mod query;
mod subqueries;
mod support;
mod system;
