//! SHOW, DESC, information_schema.
//!
//! | file | part |
//! |---|---|
//! | `grid` | small results made by hand |
//! | `show` | the SHOW statements |
//! | `describe` | DESC, SHOW COLUMNS, SHOW CREATE TABLE |
//! | `information_schema` | its tables, made from the catalog when a statement names them |
//!
//! Pure functions over the catalog and the session's variables; what needs other cores (process list) is fetched before.

pub mod describe;
pub mod grid;
pub mod information_schema;
pub mod show;

pub use grid::{Cell, Grid};
