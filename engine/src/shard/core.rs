//! `Core`: what one executor owns and what its tasks call. One per core, `Rc`, never sent; `Core::current()` finds it on its thread.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use starling_storage::ids::{CoreId, Seq, TableId, TabletId};

use super::sessions::{ProcessInfo, Sessions};
use crate::catalog::{Catalog, CatalogOp};
use crate::error::{EngineError, Result};
use crate::exec::FragmentRequest;
use crate::metrics::CoreMetrics;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::task::Spawner;
use crate::runtime::{Class, Planner, SlowLane};
use crate::shard::message::Query;
use crate::txn::{Load, LoadOptions, Pin, Pins, Turns};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// One core. See the head of the file.
pub struct Core {
    id: CoreId,
    cores: u16,
    catalog: RefCell<Arc<Catalog>>,
    mesh: Vec<Mailbox>,
    pins: Rc<Pins>,
    planner: Planner,
    slow_lane: SlowLane,
    spawner: Spawner,
    sessions: Rc<Sessions>,
    metrics: CoreMetrics,
    disk: starling_storage::disk::DiskRef,
}

impl Core {
    /// The core of the calling thread.
    ///
    /// # Panics
    /// On a thread that is no core's: a programmer's error.
    pub fn current() -> Rc<Core> {
        CURRENT.with_borrow(|core| core.clone()).expect("this thread is a core")
    }

    pub fn id(&self) -> CoreId {
        self.id
    }

    /// How many cores this process has.
    pub fn cores(&self) -> u16 {
        self.cores
    }

    /// This core's copy of the catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    /// Changes the catalog: numbered, durable, applied on all cores when this returns (R10).
    pub async fn ddl(self: &Rc<Self>, _op: CatalogOp) -> Result<Arc<Catalog>> {
        Err(EngineError::unsupported("DDL"))
    }

    /// Pins the newest visible snapshot (R11). The pin is released when it drops.
    pub fn pin(&self) -> Pin {
        self.pins.pin()
    }

    /// W: everything up to here is visible.
    pub fn watermark(&self) -> Seq {
        self.pins.watermark()
    }

    /// Begins a load into a table. A label of the user's is reserved here (R9): error `label_exists`.
    pub async fn open_load(self: &Rc<Self>, _table: TableId, _options: LoadOptions) -> Result<Load> {
        Err(EngineError::unsupported("loads"))
    }

    /// Takes the exclusive write turns of the tablets and waits until every number issued there is visible (R7): a pin taken after
    /// this sees all of them. Error 1205 after `wait`.
    pub async fn turns(self: &Rc<Self>, _tablets: &[TabletId], _wait: Duration) -> Result<Turns> {
        Err(EngineError::unsupported("turns"))
    }

    /// The data directory, as this core reaches it.
    pub fn disk(&self) -> &starling_storage::disk::DiskRef {
        &self.disk
    }

    pub fn metrics(&self) -> &CoreMetrics {
        &self.metrics
    }

    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    pub fn slow_lane(&self) -> &SlowLane {
        &self.slow_lane
    }

    pub fn sessions(&self) -> &Rc<Sessions> {
        &self.sessions
    }

    /// Runs a task on this core, in a scheduling class. A panic ends the task only.
    pub fn spawn(&self, class: Class, name: &'static str, future: impl Future<Output = ()> + 'static) {
        self.spawner.spawn(class, name, future);
    }

    /// Hands a fragment to a core (this one included). Waits while its query lane is full (R8): query and session tasks only.
    pub async fn send_fragment(&self, core: CoreId, fragment: FragmentRequest) -> Result<()> {
        self.mesh[usize::from(core.0)].query(Query::Fragment(fragment)).await
    }

    /// KILL: finds the connection by its id, on whatever core.
    pub async fn kill(self: &Rc<Self>, _id: u32, _query_only: bool) -> Result<()> {
        Err(EngineError::unsupported("KILL"))
    }

    /// The connections of all cores.
    pub async fn process_list(self: &Rc<Self>) -> Result<Vec<ProcessInfo>> {
        Err(EngineError::unsupported("process list"))
    }
}
