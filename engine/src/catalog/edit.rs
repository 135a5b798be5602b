//! Changes of the catalog. `CatalogOp` is what a statement asks for; `Catalog::resolve` checks it and gives every new thing its id;
//! the `CatalogEdit` that comes out is what the log holds, and applying it is a pure function, so that replay repeats it (R4, R10).

use std::sync::Arc;

use rkyv::{Archive, Deserialize, Serialize};
use starling_storage::ids::{DbId, Seq, TableId, TabletId};
use starling_storage::schema::TabletSchema;

use super::{Catalog, Database, HIDDEN_DATABASE, LABELS_TABLE, RESERVED_DATABASES, Table, aligned};
use crate::error::{EngineError, Result};
use crate::limits::BUCKETS_MAX;

/// A table to be made.
#[derive(Debug, Clone)]
pub struct NewTable {
    pub name: String,
    pub schema: TabletSchema,
    /// `None`: chosen for the machine.
    pub buckets: Option<u32>,
    pub colocate_group: Option<String>,
    pub properties: Vec<(String, String)>,
    pub comment: String,
}

/// What a statement asks for.
#[derive(Debug, Clone)]
pub enum CatalogOp {
    CreateDatabase { name: String, if_not_exists: bool },
    DropDatabase { name: String, if_exists: bool },
    CreateTable { db: String, table: NewTable, if_not_exists: bool },
    DropTable { db: String, name: String, if_exists: bool },
    TruncateTable { db: String, name: String },
}

/// A resolved change: what the log holds.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub enum CatalogEdit {
    CreateDatabase(Database),
    DropDatabase(DbId),
    CreateTable(Table),
    DropTable(TableId),
    /// R10: new tablet ids, so that replay can tell the rows before from those after.
    TruncateTable {
        table: TableId,
        tablets: Vec<TabletId>,
    },
}

impl CatalogEdit {
    pub fn to_bytes(&self) -> Vec<u8> {
        rkyv::to_bytes::<rkyv::rancor::Error>(self).expect("edit serialises into memory").to_vec()
    }

    /// Reads what the log holds; trusts nothing.
    pub fn from_bytes(bytes: &[u8]) -> Result<CatalogEdit> {
        rkyv::from_bytes::<CatalogEdit, rkyv::rancor::Error>(&aligned(bytes))
            .map_err(|e| EngineError::damaged(format!("catalog edit: {e}")))
    }
}

