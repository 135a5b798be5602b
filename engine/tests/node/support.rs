//! A node on a directory of its own, with a table of keys and values.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::Int64Type;
use starling_engine::Result;
use starling_engine::catalog::{CatalogOp, NewTable};
use starling_engine::runtime::{Node, NodeOptions};
use starling_engine::shard::Core;
use starling_engine::txn::{Committed, Load, LoadKind, LoadOptions};
use starling_storage::ids::{CoreId, Seq, TableId};
use starling_storage::rows::{Rows, relaxed};
use starling_storage::schema::{Column, ColumnType, TableKind, TabletSchema};
use starling_storage::tablet::ScanSpec;

/// A fresh data directory; the path stays for restarts, until the test's thread ends.
pub fn fresh(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("node-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    DIRECTORIES.with_borrow_mut(|all| all.0.push(path.clone()));
    path
}

thread_local! {
    static DIRECTORIES: RefCell<Directories> = const { RefCell::new(Directories(Vec::new())) };
}

/// What a test's thread has made: a node's logs are hundreds of megabytes.
struct Directories(Vec<PathBuf>);

impl Drop for Directories {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(std::fs::remove_dir_all(path)));
    }
}

pub fn start(data: &Path, cores: u16) -> Node {
    Node::start(options(data, cores)).unwrap()
}

pub fn options(data: &Path, cores: u16) -> NodeOptions {
    NodeOptions::new(data.to_path_buf(), cores, 1 << 30)
}

pub fn schema(kind: TableKind) -> TabletSchema {
    let column = |id, name: &str| Column {
        id,
        name: name.into(),
        ty: ColumnType::BigInt,
        nullable: false,
        default: None,
        comment: String::new(),
    };
    TabletSchema {
        version: 1,
        kind,
        columns: vec![column(0, "k"), column(1, "v")],
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: vec![0],
    }
}

pub fn create_database(node: &Node) {
    let op = CatalogOp::CreateDatabase { name: "d".into(), if_not_exists: false };
    node.run_on(CoreId(0), |core| async move { core.ddl(op).await.map(drop) }).unwrap().unwrap();
}

/// A primary-key table `d.name (k BIGINT, v BIGINT)`.
pub fn create_table(node: &Node, name: &str, buckets: u32) -> TableId {
    create_table_of(node, name, buckets, TableKind::PrimaryKey)
}

pub fn create_table_of(node: &Node, name: &str, buckets: u32, kind: TableKind) -> TableId {
    let table = NewTable {
        name: name.into(),
        schema: schema(kind),
        buckets: Some(buckets),
        colocate_group: None,
        properties: Vec::new(),
        comment: String::new(),
    };
    let op = CatalogOp::CreateTable { db: "d".into(), table, if_not_exists: false };
    let from = CoreId(node.cores() - 1);
    node.run_on(from, |core| async move { core.ddl(op).await.map(drop) }).unwrap().unwrap();
    table_id(node, name)
}

pub fn table_id(node: &Node, name: &str) -> TableId {
    let name = name.to_string();
    node.run_on(CoreId(0), move |core| async move { core.catalog().table("d", &name).unwrap().id }).unwrap()
}

pub fn rows(pairs: &[(i64, i64)]) -> Rows {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(pairs.iter().map(|p| p.0)));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(pairs.iter().map(|p| p.1)));
    Rows::upserts(RecordBatch::try_new(schema(TableKind::PrimaryKey).arrow(), vec![keys, values]).unwrap())
}

pub fn deletes(keys: &[i64]) -> Rows {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(keys.iter().copied()));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![None; keys.len()]));
    let batch = RecordBatch::try_new(relaxed(&schema(TableKind::PrimaryKey)), vec![column, values]).unwrap();
    Rows { batch, deletes: Some(BooleanBuffer::new_set(keys.len())) }
}

pub fn load_options(label: Option<&str>) -> LoadOptions {
    LoadOptions { label: label.map(str::to_string), kind: LoadKind::Insert, timeout: Duration::from_secs(300) }
}

pub async fn open(core: &Rc<Core>, table: TableId, label: Option<&str>) -> Result<Load> {
    core.open_load(table, load_options(label)).await
}

/// One load from one core.
pub fn load(
    node: &Node,
    core: u16,
    table: TableId,
    pairs: Vec<(i64, i64)>,
    label: Option<&'static str>,
) -> Result<Committed> {
    node.run_on(CoreId(core), move |core| async move {
        let mut load = open(&core, table, label).await?;
        load.push(rows(&pairs)).await?;
        load.commit(None).await
    })?
}

/// The tablets of this core at a snapshot.
pub async fn read_here(core: &Rc<Core>, table: TableId, at: Seq) -> Vec<(i64, i64)> {
    let catalog = core.catalog();
    let table = catalog.table_by_id(table).unwrap();
    let mut pairs = Vec::new();
    for (bucket, &id) in table.tablets.iter().enumerate() {
        if table.owner(bucket as u32, core.cores()) != core.id() {
            continue;
        }
        let spec = ScanSpec { columns: vec![0, 1], ..ScanSpec::default() };
        let mut scan = core.tablet(id).unwrap().snapshot(at).scan(spec);
        while let Some(batch) = scan.next().await.unwrap() {
            let (k, v) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_primitive::<Int64Type>());
            pairs.extend(k.values().iter().copied().zip(v.values().iter().copied()));
        }
    }
    pairs
}

/// The whole table at one pinned snapshot, and that snapshot. Fails on a key that is there twice.
pub fn read(node: &Node, table: TableId) -> (Seq, BTreeMap<i64, i64>) {
    let (seq, pairs) = read_all(node, table);
    let count = pairs.len();
    let map: BTreeMap<i64, i64> = pairs.into_iter().collect();
    assert_eq!(map.len(), count, "a key twice at {seq}");
    (seq, map)
}

/// A pin of core 0 that lives until the sender is dropped.
pub fn hold_pin(node: &Node) -> (Seq, futures::channel::oneshot::Sender<()>) {
    node.run_on(CoreId(0), |core| async move {
        let pin = core.pin();
        let (release, released) = futures::channel::oneshot::channel::<()>();
        let seq = pin.seq();
        core.spawn(starling_engine::runtime::Class::Query, "hold a pin", async move {
            let _told_or_dropped = released.await;
            drop(pin);
        });
        (seq, release)
    })
    .unwrap()
}

pub fn read_all(node: &Node, table: TableId) -> (Seq, Vec<(i64, i64)>) {
    // The pin lives on core 0 until all cores are read.
    let (seq, release) = hold_pin(node);
    let mut pairs = Vec::new();
    for core in 0..node.cores() {
        pairs.extend(node.run_on(CoreId(core), move |core| async move { read_here(&core, table, seq).await }).unwrap());
    }
    drop(release);
    pairs.sort_unstable();
    (seq, pairs)
}

/// How many buckets of the table each core owns.
pub fn owners(node: &Node, table: TableId) -> Vec<usize> {
    node.run_on(CoreId(0), move |core| async move {
        let catalog = core.catalog();
        let table = catalog.table_by_id(table).unwrap();
        let mut counts = vec![0; usize::from(core.cores())];
        (0..table.buckets).for_each(|bucket| counts[usize::from(table.owner(bucket, core.cores()).0)] += 1);
        counts
    })
    .unwrap()
}
