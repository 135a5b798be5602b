//! A small world: tables in memory, executors as cores, and plain DataFusion beside them as the oracle.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::*;
use arrow::datatypes::*;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::{BoxFuture, LocalBoxFuture};
use starling_storage::ids::{CoreId, DbId, Seq, TableId, TabletId};
use starling_storage::key::bucket_hash;
use starling_storage::schema::{Column, ColumnType, CompareOp, Predicate, Scalar, TableKind, TabletSchema};
use starling_storage::tablet::ScanCounters;

use crate::catalog::Table;
use crate::error::{EngineError, Result};
use crate::exec::budget::Budget;
use crate::exec::query::QueryHandle;
use crate::exec::request::Work;
use crate::exec::site::{ReadSpec, Reader, Site, SiteRef};
use crate::exec::{FragmentRequest, ResultStream, fragment, launch};
use crate::plan::table::sql_schema;
use crate::plan::{DistributedPlan, PlanContext, StarlingTable, plan_query, session_config};
use crate::runtime::heartbeat::{Bell, Heartbeat};
use crate::txn::{Oldest, Pins, Watermark};

type Tablets = HashMap<TabletId, RecordBatch>;
type Job = Box<dyn FnOnce(SiteRef) -> LocalBoxFuture<'static, ()> + Send>;

enum Mail {
    Job(Job),
    Fragment(FragmentRequest),
}

struct TestSite {
    id: CoreId,
    mesh: Vec<flume::Sender<Mail>>,
    slow: flume::Sender<BoxFuture<'static, ()>>,
    tablets: Arc<Tablets>,
    budget: Rc<Budget>,
    bell: Arc<Bell>,
    polls: Rc<Cell<u64>>,
}

struct MemoryReader {
    rows: RecordBatch,
    offset: usize,
}

#[async_trait(?Send)]
impl Reader for MemoryReader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.offset >= self.rows.num_rows() {
            return Ok(None);
        }
        let rows = (self.rows.num_rows() - self.offset).min(700);
        let batch = self.rows.slice(self.offset, rows);
        self.offset += rows;
        Ok(Some(batch))
    }

    fn counters(&self) -> ScanCounters {
        ScanCounters::default()
    }
}

#[async_trait(?Send)]
impl Site for TestSite {
    fn id(&self) -> CoreId {
        self.id
    }

    fn budget(&self) -> Rc<Budget> {
        self.budget.clone()
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        let mut task = task;
        let (bell, polls) = (self.bell.clone(), self.polls.clone());
        let task = std::future::poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            bell.polled(polls.get());
            task.as_mut().poll(cx)
        });
        drop(glommio::spawn_local(task).detach());
    }

    async fn slow(&self, work: BoxFuture<'static, ()>) -> Result<()> {
        let (done, wait) = futures::channel::oneshot::channel();
        let work = async move {
            work.await;
            let _ = done.send(());
        };
        self.slow.send(Box::pin(work)).unwrap();
        wait.await.map_err(|_| EngineError::internal("the slow lane panicked"))
    }

    fn read(&self, tablet: TabletId, _at: Seq, spec: &ReadSpec) -> Result<Box<dyn Reader>> {
        let rows = self.tablets.get(&tablet).ok_or_else(|| EngineError::environment("tablet of broken is damaged"))?;
        let mask: BooleanArray =
            (0..rows.num_rows()).map(|row| Some(spec.predicates.iter().all(|p| matches(p, rows, row)))).collect();
        let rows = arrow::compute::filter_record_batch(rows, &mask).unwrap().project(&spec.columns).unwrap();
        Ok(Box::new(MemoryReader { rows, offset: 0 }))
    }

    async fn send(&self, core: CoreId, request: FragmentRequest) -> Result<()> {
        self.mesh[usize::from(core.0)].send(Mail::Fragment(request)).unwrap();
        Ok(())
    }

    async fn yield_now(&self) {
        glommio::executor().yield_task_queue_now().await;
    }

    async fn sleep(&self, time: Duration) {
        glommio::timer::sleep(time).await;
    }
}

