//! `Core`: what one executor owns and what its tasks call. One per core, `Rc`, never sent; `Core::current()` finds it on its thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use starling_storage::cache::PageCache;
use starling_storage::disk::DiskRef;
use starling_storage::ids::{CoreId, Epoch, Seq, TableId, TabletId, TxnId};
use starling_storage::log::Log;
use starling_storage::manifest::{CatalogLog, Manifest};
use starling_storage::recovery::OldLogs;
use starling_storage::tablet::Tablet;

use super::background::Background;
use super::boot::{Once, Opened};
use super::handle_publish::Applier;
use super::handle_stage::StageTable;
use super::handle_turns::HeldTurns;
use super::message::{Control, Query, Request};
use super::sessions::{ProcessInfo, Sessions};
use super::tablets::Tablets;
use crate::catalog::{Catalog, CatalogOp};
use crate::error::{EngineError, Result};
use crate::exec::FragmentRequest;
use crate::limits::COMMITS_IN_FLIGHT_MAX;
use crate::metrics::CoreMetrics;
use crate::runtime::event::{Event, Permits};
use crate::runtime::mailbox::Mailbox;
use crate::runtime::pause::Busy;
use crate::runtime::task::{Polls, Spawner};
use crate::runtime::{Class, Planner, SlowLane, reply};
use crate::txn::labels::Reservations;
use crate::txn::{Load, LoadOptions, Oldest, Pin, Pins, Sequencer, TurnTable, Turns, Watermark};

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// Bytes of memory a core may use, by purpose. The node's memory is divided evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Pages of segment files.
    pub cache: usize,
    /// Memtables and staged rows.
    pub write: usize,
    /// Queries.
    pub query: usize,
}

impl Budgets {
    /// A quarter for pages, three tenths for writes, three tenths for queries; the rest is for indexes, buffers and code.
    pub fn of(memory: u64, cores: u16) -> Budgets {
        let each = (memory / u64::from(cores.max(1))) as usize;
        Budgets { cache: each / 4, write: each / 10 * 3, query: each / 10 * 3 }
    }
}

/// What the process shares between cores (the list at the end of protocol.md), and the lanes.
#[derive(Clone)]
pub(crate) struct Boot {
    pub id: CoreId,
    pub cores: u16,
    pub epoch: Epoch,
    pub mesh: Vec<Mailbox>,
    pub watermark: Watermark,
    pub oldest: Oldest,
    /// The cut of this start: in the root, so a durable mark (R15).
    pub cut: Seq,
    pub budgets: Budgets,
    /// Age at which a label is forgotten.
    pub label_keep: Duration,
}

/// What a core is made of at its start.
pub(crate) struct Parts {
    pub boot: Boot,
    pub catalog: Arc<Catalog>,
    pub disk: DiskRef,
    pub cache: Rc<PageCache>,
    pub log: Rc<Log>,
    pub manifest: Rc<Manifest>,
    /// Core 0 only.
    pub catalog_log: Option<Rc<CatalogLog>>,
    /// Core 0 only.
    pub old_logs: Option<OldLogs>,
    pub tablets: Opened,
    pub spawner: Spawner,
    pub polls: Rc<Polls>,
    pub planner: Planner,
    pub slow_lane: SlowLane,
    pub busy: Rc<Busy>,
}

