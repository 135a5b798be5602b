//! Starling's storage. It knows nothing of SQL, sockets or actors: passive state that its owner core drives.

/// Tests beside the crate and in it share files, which name it alike.
#[cfg(test)]
extern crate self as starling_storage;

pub mod cache;
pub mod delvector;
pub mod disk;
pub mod encoding;
pub mod error;
#[cfg(test)]
mod golden;
pub mod ids;
pub mod index;
pub mod inspect;
pub mod key;
pub mod log;
pub mod manifest;
pub mod memtable;
#[cfg(test)]
mod power_loss;
pub mod recovery;
pub mod root;
pub mod rows;
pub mod rowset;
mod rules;
#[cfg(test)]
mod scheduler;
pub mod schema;
pub mod segment;
pub mod tablet;
mod wait;

pub use error::{ErrorKind, Result, StorageError};
