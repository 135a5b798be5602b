//! A table and its database, as the catalog keeps them.

use std::sync::Arc;

use rkyv::{Archive, Deserialize, Serialize};
use starling_storage::ids::{CoreId, DbId, TableId, TabletId};
use starling_storage::schema::{TableKind, TabletSchema};
use xxhash_rust::xxh3::xxh3_64;

/// A database.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Database {
    pub id: DbId,
    pub name: String,
}

/// A table.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Table {
    pub id: TableId,
    pub db: DbId,
    pub db_name: String,
    pub name: String,
    pub schema: Arc<TabletSchema>,
    pub buckets: u32,
    /// The statement gave no BUCKETS.
    pub auto_buckets: bool,
    /// Tables of one group and equal bucket counts have equal buckets on one core.
    pub colocate_group: Option<String>,
    /// As the user gave them, in order.
    pub properties: Vec<(String, String)>,
    pub comment: String,
    /// One a bucket, in bucket order.
    pub tablets: Vec<TabletId>,
    /// Unix seconds.
    pub created: u64,
}

impl Table {
    pub fn kind(&self) -> TableKind {
        self.schema.kind
    }

    pub fn is_primary_key(&self) -> bool {
        self.schema.kind == TableKind::PrimaryKey
    }

    /// `db.table`, for messages.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.db_name, self.name)
    }

    /// The core that owns a bucket: `(bucket + hash(table or group)) mod cores`, so that one-bucket tables spread and the buckets
    /// of a colocate group agree (R17).
    pub fn owner(&self, bucket: u32, cores: u16) -> CoreId {
        let base = match &self.colocate_group {
            Some(group) => xxh3_64(group.as_bytes()),
            None => xxh3_64(&self.id.0.to_le_bytes()),
        };
        CoreId(((base % u64::from(cores)) as u32 + bucket % u32::from(cores)).rem_euclid(u32::from(cores)) as u16)
    }

    /// The bucket of a row by its bucket hash.
    pub fn bucket_of(&self, hash: u64) -> u32 {
        (hash % u64::from(self.buckets)) as u32
    }

    /// The value of a property.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}
