//! Edits and what replaying them gives.

use crate::error::{Result, StorageError};
use crate::ids::{FileId, Seq, TabletId};
use crate::rules::{Rule, off};
use crate::schema::Predicate;
use rkyv::{Archive, Deserialize, Serialize};
use roaring::RoaringBitmap;
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

impl TabletState {
    /// Takes an edit in.
    ///
    /// Errors: `Corrupt` (without a place) for an edit that does not fit: F going back, a file that is not there or twice there,
    /// delete bytes that are no roaring bitmap.
    pub fn apply(&mut self, edit: &Edit) -> Result<()> {
        self.apply_but_deletes(edit)?;
        edit.deletes.iter().try_for_each(|(file, bytes)| self.add_deletes(*file, bytes))
    }

    /// As [`TabletState::apply`], but for the deletes: those may be long, and come one file at a time.
    pub(super) fn apply_but_deletes(&mut self, edit: &Edit) -> Result<()> {
        if edit.flushed < self.flushed && !off(Rule::StaleF) {
            return Err(damage(
                format!("F of tablet {} at least {}", edit.tablet, self.flushed),
                edit.flushed.to_string(),
            ));
        }
        for file in &edit.removed {
            let at = self.files.iter().position(|f| f.file == *file);
            let at = at.ok_or_else(|| damage(format!("file {} to remove", file.path()), "no such file".to_string()))?;
            self.files.remove(at);
            self.deletes.remove(file);
        }
        for added in &edit.added {
            if self.files.iter().any(|f| f.file == added.file) {
                return Err(damage(format!("a new file, not {}", added.file.path()), "it is there".to_string()));
            }
            self.next_file = self.next_file.max(added.file.number + 1);
            self.files.push(added.clone());
        }
        if let Some((file, _)) = edit.deletes.iter().find(|(file, _)| !self.files.iter().any(|f| f.file == *file)) {
            return Err(damage(format!("file {} with deletes", file.path()), "no such file".to_string()));
        }
        self.predicates.extend(edit.predicates.iter().cloned());
        self.predicates.retain(|(seq, _)| *seq > edit.predicates_folded);
        self.flushed = edit.flushed;
        self.next_file = self.next_file.max(edit.next_file);
        Ok(())
    }

    /// Adds the deletes of one file of an edit.
    pub(super) fn add_deletes(&mut self, file: FileId, bytes: &[u8]) -> Result<()> {
        let dead = self.deletes.entry(file).or_default();
        *dead = union(dead, bytes).map_err(|e| damage("a roaring bitmap".to_string(), e.to_string()))?;
        Ok(())
    }
}

fn damage(expected: String, found: String) -> StorageError {
    StorageError::corrupt("edit", 0, expected, found)
}

fn union(a: &[u8], b: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut rows = RoaringBitmap::deserialize_from(b)?;
    if !a.is_empty() {
        rows |= RoaringBitmap::deserialize_from(a)?;
    }
    let mut bytes = Vec::with_capacity(rows.serialized_size());
    rows.serialize_into(&mut bytes)?;
    Ok(bytes)
}
