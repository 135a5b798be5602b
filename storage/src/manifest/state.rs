//! Edits and what replaying them gives.

use crate::ids::{FileId, Seq, TabletId};
use crate::schema::Predicate;
use rkyv::{Archive, Deserialize, Serialize};
use std::collections::BTreeMap;

/// A segment file of a tablet.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct FileMeta {
    /// The file.
    pub file: FileId,
    /// Rows in it, dead ones included.
    pub rows: u32,
    /// Its length.
    pub bytes: u64,
    /// Least commit number of its rows.
    pub min_seq: Seq,
    /// Greatest commit number of its rows: snapshots from here on read all of it.
    pub max_seq: Seq,
}

/// One switch of one tablet (R15): one edit, one in flight per tablet.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Edit {
    /// The tablet.
    pub tablet: TabletId,
    /// F after the edit, read when the edit is built; never less than before.
    pub flushed: Seq,
    /// Files that are part of the tablet from now on; synced, their directory too.
    pub added: Vec<FileMeta>,
    /// Files that are not any more.
    pub removed: Vec<FileId>,
    /// Rows of a file, outputs included, that died at numbers in (F before, F]: roaring bytes, added to what the file has.
    pub deletes: Vec<(FileId, Vec<u8>)>,
    /// Delete predicates with a number in (F before, F] that are kept beside the files (tables without a primary key).
    pub predicates: Vec<(Seq, Vec<Predicate>)>,
    /// Kept predicates up to this number are folded into the files and go.
    pub predicates_folded: Seq,
    /// File numbers below this are used up, also by files no edit names.
    pub next_file: u64,
    /// The tablet was dropped: its state goes, its F stays as a mark.
    pub dropped: bool,
}

/// A tablet as its files tell it, at F.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct TabletState {
    /// F: every change through this number is in the files.
    pub flushed: Seq,
    /// The files, in the order they were added.
    pub files: Vec<FileMeta>,
    /// Dead rows at F per file: roaring bytes. A file without an entry has none.
    pub deletes: BTreeMap<FileId, Vec<u8>>,
    /// Delete predicates not folded into the files, ascending by number: each hides rows older than it.
    pub predicates: Vec<(Seq, Vec<Predicate>)>,
    /// The next free file number.
    pub next_file: u64,
}
