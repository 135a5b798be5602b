//! The errors of storage, in three classes: *expected* ones are values of [`StorageError`]; damage carries the place and
//! both values; and [`StorageError::Poisoned`] says that the owner of a file must stop, because a failed write or
//! fdatasync is never retried (R2).

use crate::ids::Seq;
use std::fmt;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself is wrong; repeating it will not help.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// A limit is reached (memory, log space, disk); try again later or raise the limit.
    ResourceExhausted,
    /// Bytes on disk are not what was written; the operator has to decide.
    Corrupt,
    /// The device failed; the process must stop.
    Io,
    /// The object is shutting down.
    Closed,
}

/// An error of storage.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// A call with arguments that cannot be right.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// A file or an object that is not there.
    #[error("not found: {0}")]
    NotFound(String),
    /// A named limit is reached.
    #[error("limit {limit} reached: {detail}")]
    Limit {
        /// Name of the limit.
        limit: &'static str,
        /// How much was asked for and how much there is.
        detail: String,
    },
    /// The device has no room.
    #[error("disk full while writing {file}; free space in the data directory")]
    DiskFull {
        /// Path relative to the data directory.
        file: String,
    },
    /// Damaged bytes.
    #[error("damaged file {file} at offset {offset}: expected {expected}, found {found}")]
    Corrupt {
        /// Path relative to the data directory.
        file: String,
        /// Offset in bytes.
        offset: u64,
        /// What a sound file has there.
        expected: String,
        /// What this file has there.
        found: String,
    },
    /// The operating system refused a call.
    #[error("{call} failed on {file}: {reason}")]
    Io {
        /// The call, e.g. `fdatasync`.
        call: &'static str,
        /// Path relative to the data directory.
        file: String,
        /// The system's text.
        reason: String,
    },
    /// An earlier write or fdatasync of this file failed: what it holds is unknown.
    #[error("{file} failed earlier and is not used any more: {reason}")]
    Poisoned {
        /// Path relative to the data directory.
        file: String,
        /// The first failure.
        reason: String,
    },
    /// R11: versions that the snapshot needs may be gone.
    #[error("snapshot {at} is too old: versions below {oldest} are no longer kept")]
    SnapshotTooOld {
        /// The snapshot's number.
        at: Seq,
        /// The oldest number that can be read.
        oldest: Seq,
    },
    /// Arrow refused the data.
    #[error("column data: {0}")]
    Arrow(String),
    /// The object was closed, or the simulated machine lost its power.
    #[error("closed: {0}")]
    Closed(&'static str),
}

/// Result of a storage call.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

impl StorageError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StorageError::Invalid(_) | StorageError::Arrow(_) => ErrorKind::Invalid,
            StorageError::NotFound(_) => ErrorKind::NotFound,
            StorageError::Limit { .. } | StorageError::DiskFull { .. } | StorageError::SnapshotTooOld { .. } => {
                ErrorKind::ResourceExhausted
            }
            StorageError::Corrupt { .. } => ErrorKind::Corrupt,
            StorageError::Io { .. } | StorageError::Poisoned { .. } => ErrorKind::Io,
            StorageError::Closed(_) => ErrorKind::Closed,
        }
    }

    /// Damage at a place of a file.
    pub fn corrupt(file: &str, offset: u64, expected: impl fmt::Display, found: impl fmt::Display) -> StorageError {
        StorageError::Corrupt {
            file: file.to_string(),
            offset,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

impl From<arrow::error::ArrowError> for StorageError {
    fn from(error: arrow::error::ArrowError) -> Self {
        StorageError::Arrow(error.to_string())
    }
}