/// One core. See the head of the file.
pub struct Core {
    pub(super) boot: Boot,
    pub(super) catalog: RefCell<Arc<Catalog>>,
    pub(super) disk: DiskRef,
    pub(super) cache: Rc<PageCache>,
    log: Rc<Log>,
    pub(super) manifest: Rc<Manifest>,
    catalog_log: Option<Rc<CatalogLog>>,
    pub(super) old_logs: RefCell<Option<OldLogs>>,
    pub(super) tablets: Tablets,
    pub(super) staged: StageTable,
    pub(super) turns: Rc<TurnTable>,
    pub(super) held_turns: HeldTurns,
    pub(super) applier: Applier,
    /// Core 0 only.
    pub(super) sequencer: Option<Sequencer>,
    labels: Reservations,
    ddl_turn: Rc<Permits>,
    commits: Rc<Permits>,
    pins: Rc<Pins>,
    planner: Planner,
    slow_lane: SlowLane,
    pub(super) busy: Rc<Busy>,
    spawner: Spawner,
    pub(super) polls: Rc<Polls>,
    sessions: Rc<Sessions>,
    metrics: CoreMetrics,
    next_txn: Cell<u64>,
    stopping: Cell<bool>,
    /// Background work looks again.
    pub(super) kick: Event,
    pub(super) background: Background,
    pub(super) log_ended: Rc<Once>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Rc<Core> {
        let Parts { boot, catalog, disk, cache, log, manifest, catalog_log, old_logs, tablets, .. } = parts;
        let pins = Pins::new(boot.id, boot.watermark.clone(), boot.oldest.clone());
        let sequencer = (boot.id == CoreId(0)).then(|| Sequencer::new(boot.watermark.clone(), boot.cores));
        let core = Rc::new(Core {
            catalog: RefCell::new(catalog),
            disk,
            cache,
            log,
            manifest,
            catalog_log,
            old_logs: RefCell::new(old_logs),
            tablets: Tablets::new(tablets.sound, tablets.damaged),
            staged: StageTable::default(),
            turns: TurnTable::new(),
            held_turns: HeldTurns::default(),
            applier: Applier::new(boot.watermark.get()),
            sequencer,
            labels: Reservations::default(),
            ddl_turn: Permits::new(1),
            commits: Permits::new(COMMITS_IN_FLIGHT_MAX),
            pins,
            planner: parts.planner,
            slow_lane: parts.slow_lane,
            busy: parts.busy,
            spawner: parts.spawner,
            polls: parts.polls,
            sessions: Sessions::new(boot.id),
            metrics: CoreMetrics::default(),
            next_txn: Cell::new(1),
            stopping: Cell::new(false),
            kick: Event::new(),
            background: Background::default(),
            log_ended: Rc::default(),
            boot,
        });
        CURRENT.set(Some(core.clone()));
        core
    }

    /// The core of the calling thread.
    ///
    /// # Panics
    /// On a thread that is no core's: a programmer's error.
    pub fn current() -> Rc<Core> {
        CURRENT.with_borrow(|core| core.clone()).expect("this thread is a core")
    }

    pub fn id(&self) -> CoreId {
        self.boot.id
    }

    /// How many cores this process has.
    pub fn cores(&self) -> u16 {
        self.boot.cores
    }

    pub fn budgets(&self) -> Budgets {
        self.boot.budgets
    }