/// A predicate on one row, the slow and obvious way.
fn matches(predicate: &Predicate, rows: &RecordBatch, row: usize) -> bool {
    let column = rows.column(predicate.column());
    let value = value(column, row);
    let Some(value) = value else { return matches!(predicate, Predicate::IsNull { .. }) };
    match predicate {
        Predicate::IsNull { .. } => false,
        Predicate::IsNotNull { .. } => true,
        Predicate::In { values, .. } => values.contains(&value),
        Predicate::NotIn { values, .. } => !values.contains(&value),
        Predicate::Prefix { prefix, .. } => matches!(&value, Scalar::Text(text) if text.starts_with(prefix)),
        Predicate::Compare { op, value: other, .. } => {
            let order = value.partial_cmp(other).unwrap();
            match op {
                CompareOp::Eq => order.is_eq(),
                CompareOp::Ne => order.is_ne(),
                CompareOp::Lt => order.is_lt(),
                CompareOp::Le => order.is_le(),
                CompareOp::Gt => order.is_gt(),
                CompareOp::Ge => order.is_ge(),
            }
        }
    }
}

fn value(column: &ArrayRef, row: usize) -> Option<Scalar> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Boolean => Scalar::Bool(column.as_boolean().value(row)),
        DataType::Int8 => Scalar::Int(column.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int32 => Scalar::Int(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Scalar::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => Scalar::Int(column.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => Scalar::Int(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Decimal128(..) => Scalar::Wide(column.as_primitive::<Decimal128Type>().value(row)),
        DataType::Float64 => Scalar::Float(column.as_primitive::<Float64Type>().value(row)),
        _ => Scalar::Text(column.as_string::<i32>().value(row).to_string()),
    })
}

pub struct TestTable {
    pub table: Arc<Table>,
    pub rows: RecordBatch,
}

fn table(
    id: u64,
    name: &str,
    columns: &[(&str, ColumnType, bool)],
    by: &[u32],
    buckets: u32,
    group: Option<&str>,
    data: Vec<ArrayRef>,
) -> TestTable {
    let column = |(id, (name, ty, nullable)): (usize, &(&str, ColumnType, bool))| Column {
        id: id as u32,
        name: name.to_string(),
        ty: *ty,
        nullable: *nullable,
        default: None,
        comment: String::new(),
    };
    let schema = TabletSchema {
        version: 1,
        kind: TableKind::Duplicate,
        columns: columns.iter().enumerate().map(column).collect(),
        key_columns: 1,
        sort_columns: vec![0],
        bucket_columns: by.to_vec(),
    };
    let rows = RecordBatch::try_new(schema.arrow(), data).unwrap();
    let table = Table {
        id: TableId(id),
        db: DbId(1),
        db_name: "test".to_string(),
        name: name.to_string(),
        schema: Arc::new(schema),
        buckets,
        auto_buckets: false,
        colocate_group: group.map(str::to_string),
        properties: Vec::new(),
        comment: String::new(),
        tablets: (0..u64::from(buckets)).map(|b| TabletId(id * 1000 + b)).collect(),
        created: 0,
    };
    TestTable { table: Arc::new(table), rows }
}

fn ints<T: ArrowPrimitiveType>(n: i64, f: impl Fn(i64) -> Option<T::Native>) -> ArrayRef {
    Arc::new((0..n).map(f).collect::<PrimitiveArray<T>>())
}

fn texts(n: i64, f: impl Fn(i64) -> Option<String>) -> ArrayRef {
    Arc::new((0..n).map(f).collect::<StringArray>())
}

pub fn tables() -> Vec<TestTable> {
    use ColumnType::*;
    let n = 5000;
    let decimal = |column: ArrayRef, p, s| -> ArrayRef {
        Arc::new(column.as_primitive::<Decimal128Type>().clone().with_precision_and_scale(p, s).unwrap())
    };
    let t = table(
        1,
        "t",
        &[
            ("k", Int, false),
            ("g", TinyInt, true),
            ("v", BigInt, false),
            ("s", Varchar(20), true),
            ("d", Decimal { precision: 10, scale: 2 }, true),
            ("f", Double, true),
            ("dt", Date, false),
            ("ts", DateTime, false),
            ("b", Boolean, false),
            ("li", LargeInt, true),
        ],
        &[0],
        7,
        None,
        vec![
            ints::<Int32Type>(n, |i| Some((i * 7919 % 3001) as i32)),
            ints::<Int8Type>(n, |i| (i % 11 != 0).then_some((i % 7) as i8)),
            ints::<Int64Type>(n, |i| Some(i * 31 % 10007)),
            texts(n, |i| (i % 13 != 0).then(|| format!("name{}", i % 97))),
            decimal(ints::<Decimal128Type>(n, |i| (i % 17 != 0).then_some(i as i128 * 125)), 10, 2),
            ints::<Float64Type>(n, |i| (i % 19 != 0).then_some((i % 50) as f64 * 0.25)),
            ints::<Date32Type>(n, |i| Some(19000 + (i % 40) as i32)),
            ints::<TimestampMicrosecondType>(n, |i| Some(1_700_000_000_000_000 + i * 1_000_003)),
            Arc::new((0..n).map(|i| Some(i % 3 == 0)).collect::<BooleanArray>()),
            decimal(
                ints::<Decimal128Type>(n, |i| {
                    (i % 23 != 0).then_some((i % 5 - 2) as i128 * 170_141_183_460_469_231_731_687_303_715)
                }),
                38,
                0,
            ),
        ],
    );
    let u = table(
        2,
        "u",
        &[("id", BigInt, false), ("k", BigInt, true), ("name", Varchar(20), true), ("w", Int, true)],
        &[0],
        10,
        None,
        vec![
            ints::<Int64Type>(1500, |i| Some(i * 3)),
            ints::<Int64Type>(1500, |i| (i % 9 != 0).then_some(i % 400)),
            texts(1500, |i| (i % 4 != 0).then(|| format!("name{}", i % 120))),
            ints::<Int32Type>(1500, |i| (i % 8 != 0).then_some((i % 7) as i32)),
        ],
    );
    let c1 = table(
        3,
        "c1",
        &[("id", Int, false), ("x", Int, false)],
        &[0],
        5,
        Some("group"),
        vec![ints::<Int32Type>(60, |i| Some(i as i32)), ints::<Int32Type>(60, |i| Some((i * i) as i32))],
    );
    let c2 = table(
        4,
        "c2",
        &[("id", Int, false), ("y", Varchar(10), false)],
        &[0],
        5,
        Some("group"),
        vec![ints::<Int32Type>(80, |i| Some(i as i32 / 2 + 10)), texts(80, |i| Some(format!("y{i}")))],
    );
    let e = table(
        5,
        "e",
        &[("k", Int, true), ("v", BigInt, true)],
        &[0],
        3,
        None,
        vec![ints::<Int32Type>(0, |_| None), ints::<Int64Type>(0, |_| None)],
    );
    let m = table(
        6,
        "m",
        &[("a", Int, false), ("b", Varchar(10), false), ("c", Int, false)],
        &[0, 1],
        6,
        None,
        vec![
            ints::<Int32Type>(200, |i| Some((i % 10) as i32)),
            texts(200, |i| Some(format!("b{}", i % 10))),
            ints::<Int32Type>(200, |i| Some(i as i32)),
        ],
    );
    let big = 90_000;
    let w = table(
        8,
        "w",
        &[("k", BigInt, false), ("h", Int, true), ("s", Varchar(20), true), ("v", BigInt, true)],
        &[0],
        8,
        None,
        vec![
            ints::<Int64Type>(big, |i| Some(i * 7919 % 70_001)),
            ints::<Int32Type>(big, |i| (i % 1000 != 0).then_some((i * 31 % 50_021) as i32)),
            texts(big, |i| (i % 777 != 0).then(|| format!("key {}", i * 13 % 40_009))),
            ints::<Int64Type>(big, |i| (i % 5 != 0).then_some(i)),
        ],
    );
    let broken =
        table(7, "broken", &[("id", Int, false)], &[0], 4, None, vec![ints::<Int32Type>(10, |i| Some(i as i32))]);
    vec![t, u, c1, c2, e, m, w, broken]
}

/// Rows of each tablet, cut by the bucket hash. One tablet of `broken` is missing.
fn tablets(tables: &[TestTable]) -> Tablets {
    let mut tablets = Tablets::new();
    for TestTable { table, rows } in tables {
        let columns: Vec<_> = table.schema.bucket_positions().iter().map(|&c| rows.column(c).clone()).collect();
        let hashes = bucket_hash(&columns, rows.num_rows()).unwrap();
        for (bucket, tablet) in table.tablets.iter().enumerate() {
            if table.name == "broken" && bucket == 1 {
                continue;
            }
            let mask: BooleanArray = hashes.iter().map(|h| Some(table.bucket_of(*h) as usize == bucket)).collect();
            tablets.insert(*tablet, arrow::compute::filter_record_batch(rows, &mask).unwrap());
        }
    }
    tablets
}

/// Executors and tables.
pub struct World {
    cores: u16,
    mesh: Vec<flume::Sender<Mail>>,
    tables: Vec<TestTable>,
    _heartbeat: Heartbeat,
}

impl World {
    pub fn new(cores: u16) -> World {
        let tables = tables();
        let tablets = Arc::new(tablets(&tables));
        let (mesh, inboxes): (Vec<_>, Vec<_>) = (0..cores).map(|_| flume::unbounded::<Mail>()).unzip();
        let mut bells = Vec::new();
        for (id, inbox) in (0u16..).zip(inboxes) {
            let (slow, work) = flume::unbounded::<BoxFuture<'static, ()>>();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async move {
                    while let Ok(work) = work.recv_async().await {
                        drop(tokio::spawn(work));
                    }
                });
            });
            let (mesh, tablets, bell) = (mesh.clone(), tablets.clone(), Arc::new(Bell::default()));
            bells.push(bell.clone());
            glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
                .preempt_timer(Duration::from_millis(1))
                .spawn(move || async move {
                    bell.listen().await;
                    let (budget, polls) = (Budget::new(1 << 30, cores), Rc::default());
                    let site: SiteRef = Rc::new(TestSite { id: CoreId(id), mesh, slow, tablets, budget, bell, polls });
                    while let Ok(mail) = inbox.recv_async().await {
                        match mail {
                            Mail::Fragment(request) => match request.0 {
                                Work::Fragment(work) => fragment::start(&site, *work),
                                Work::Get(_) | Work::Count(_) => unreachable!("no core here asks for that"),
                            },
                            Mail::Job(job) => drop(glommio::spawn_local(job(site.clone())).detach()),
                        }
                    }
                })
                .unwrap();
        }
        World { cores, mesh, tables, _heartbeat: Heartbeat::start(bells).unwrap() }
    }

    fn plan(&self, sql: &str, broadcast: u64, fast: bool, statistics: bool) -> Result<Arc<DistributedPlan>> {
        let context = SessionContext::new_with_config(session_config(self.cores));
        for TestTable { table, rows } in &self.tables {
            let rows = statistics.then_some(rows.num_rows() as u64);
            context.register_table(&table.name, Arc::new(StarlingTable::new(table.clone(), self.cores, rows))).unwrap();
        }
        let state = context.state();
        let logical = futures::executor::block_on(state.create_logical_plan(sql)).map_err(EngineError::from)?;
        let logical = state.optimize(&logical).map_err(EngineError::from)?;
        let mut context = PlanContext::new(self.cores);
        (context.broadcast_rows_max, context.fast_lane) = (broadcast, fast);
        plan_query(&logical, &context)
    }

    /// Runs `work` on core 0... or the last one, which is as good a session's core as any.
    fn on_core<T: Send + 'static>(
        &self,
        work: impl FnOnce(SiteRef) -> LocalBoxFuture<'static, T> + Send + 'static,
    ) -> T {
        let (done, wait) = flume::bounded(1);
        let job: Job = Box::new(move |site| {
            Box::pin(async move {
                drop(done.send(work(site).await));
            })
        });
        self.mesh[self.mesh.len() - 1].send(Mail::Job(job)).unwrap();
        wait.recv_timeout(Duration::from_secs(60)).expect("the query ends")
    }

    fn run(
        &self,
        plan: Arc<DistributedPlan>,
        adjust: impl FnOnce(&mut QueryHandle) + Send + 'static,
    ) -> Result<Vec<RecordBatch>> {
        self.on_core(move |site| {
            Box::pin(async move {
                let mut handle = handle();
                adjust(&mut handle);
                let mut stream = launch::run(&site, plan, handle).await?;
                let mut batches = Vec::new();
                while let Some(batch) = stream.next().await {
                    batches.push(batch?);
                }
                Ok(batches)
            })
        })
    }

    pub fn rows(&self, sql: &str, broadcast: u64, fast: bool, statistics: bool) -> Result<Vec<String>> {
        let plan = self.plan(sql, broadcast, fast, statistics)?;
        self.run(plan, |_| ()).map(|batches| sorted(lines(&batches)))
    }

    pub fn rows_in_order(&self, sql: &str, fast: bool) -> Vec<String> {
        lines(&self.run(self.plan(sql, 0, fast, true).unwrap(), |_| ()).unwrap())
    }

    pub fn explain(&self, sql: &str, broadcast: u64, fast: bool, statistics: bool) -> Vec<String> {
        crate::plan::explain(&self.plan(sql, broadcast, fast, statistics).unwrap())
    }

    pub fn error_with(&self, sql: &str, adjust: impl FnOnce(&mut QueryHandle) + Send + 'static) -> EngineError {
        self.run(self.plan(sql, 0, true, true).unwrap(), adjust).unwrap_err()
    }

    pub fn analyze(&self, sql: &str) -> Vec<String> {
        let plan = self.plan(sql, 0, true, true).unwrap();
        self.on_core(move |site| Box::pin(async move { launch::analyze(&site, plan, handle()).await })).unwrap()
    }

    /// Rows of the first batch; the stream is dropped after it.
    pub fn first_batch(&self, sql: &str) -> usize {
        let plan = self.plan(sql, 0, true, true).unwrap();
        self.on_core(move |site| {
            Box::pin(async move {
                let mut stream: ResultStream = launch::run(&site, plan, handle()).await.unwrap();
                stream.next().await.unwrap().unwrap().num_rows()
            })
        })
    }
}

