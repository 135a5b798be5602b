//! Loads: bytes from outside become column batches once, by a parser that the table's schema drives.
//!
//! | file | part |
//! |---|---|
//! | `spec` | the headers of a Stream Load, checked |
//! | `target` | which field of the input fills which column of the table |
//! | `column` | one growing column: text in, values out, rows can be taken back |
//! | `batch` | the columns of the rows being built, and what a rejected row costs |
//! | `csv`, `json` | the formats: chunks in, rows out |
//! | `rejects`, `error_log` | rejected rows: counted, the first ones kept and served under ErrorURL |
//! | `stream` | one Stream Load from its first byte to its reply |
//! | `reply` | the reply, in the words clients look for |
//!
//! Core: the one whose connection brought the bytes. What may fail: the request (a clear `Fail` reply), single rows (counted
//! against `max_filter_ratio`), the commit.

pub mod batch;
mod column;
pub mod csv;
pub mod error_log;
pub mod json;
pub mod rejects;
pub mod reply;
pub mod spec;
pub mod stream;
pub mod target;

use crate::runtime::clock::unix_micros;
use crate::types::{civil, text};

pub use reply::Reply;
pub use stream::{BodyError, Request, stream_load};

/// Now, as text of DATETIME in UTC: what CURRENT_TIMESTAMP is for one load.
pub(crate) fn now_text() -> String {
    let mut text = Vec::new();
    text::push_datetime(&mut text, unix_micros() / civil::SECOND * civil::SECOND);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests;
