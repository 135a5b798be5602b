//! Identifiers. Each is a type of its own, so that a tablet can never be passed for a table. All are `Send`: they are what
//! messages carry instead of references.

use rkyv::{Archive, Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[rkyv(derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash))]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(/// A database of the catalog.
    DbId(u64));
id!(/// A table of the catalog.
    TableId(u64));
id!(/// One bucket of one partition of a table: the unit of placement, owned by one core.
    TabletId(u64));
id!(/// A transaction, from its begin; it has a [`Seq`] only once it is committed.
    TxnId(u64));
id!(/// A commit sequence number: dense, from 1, one order for the whole database. `Seq(0)` is the empty database.
    Seq(u64));
id!(/// One start of the process.
    Epoch(u32));
id!(/// A core of this process, counted from 0; an executor, not a CPU number.
    CoreId(u16));

impl TabletId {
    /// The pseudo-tablet under which DDL is logged (R10). It lives on core 0 and its F is the catalog checkpoint's.
    pub const CATALOG: TabletId = TabletId(0);
}

impl Seq {
    /// The state before any commit.
    pub const ZERO: Seq = Seq(0);
    /// Greater than every number: "no bound".
    pub const MAX: Seq = Seq(u64::MAX);

    /// The number after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// A segment file: files are named by tablet (R17), so that a tablet can change owners without renaming anything.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[rkyv(derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash))]
pub struct FileId {
    /// The tablet whose rows it holds.
    pub tablet: TabletId,
    /// Counts up within the tablet and is never reused, not even after a crash.
    pub number: u64,
}

impl FileId {
    /// Path relative to the data directory.
    pub fn path(self) -> String {
        format!("seg/{:016x}-{:016x}.seg", self.tablet.0, self.number)
    }

    /// The id named by a file name of the `seg` directory; `None` for a name that is not of that form.
    pub fn parse(name: &str) -> Option<FileId> {
        let (tablet, number) = name.strip_suffix(".seg")?.split_once('-')?;
        let hex = |s: &str| if s.len() == 16 { u64::from_str_radix(s, 16).ok() } else { None };
        Some(FileId { tablet: TabletId(hex(tablet)?), number: hex(number)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_round_trip() {
        let id = FileId { tablet: TabletId(0xabc), number: 7 };
        let path = id.path();
        assert_eq!(FileId::parse(path.strip_prefix("seg/").unwrap_or_default()), Some(id));
        assert_eq!(FileId::parse("0-1.seg"), None);
        assert_eq!(FileId::parse("lost+found"), None);
    }
}
