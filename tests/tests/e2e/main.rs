//! End to end: the real server, real clients, real files. One binary, so that everything links once.
//!
//! | file | what it shows |
//! |---|---|
//! | `basics` | tables, rows, labels, errors over MySQL and HTTP |
//! | `updates` | concurrent UPDATEs lose nothing; many small commits stay small |
//! | `crash` | kill -9 at random moments: nothing acknowledged is lost, doubled or torn |
//! | `clients` | PyMySQL, mysql-connector-python, the mariadb command line |
//! | `idle` | a server without work leaves the CPUs alone |
//! | `limits` | bounds that only many clients reach |
//! | `slt` | `slt/statements`: statements and what they must answer |
//! | `polls` | no task holds a core for long, under loads, updates and dashboards |
//! | `tpch` | TPC-H through Stream Load, against DuckDB on the same files |
//! | `differential` | joins, random queries and random changes against DuckDB, on 1, 2 and 3 cores |
//! | `workspace` | what the workspace promises: direction of dependencies, one set of features |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by ending")]

mod basics;
mod clients;
mod crash;
mod differential;
mod idle;
mod limits;
mod polls;
mod slt;
mod tpch;
mod updates;
mod workspace;
