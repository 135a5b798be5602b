//! The same through real cores: a node on disk, rows by loads, tablets on their owners.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use starling_storage::ids::CoreId;
use starling_storage::rows::Rows;
use starling_storage::schema::{Column, ColumnType, TableKind, TabletSchema};

use super::statements;
use super::world::{self, TestTable};
use crate::catalog::{CatalogOp, NewTable};
use crate::exec::query::QueryHandle;
use crate::exec::{PointColumns, point_get, row_counts, run};
use crate::plan::{PlanContext, StarlingTable, plan_query, session_config};
use crate::runtime::{Node, NodeOptions};
use crate::shard::Core;
use crate::txn::{LoadKind, LoadOptions};

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn start(name: &str, cores: u16) -> (Node, Place) {
    // Beside the build: the system's temporary directory may be a tmpfs, which has no O_DIRECT.
    let test = std::env::current_exe().unwrap();
    let data = test.parent().unwrap().join(format!("starling-exec-{name}-{cores}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&data));
    let node = Node::start(NodeOptions::new(data.clone(), cores, 1 << 30)).unwrap();
    (node, Place(data))
}

async fn create(core: &Rc<Core>, name: &str, schema: TabletSchema, buckets: u32, group: Option<String>) {
    let new = NewTable {
        name: name.to_string(),
        schema,
        buckets: Some(buckets),
        colocate_group: group,
        properties: Vec::new(),
        comment: String::new(),
    };
    core.ddl(CatalogOp::CreateTable { db: "test".to_string(), table: new, if_not_exists: false }).await.unwrap();
}

async fn load(core: &Rc<Core>, name: &str, batch: RecordBatch) {
    let id = core.catalog().table("test", name).unwrap().id;
    let options = LoadOptions { label: None, kind: LoadKind::Insert, timeout: Duration::from_secs(60) };
    let mut load = core.open_load(id, options).await.unwrap();
    load.push(Rows { batch, deletes: None }).await.unwrap();
    assert!(load.commit(None).await.unwrap().visible);
}

async fn fill(core: Rc<Core>) {
    core.ddl(CatalogOp::CreateDatabase { name: "test".to_string(), if_not_exists: false }).await.unwrap();
    for TestTable { table, rows } in world::tables() {
        create(&core, &table.name, table.schema.as_ref().clone(), table.buckets, table.colocate_group.clone()).await;
        if rows.num_rows() > 0 {
            load(&core, &table.name, rows).await;
        }
    }
}

async fn lines(core: Rc<Core>, sql: &'static str) -> Vec<String> {
    let (catalog, cores) = (core.catalog(), core.cores());
    let counts = row_counts(&core).await;
    let plan = core.planner().run(move || {
        let context = datafusion::prelude::SessionContext::new_with_config(session_config(cores));
        for table in catalog.all_tables().filter(|t| t.db_name == "test") {
            let rows = counts.get(&table.id).copied();
            context.register_table(&table.name, Arc::new(StarlingTable::new(table.clone(), cores, rows))).unwrap();
        }
        let state = context.state();
        let logical = futures::executor::block_on(state.create_logical_plan(sql)).unwrap();
        plan_query(&state.optimize(&logical).unwrap(), &PlanContext::new(cores)).unwrap()
    });
    let plan = plan.await.unwrap();
    let mut stream = run(&core, plan, QueryHandle::new(1, core.pin())).await.unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        batches.push(batch.unwrap_or_else(|e| panic!("{sql}: {e}")));
    }
    world::sorted(world::lines(&batches))
}

#[test]
fn statements_through_real_cores() {
    let oracle = world::oracle();
    for cores in [1, 2, 3] {
        let (node, _place) = start("statements", cores);
        node.run_on(CoreId(0), fill).unwrap();
        for sql in statements::STATEMENTS {
            let found = node.run_on(CoreId(cores - 1), move |core| lines(core, sql)).unwrap();
            assert_eq!(oracle.rows(sql), found, "{sql} on {cores} cores");
        }
        assert_eq!(node.stop().errors, Vec::<String>::new());
    }
}

fn keyed() -> TabletSchema {
    let column = |id, name: &str, ty| Column {
        id,
        name: name.into(),
        ty,
        nullable: false,
        default: None,
        comment: String::new(),
    };
    TabletSchema {
        version: 1,
        kind: TableKind::PrimaryKey,
        columns: vec![
            column(0, "a", ColumnType::BigInt),
            column(1, "b", ColumnType::Varchar(20)),
            column(2, "v", ColumnType::BigInt),
        ],
        key_columns: 2,
        sort_columns: vec![0, 1],
        bucket_columns: vec![1],
    }
}

fn keys(range: std::ops::Range<i64>) -> Vec<(&'static str, arrow::array::ArrayRef)> {
    vec![
        ("a", Arc::new(Int64Array::from_iter_values(range.clone())) as _),
        ("b", Arc::new(StringArray::from_iter_values(range.map(|i| format!("b{}", i % 50)))) as _),
    ]
}

async fn point_reads(core: Rc<Core>) {
    core.ddl(CatalogOp::CreateDatabase { name: "test".to_string(), if_not_exists: false }).await.unwrap();
    create(&core, "p", keyed(), 7, None).await;
    let values = |range: std::ops::Range<i64>, factor: i64| {
        let v = Arc::new(Int64Array::from_iter_values(range.clone().map(|i| i * factor)));
        let mut columns = keys(range);
        columns.push(("v", v));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    load(&core, "p", values(0..1000, 1)).await;
    let old = core.pin();
    load(&core, "p", values(0..500, 10)).await;
    let table = core.catalog().table("test", "p").unwrap().clone();
    let wanted = RecordBatch::try_from_iter(keys(400..1100)).unwrap();
    let columns = PointColumns::new(&table, &[2, 0]).unwrap();
    for (pin, factor) in [(core.pin(), 10), (old, 1)] {
        let (rows, which) = point_get(&core, &table, &pin, &wanted, &columns).await.unwrap();
        assert_eq!(which, (0..600).collect::<Vec<u32>>());
        let expected = (400..1000).map(|i| if i < 500 { i * factor } else { i });
        assert_eq!(rows.column(0).as_ref(), &Int64Array::from_iter_values(expected));
        assert_eq!(rows.column(1).as_ref(), &Int64Array::from_iter_values(400..1000));
    }
    let nothing = RecordBatch::try_from_iter(keys(5000..5001)).unwrap();
    let (rows, which) = point_get(&core, &table, &core.pin(), &nothing, &columns).await.unwrap();
    assert_eq!((rows.num_rows(), which), (0, vec![]));
}

#[test]
fn point_reads_find_rows_on_all_cores() {
    for cores in [1, 3] {
        let (node, _place) = start("points", cores);
        node.run_on(CoreId(0), point_reads).unwrap();
        assert_eq!(node.stop().errors, Vec::<String>::new());
    }
}