    /// This core's copy of the catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.borrow().clone()
    }

    /// Changes the catalog: numbered, durable, applied on all cores when this returns (R10).
    pub async fn ddl(self: &Rc<Self>, op: CatalogOp) -> Result<Arc<Catalog>> {
        self.refuse_when_stopping()?;
        let (answer, slot) = reply();
        self.mailbox(CoreId(0)).request(Request::Ddl { op, reply: answer }).await?;
        slot.recv().await??;
        Ok(self.catalog())
    }

    /// Pins the newest visible snapshot (R11). The pin is released when it drops.
    pub fn pin(&self) -> Pin {
        self.pins.pin()
    }

    /// R11: takes away the pins that newer commits have passed this long ago; their statements fail.
    pub fn expire_pins(&self, age: Duration) {
        let count = self.pins.expire(age);
        if count > 0 {
            tracing::warn!(core = self.id().0, count, ?age, "snapshots were too old to be kept");
        }
    }

    /// The same on all cores.
    pub fn expire_pins_everywhere(self: &Rc<Self>, age: Duration) {
        for core in 0..self.cores() {
            self.control(CoreId(core), Control::ExpirePins { age });
        }
    }

    /// How many pins were taken away.
    pub fn pins_expired(&self) -> u64 {
        self.pins.expired()
    }

    /// How many pins this core has, and the oldest.
    pub fn pins_held(&self) -> (usize, Option<Seq>) {
        self.pins.held()
    }

    /// W: everything up to here is visible.
    pub fn watermark(&self) -> Seq {
        self.pins.watermark()
    }

    /// Waits until W >= `seq`.
    pub async fn await_visible(self: &Rc<Self>, seq: Seq) -> Result<()> {
        if self.watermark() >= seq {
            return Ok(());
        }
        let (answer, slot) = reply();
        self.control(CoreId(0), Control::AwaitVisible { seq, reply: answer });
        slot.recv().await
    }

    /// A tablet of this core, dropped ones included while a pin may need them; `None` for one of another core.
    pub fn tablet(&self, id: TabletId) -> Option<Rc<Tablet>> {
        self.tablets.get(id)
    }

    /// As `tablet`. Error: it is damaged, or not there.
    pub fn find_tablet(&self, id: TabletId) -> Result<Rc<Tablet>> {
        self.tablets.find(id)
    }

    /// Begins a load into a table. A label of the user's is reserved here (R9): error `label_exists`.
    pub async fn open_load(self: &Rc<Self>, table: TableId, options: LoadOptions) -> Result<Load> {
        Load::open(self, table, options).await
    }

    /// Takes the exclusive write turns of the tablets and waits until every number issued there is visible (R7): a pin taken after
    /// this sees all of them. Error 1205 after `wait`.
    pub async fn turns(self: &Rc<Self>, tablets: &[TabletId], wait: Duration) -> Result<Turns> {
        Turns::take(self, tablets, wait).await
    }

    /// The newest commit that changed one of the tablets: what was read of them at or after it is still so. Error: one of them was dropped.
    pub(crate) async fn last_written(self: &Rc<Self>, tablets: &[TabletId]) -> Result<Seq> {
        let mut slots = Vec::new();
        for (owner, tablets) in self.by_owner(tablets)? {
            let (answer, slot) = reply();
            self.control(owner, Control::LastWritten { tablets, reply: answer });
            slots.push(slot);
        }
        let mut newest = Seq::ZERO;
        for slot in slots {
            newest = newest.max(slot.recv().await?);
        }
        Ok(newest)
    }

    /// The data directory, as this core reaches it.
    pub fn disk(&self) -> &DiskRef {
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

    /// Runs a task that must not end half-way: a panic ends the process (R2).
    pub(crate) fn spawn_vital(&self, class: Class, name: &'static str, future: impl Future<Output = ()> + 'static) {
        self.spawner.spawn_vital(class, name, future);
    }

    /// Hands a fragment to a core (this one included). Waits while its query lane is full (R8): query and session tasks only.
    pub async fn send_fragment(&self, core: CoreId, fragment: FragmentRequest) -> Result<()> {
        self.mailbox(core).query(Query::Fragment(fragment)).await
    }

    /// KILL: finds the connection by its id, on whatever core. Error 1094.
    pub async fn kill(self: &Rc<Self>, id: u32, query_only: bool) -> Result<()> {
        let owner = Sessions::core_of(id);
        if owner.0 >= self.cores() {
            return Err(EngineError::unknown_thread(id));
        }
        let (answer, slot) = reply();
        self.control(owner, Control::Kill { id, query_only, reply: answer });
        if slot.recv().await? { Ok(()) } else { Err(EngineError::unknown_thread(id)) }
    }

    /// The connections of all cores.
    pub async fn process_list(self: &Rc<Self>) -> Result<Vec<ProcessInfo>> {
        let lists = self.ask_all(|reply| Control::ProcessList { reply }).await?;
        Ok(lists.into_iter().flatten().collect())
    }

    /// Runs `work` on another core (or this one) and waits for what it gives. For what has no message of its own: administration, tests.
    pub async fn on<T, F, W>(self: &Rc<Self>, core: CoreId, work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce(Rc<Core>) -> F + Send + 'static,
    {
        let (answer, slot) = reply();
        let run = Box::new(move |core: &Rc<Core>| {
            let future = work(core.clone());
            core.spawn(Class::Control, "on core", async move { answer.send(future.await) });
        });
        self.control(core, Control::Run(run));
        slot.recv().await
    }

    /// Asks every core the same and gathers the answers in core order.
    pub(crate) async fn ask_all<T>(
        self: &Rc<Self>,
        ask: impl Fn(crate::runtime::Reply<T>) -> Control,
    ) -> Result<Vec<T>> {
        let mut slots = Vec::new();
        for core in 0..self.cores() {
            let (answer, slot) = reply();
            self.control(CoreId(core), ask(answer));
            slots.push(slot);
        }
        let mut answers = Vec::new();
        for slot in slots {
            answers.push(slot.recv().await?);
        }
        Ok(answers)
    }

    /// A new transaction id: (epoch, core, counter), never reused (R17).
    pub(crate) fn new_txn(&self) -> TxnId {
        let counter = self.next_txn.get();
        self.next_txn.set(counter + 1);
        TxnId(u64::from(self.boot.epoch.0) << 42 | u64::from(self.id().0) << 32 | (counter & 0xffff_ffff))
    }

    /// The tablets by owner, cores ascending and tablets ascending within each (R7). Error: one of them was dropped.
    pub(crate) fn by_owner(&self, tablets: &[TabletId]) -> Result<BTreeMap<CoreId, Vec<TabletId>>> {
        let catalog = self.catalog();
        let mut owners: BTreeMap<CoreId, Vec<TabletId>> = BTreeMap::new();
        for &tablet in tablets {
            let owner = catalog.owner(tablet, self.cores());
            let owner = owner.ok_or_else(|| EngineError::table_gone(format!("of tablet {tablet}")))?;
            owners.entry(owner).or_default().push(tablet);
        }
        for tablets in owners.values_mut() {
            tablets.sort_unstable();
            tablets.dedup();
        }
        Ok(owners)
    }

    pub(crate) fn mailbox(&self, core: CoreId) -> &Mailbox {
        &self.boot.mesh[usize::from(core.0)]
    }

    /// Sends a control message; one to this core is handled at once.
    pub(crate) fn control(self: &Rc<Self>, core: CoreId, message: Control) {
        if core == self.id() {
            super::pump::handle_control(self, message);
        } else {
            self.mailbox(core).control(message);
        }
    }

    pub(crate) fn log(&self) -> &Rc<Log> {
        &self.log
    }

    pub(crate) fn catalog_log(&self) -> Option<&Rc<CatalogLog>> {
        self.catalog_log.as_ref()
    }

    pub(crate) fn labels(&self) -> &Reservations {
        &self.labels
    }

    /// DDL runs one at a time (core 0).
    pub(crate) fn ddl_turn(&self) -> &Rc<Permits> {
        &self.ddl_turn
    }

    /// Commits between asking for a number and being visible (P5).
    pub(crate) fn commits(&self) -> &Rc<Permits> {
        &self.commits
    }

    pub(crate) fn refuse_when_stopping(&self) -> Result<()> {
        if self.stopping.get() { Err(EngineError::shutting_down()) } else { Ok(()) }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// From here on new loads and DDL are refused and background work ends.
    pub(crate) fn begin_stop(&self) {
        self.stopping.set(true);
        self.kick.notify();
        self.sessions.kill_all();
    }

    /// The last of this thread's references; the sibling threads end.
    pub(crate) fn leave(&self) {
        CURRENT.set(None);
        self.planner.stop();
        self.slow_lane.stop();
    }
}
