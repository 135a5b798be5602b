//! What a fragment needs of the core it runs on. `Core` is one; tests put simple threads in its place.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::future::{BoxFuture, LocalBoxFuture};
use starling_storage::ids::{CoreId, Seq, TabletId};
use starling_storage::schema::Predicate;
use starling_storage::tablet::{ScanCounters, ScanSpec, TabletScan};

use super::FragmentRequest;
use super::budget::Budget;
use crate::error::Result;
use crate::runtime::Class;
use crate::shard::Core;

/// What to read of a tablet.
#[derive(Clone, Debug)]
pub struct ReadSpec {
    /// Positions in the table, in output order.
    pub columns: Vec<usize>,
    /// All must hold.
    pub predicates: Vec<Predicate>,
    /// No more rows than this are wanted.
    pub limit: Option<usize>,
}

/// A scan of a tablet at a snapshot.
#[async_trait(?Send)]
pub trait Reader {
    /// The next rows, in storage types; `None` at the end.
    async fn next(&mut self) -> Result<Option<RecordBatch>>;

    /// What it has done so far.
    fn counters(&self) -> ScanCounters;
}

struct TabletReader(TabletScan);

#[async_trait(?Send)]
impl Reader for TabletReader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        Ok(self.0.next().await?)
    }

    fn counters(&self) -> ScanCounters {
        self.0.counters()
    }
}

/// A core, for a fragment.
#[async_trait(?Send)]
pub trait Site {
    /// Which core.
    fn id(&self) -> CoreId;
    /// What queries of this core's sessions may use.
    fn budget(&self) -> Rc<Budget>;
    /// Runs a task on this core's reactor.
    fn spawn(&self, task: LocalBoxFuture<'static, ()>);
    /// Runs work in this core's slow lane to its end; an error when it panics.
    async fn slow(&self, work: BoxFuture<'static, ()>) -> Result<()>;
    /// Starts reading a tablet of this core.
    fn read(&self, tablet: TabletId, at: Seq, spec: &ReadSpec) -> Result<Box<dyn Reader>>;
    /// Hands a fragment to a core.
    async fn send(&self, core: CoreId, request: FragmentRequest) -> Result<()>;
    /// Lets other tasks of this core run.
    async fn yield_now(&self);
    /// Waits.
    async fn sleep(&self, time: Duration);
}

/// A core, for a fragment.
pub type SiteRef = Rc<dyn Site>;

thread_local! {
    /// This core's.
    static BUDGET: OnceCell<Rc<Budget>> = const { OnceCell::new() };
}

#[async_trait(?Send)]
impl Site for Core {
    fn id(&self) -> CoreId {
        Core::id(self)
    }

    fn budget(&self) -> Rc<Budget> {
        BUDGET.with(|budget| budget.get_or_init(|| Budget::new(self.budgets().query, self.cores())).clone())
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        Core::spawn(self, Class::Query, "fragment", task);
    }

    async fn slow(&self, work: BoxFuture<'static, ()>) -> Result<()> {
        self.slow_lane().run(work).await
    }

    fn read(&self, tablet: TabletId, at: Seq, spec: &ReadSpec) -> Result<Box<dyn Reader>> {
        let found = self.find_tablet(tablet)?;
        let spec = ScanSpec {
            columns: spec.columns.clone(),
            predicates: spec.predicates.clone(),
            limit: spec.limit,
            ..ScanSpec::default()
        };
        Ok(Box::new(TabletReader(found.snapshot(at).scan(spec))))
    }

    async fn send(&self, core: CoreId, request: FragmentRequest) -> Result<()> {
        self.send_fragment(core, request).await
    }

    async fn yield_now(&self) {
        glommio::executor().yield_task_queue_now().await;
    }

    async fn sleep(&self, time: Duration) {
        glommio::timer::sleep(time).await;
    }
}
