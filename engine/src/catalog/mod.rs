//! The catalog: databases and tables as an immutable value.
//!
//! | file | part |
//! |---|---|
//! | `table` | `Table`, `Database`, placement |
//! | `edit` | `CatalogOp` (what a statement asks for), `CatalogEdit` (what is logged and applied) |
//!
//! Core 0 turns an op into an edit, gives it a number and logs it (R10); every core applies edits in number order to its own copy,
//! so that a snapshot's catalog is the one of its number. A `Catalog` is never changed: `apply` makes the next one, sharing all
//! tables that stay. It is `Send`; nothing here does I/O.

mod edit;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use starling_storage::ids::{CoreId, DbId, Seq, TableId, TabletId};

pub use edit::{CatalogEdit, CatalogOp, NewTable};
pub use table::{Database, Table};

use crate::error::{EngineError, Result};

/// The database of hidden tables (R9).
pub const HIDDEN_DATABASE: &str = "_starling_";
/// The hidden table of labels.
pub const LABELS_TABLE: &str = "labels";
/// Databases whose tables are views of the server; nobody may create them.
pub const RESERVED_DATABASES: [&str; 3] = ["information_schema", "mysql", "sys"];

/// All databases and tables as of one commit sequence number.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The number of the last DDL applied.
    version: Seq,
    /// The next id for a database, table or tablet. Never goes back, so ids are never reused (R17).
    next_id: u64,
    databases: BTreeMap<String, Arc<Database>>,
    tables: BTreeMap<TableId, Arc<Table>>,
    /// Tables by (database, name).
    names: BTreeMap<(DbId, String), TableId>,
    /// Tablets by id: table and bucket.
    tablets: BTreeMap<TabletId, (TableId, u32)>,
}

/// The durable form: what the catalog's checkpoint holds.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Stored {
    version: Seq,
    next_id: u64,
    databases: Vec<Database>,
    tables: Vec<Table>,
}

impl Catalog {
    /// The catalog of an empty data directory.
    pub fn empty() -> Catalog {
        // Ids below 1000 stay free for what is built in.
        Catalog { next_id: 1000, ..Catalog::default() }
    }

    pub fn version(&self) -> Seq {
        self.version
    }

    /// Databases by name, the hidden one included.
    pub fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.values()
    }

    pub fn database(&self, name: &str) -> Result<&Arc<Database>> {
        self.databases.get(name).ok_or_else(|| EngineError::unknown_database(name))
    }

    pub fn has_database(&self, name: &str) -> bool {
        self.databases.contains_key(name)
    }

    /// Tables of a database by name.
    pub fn tables(&self, db: DbId) -> impl Iterator<Item = &Arc<Table>> {
        let range = (db, String::new())..(DbId(db.0 + 1), String::new());
        self.names.range(range).filter_map(|(_, id)| self.tables.get(id))
    }

    pub fn all_tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// A table by name. Database and table names are case-sensitive, as StarRocks' are.
    pub fn table(&self, db: &str, name: &str) -> Result<&Arc<Table>> {
        let id = self.database(db)?.id;
        self.find_table(id, name).ok_or_else(|| EngineError::unknown_table(format!("{db}.{name}")))
    }

    pub fn find_table(&self, db: DbId, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(self.names.get(&(db, name.to_string()))?)
    }

    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// The table and bucket of a tablet; `None` once it is dropped.
    pub fn tablet(&self, id: TabletId) -> Option<(&Arc<Table>, u32)> {
        let &(table, bucket) = self.tablets.get(&id)?;
        Some((self.tables.get(&table)?, bucket))
    }

    pub fn tablet_ids(&self) -> impl Iterator<Item = TabletId> {
        self.tablets.keys().copied()
    }

    /// The core that owns a tablet when there are `cores` of them (R17).
    pub fn owner(&self, id: TabletId, cores: u16) -> Option<CoreId> {
        let (table, bucket) = self.tablet(id)?;
        Some(table.owner(bucket, cores))
    }

    /// The durable form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            version: self.version,
            next_id: self.next_id,
            databases: self.databases.values().map(|d| Database::clone(d)).collect(),
            tables: self.tables.values().map(|t| Table::clone(t)).collect(),
        };
        // Serialising owned values into memory fails only when memory does.
        rkyv::to_bytes::<rkyv::rancor::Error>(&stored).expect("catalog serialises into memory").to_vec()
    }

    /// Reads the durable form; trusts nothing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Catalog> {
        let stored: Stored = rkyv::from_bytes::<Stored, rkyv::rancor::Error>(&aligned(bytes))
            .map_err(|e| EngineError::damaged(format!("catalog checkpoint: {e}")))?;
        let mut catalog = Catalog { version: stored.version, next_id: stored.next_id, ..Catalog::default() };
        for database in stored.databases {
            catalog.databases.insert(database.name.clone(), Arc::new(database));
        }
        for table in stored.tables {
            catalog.insert(Arc::new(table));
        }
        Ok(catalog)
    }

    fn insert(&mut self, table: Arc<Table>) {
        for (bucket, &tablet) in table.tablets.iter().enumerate() {
            self.tablets.insert(tablet, (table.id, bucket as u32));
        }
        self.names.insert((table.db, table.name.clone()), table.id);
        self.tables.insert(table.id, table);
    }

    fn remove(&mut self, id: TableId) {
        if let Some(table) = self.tables.remove(&id) {
            self.names.remove(&(table.db, table.name.clone()));
            for tablet in &table.tablets {
                self.tablets.remove(tablet);
            }
        }
    }
}

/// A copy at an address that suits rkyv: a record of the log puts its parts at any.
fn aligned(bytes: &[u8]) -> rkyv::util::AlignedVec<16> {
    let mut copy = rkyv::util::AlignedVec::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}

#[cfg(test)]
mod tests;