impl Catalog {
    /// Checks `op` against this catalog. `None`: there is nothing to do (IF [NOT] EXISTS).
    pub fn resolve(&self, op: &CatalogOp, cores: u16, now: u64) -> Result<Option<CatalogEdit>> {
        match op {
            CatalogOp::CreateDatabase { name, if_not_exists } => self.resolve_create_database(name, *if_not_exists),
            CatalogOp::DropDatabase { name, if_exists } => {
                if *if_exists && !self.has_database(name) {
                    return Ok(None);
                }
                refuse_hidden(name)?;
                Ok(Some(CatalogEdit::DropDatabase(self.database(name)?.id)))
            }
            CatalogOp::CreateTable { db, table, if_not_exists } => {
                let database = self.database(db)?;
                if table.name != LABELS_TABLE {
                    refuse_hidden(db)?;
                }
                if self.find_table(database.id, &table.name).is_some() {
                    return if *if_not_exists { Ok(None) } else { Err(EngineError::table_exists(&table.name)) };
                }
                self.new_table(database, table, cores, now).map(|table| Some(CatalogEdit::CreateTable(table)))
            }
            CatalogOp::DropTable { db, name, if_exists } => {
                refuse_hidden(db)?;
                match self.table(db, name) {
                    Ok(table) => Ok(Some(CatalogEdit::DropTable(table.id))),
                    Err(_) if *if_exists && self.has_database(db) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            CatalogOp::TruncateTable { db, name } => {
                refuse_hidden(db)?;
                let table = self.table(db, name)?;
                let tablets = (0..u64::from(table.buckets)).map(|i| TabletId(self.next_id + i)).collect();
                Ok(Some(CatalogEdit::TruncateTable { table: table.id, tablets }))
            }
        }
    }

    fn resolve_create_database(&self, name: &str, if_not_exists: bool) -> Result<Option<CatalogEdit>> {
        if self.has_database(name) || RESERVED_DATABASES.contains(&name) {
            return if if_not_exists { Ok(None) } else { Err(EngineError::database_exists(name)) };
        }
        Ok(Some(CatalogEdit::CreateDatabase(Database { id: DbId(self.next_id), name: name.to_string() })))
    }

    fn new_table(&self, db: &Database, new: &NewTable, cores: u16, now: u64) -> Result<Table> {
        let buckets = new.buckets.unwrap_or_else(|| default_buckets(cores));
        if buckets == 0 || buckets > BUCKETS_MAX {
            return Err(EngineError::analyze(format!("BUCKETS must be between 1 and {BUCKETS_MAX}, not {buckets}")));
        }
        if let Some(group) = &new.colocate_group {
            self.check_colocate(group, new, buckets)?;
        }
        Ok(Table {
            id: TableId(self.next_id),
            db: db.id,
            db_name: db.name.clone(),
            name: new.name.clone(),
            schema: Arc::new(new.schema.clone()),
            buckets,
            auto_buckets: new.buckets.is_none(),
            colocate_group: new.colocate_group.clone(),
            properties: new.properties.clone(),
            comment: new.comment.clone(),
            tablets: (0..u64::from(buckets)).map(|i| TabletId(self.next_id + 1 + i)).collect(),
            created: now,
        })
    }

    /// Tables of a colocate group agree in bucket count and in the types of the bucket columns.
    fn check_colocate(&self, group: &str, new: &NewTable, buckets: u32) -> Result<()> {
        let types = |schema: &TabletSchema| -> Vec<_> {
            schema.bucket_positions().iter().map(|&c| schema.columns[c].ty).collect()
        };
        let Some(other) = self.all_tables().find(|t| t.colocate_group.as_deref() == Some(group)) else { return Ok(()) };
        let place = other.full_name();
        if other.buckets != buckets {
            let text = format!("Colocate tables must have same bucket num: {} as {place}", other.buckets);
            return Err(EngineError::bad_property("colocate_with", text));
        }
        if types(&other.schema) != types(&new.schema) {
            let text = format!("Colocate tables distribution columns must have the same data type as {place}");
            return Err(EngineError::bad_property("colocate_with", text));
        }
        Ok(())
    }

    /// The catalog after `edit`, which committed with number `seq`.
    pub fn apply(&self, seq: Seq, edit: &CatalogEdit) -> Catalog {
        let mut next = self.clone();
        next.version = seq;
        match edit {
            CatalogEdit::CreateDatabase(database) => {
                next.next_id = next.next_id.max(database.id.0 + 1);
                next.databases.insert(database.name.clone(), Arc::new(database.clone()));
            }
            CatalogEdit::DropDatabase(id) => {
                let tables: Vec<TableId> = next.tables(*id).map(|t| t.id).collect();
                tables.into_iter().for_each(|table| next.remove(table));
                next.databases.retain(|_, database| database.id != *id);
            }
            CatalogEdit::CreateTable(table) => {
                next.next_id = next.next_id.max(table.id.0 + 1).max(after(&table.tablets));
                next.insert(Arc::new(table.clone()));
            }
            CatalogEdit::DropTable(id) => next.remove(*id),
            CatalogEdit::TruncateTable { table, tablets } => {
                next.next_id = next.next_id.max(after(tablets));
                if let Some(old) = next.tables.get(table).cloned() {
                    next.remove(*table);
                    next.insert(Arc::new(Table { tablets: tablets.clone(), ..Table::clone(&old) }));
                }
            }
        }
        next
    }

    /// The tablets that `edit` takes away.
    pub fn dropped_by(&self, edit: &CatalogEdit) -> Vec<TabletId> {
        let of = |id: &TableId| self.table_by_id(*id).map(|t| t.tablets.clone()).unwrap_or_default();
        match edit {
            CatalogEdit::DropDatabase(id) => self.tables(*id).flat_map(|t| t.tablets.clone()).collect(),
            CatalogEdit::DropTable(id) | CatalogEdit::TruncateTable { table: id, .. } => of(id),
            CatalogEdit::CreateDatabase(_) | CatalogEdit::CreateTable(_) => Vec::new(),
        }
    }
}

fn after(tablets: &[TabletId]) -> u64 {
    tablets.iter().map(|t| t.0 + 1).max().unwrap_or(0)
}

fn refuse_hidden(db: &str) -> Result<()> {
    if db == HIDDEN_DATABASE {
        return Err(EngineError::analyze(format!(
            "{HIDDEN_DATABASE} is the server's own database and cannot be changed"
        )));
    }
    Ok(())
}

/// Buckets of a table that names none: two a core, so that a machine of twice the cores still spreads it.
fn default_buckets(cores: u16) -> u32 {
    (2 * u32::from(cores)).next_power_of_two().clamp(8, 64)
}