fn handle() -> QueryHandle {
    let pins = Pins::new(CoreId(0), Watermark::new(Seq(1)), Oldest::new(1));
    QueryHandle::new(1, pins.pin())
}

/// Plain DataFusion on one thread.
pub struct Oracle {
    context: SessionContext,
    runtime: tokio::runtime::Runtime,
}

pub fn oracle() -> Oracle {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for TestTable { table, rows } in tables() {
        let schema = sql_schema(&table.schema);
        let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| match field.data_type() {
            DataType::Decimal256(..) => super::super::fast::wide_column(column).unwrap(),
            _ => column.clone(),
        });
        let rows = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        context.register_table(&table.name, Arc::new(MemTable::try_new(schema, vec![vec![rows]]).unwrap())).unwrap();
    }
    Oracle { context, runtime: tokio::runtime::Builder::new_current_thread().build().unwrap() }
}

impl Oracle {
    pub fn rows(&self, sql: &str) -> Vec<String> {
        sorted(self.rows_in_order(sql))
    }

    pub fn rows_in_order(&self, sql: &str) -> Vec<String> {
        lines(&self.runtime.block_on(async { self.context.sql(sql).await.unwrap().collect().await.unwrap() }))
    }
}

pub fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Rows as text; floating point to nine digits, because sums depend on the order of their terms.
pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let formatters: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cell = |(column, formatter): (&ArrayRef, &ArrayFormatter)| match column.data_type() {
                DataType::Float64 if column.is_valid(row) => {
                    format!("{:.9e}", column.as_primitive::<Float64Type>().value(row))
                }
                _ => formatter.value(row).to_string(),
            };
            lines.push(batch.columns().iter().zip(&formatters).map(cell).collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

pub fn error_of(result: Result<Vec<String>>) -> EngineError {
    result.unwrap_err()
}

pub fn rows_of(result: Result<Vec<String>>) -> Vec<String> {
    result.unwrap()
}
