//! Background work of a core: flush and compaction, reclaim (R11), dropped tablets, log recycling (R15), expiry of labels. One loop looks
//! around four times a second or when kicked; rewrites run beside it, a few at a time. A failure that leaves everything as it was (disk
//! full) is logged and tried again; one that leaves a file unknown ends the process (R2).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use starling_storage::ids::{CoreId, FileId, Seq, TabletId};
use starling_storage::manifest::Edit;
use starling_storage::tablet::{Rewrite, RewriteContext, ScanSpec, Tablet};
use starling_storage::{ErrorKind, StorageError};

use super::Core;
use super::message::{Control, FlushedThrough};
use crate::catalog::{HIDDEN_DATABASE, LABELS_TABLE};
use crate::error::Result;
use crate::limits::{
    BACKGROUND_EVERY, LABEL_EXPIRY_EVERY, LOG_SEGMENTS_SOFT_MAX, RECYCLE_EVERY, REWRITES_IN_FLIGHT_MAX, SNAPSHOT_KEEP,
    SNAPSHOT_KEEP_TIGHT,
};
use crate::runtime::Class;
use crate::runtime::clock::unix_micros;
use crate::runtime::event::Permits;
use crate::runtime::fatal::fatal;
use crate::runtime::task::within;
use crate::txn::labels;
use crate::txn::{LoadKind, LoadOptions};

/// What the loop remembers.
pub(super) struct Background {
    rewrites: Rc<Permits>,
    running: RefCell<BTreeSet<TabletId>>,
    /// Somebody's log waits for these.
    flush_soon: RefCell<BTreeMap<TabletId, Seq>>,
    /// The tablet whose rewrite was started last: the next round begins after it.
    started: Cell<TabletId>,
}

impl Default for Background {
    fn default() -> Background {
        let rewrites = Permits::new(REWRITES_IN_FLIGHT_MAX);
        Background {
            rewrites,
            running: RefCell::default(),
            flush_soon: RefCell::default(),
            started: Cell::new(TabletId(0)),
        }
    }
}

impl Background {
    /// Waits until no rewrite runs.
    pub async fn drained(&self) {
        self.rewrites.drained(REWRITES_IN_FLIGHT_MAX).await;
    }
}

/// The loop. Ends when the core stops.
pub(super) async fn run(core: Rc<Core>) {
    let (mut recycled, mut expired) = (Instant::now(), Instant::now());
    while !core.is_stopping() {
        core.expire_pins(SNAPSHOT_KEEP);
        expire_when_tight(&core);
        reclaim(&core).await;
        start_rewrites(&core);
        if recycled.elapsed() >= RECYCLE_EVERY {
            recycled = Instant::now();
            check(&core, "recycling the log", recycle(&core).await);
        }
        if expired.elapsed() >= LABEL_EXPIRY_EVERY.min(core.boot.label_keep) {
            expired = Instant::now();
            if let Err(error) = expire_labels(&core).await {
                tracing::warn!(core = core.id().0, %error, "labels were not looked through");
            }
        }
        if within(BACKGROUND_EVERY, core.kick.next()).await.is_some() {
            // Not more often than this, so that a stage that waits for memory does not spin here.
            glommio::timer::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// R11, P5: when writes are over their memory, and much of it is kept for old snapshots only, these go, whoever has them.
fn expire_when_tight(core: &Rc<Core>) {
    if core.write_memory() <= core.budgets().write {
        return;
    }
    let kept: usize = core.tablets.all().iter().map(|(_, tablet)| tablet.kept_bytes()).sum();
    if kept > core.budgets().write / 2 {
        core.expire_pins_everywhere(SNAPSHOT_KEEP_TIGHT);
    }
}

/// R2: a device error leaves a file unknown; anything else is tried again.
fn check<T>(core: &Core, what: &str, result: Result<T, StorageError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if error.kind() == ErrorKind::Io => fatal(format!("{what} on core {}: {error}", core.id())),
        Err(error) => {
            tracing::warn!(core = core.id().0, %error, "{what} failed and will be tried again");
            None
        }
    }
}

/// Frees what no snapshot needs: W first, then every slot (R11).
async fn reclaim(core: &Rc<Core>) {
    let horizon = core.boot.oldest.horizon(&core.boot.watermark);
    for (_, tablet) in core.tablets.all() {
        let files = tablet.reclaim(horizon);
        if !files.is_empty() {
            unlink(core, &tablet, &files).await;
        }
        core.disk.yield_now().await;
    }
    // One that is being rewritten waits: its edit must not come after the one that drops it.
    let busy = core.background.running.borrow().clone();
    for (id, tablet) in core.tablets.take_unneeded(horizon, &busy) {
        core.turns.forget(id);
        if let Some(()) = check(core, "dropping a tablet", drop_tablet(core, id, &tablet).await) {
            tracing::info!(core = core.id().0, tablet = id.0, "tablet dropped");
        }
    }
    check(core, "the manifest's checkpoint", core.manifest.checkpoint_if_due().await);
}

async fn unlink(core: &Core, tablet: &Tablet, files: &[FileId]) {
    core.metrics().files_removed(files.len() as u64);
    check(core, "removing files", tablet.unlink(files).await);
}

/// R15: the edit first, then the files.
async fn drop_tablet(core: &Rc<Core>, id: TabletId, tablet: &Rc<Tablet>) -> Result<(), StorageError> {
    core.manifest.append(Edit { tablet: id, flushed: tablet.flushed(), dropped: true, ..Edit::default() }).await?;
    for entry in core.disk.list("seg").await? {
        if let Some(file) = FileId::parse(&entry.name)
            && file.tablet == id
        {
            core.disk.remove(&file.path()).await?;
        }
    }
    Ok(())
}

/// Starts the rewrites that are due, as far as there are permits. One a tablet. First those that a log waits for, then, with little memory, the
/// biggest, which free most; else the tablets take turns, so that a busy one does not keep the others waiting.
fn start_rewrites(core: &Rc<Core>) {
    let tight = core.write_memory() > core.budgets().write / 4 * 3;
    let mut tablets = core.tablets.all();
    let (asked, started) = (core.background.flush_soon.borrow().clone(), core.background.started.get());
    tablets.sort_by_cached_key(|(id, tablet)| {
        let bytes = if tight { tablet.memory_bytes() } else { 0 };
        (!asked.contains_key(id), std::cmp::Reverse(bytes), *id <= started, *id)
    });
    for (id, tablet) in tablets {
        if core.background.running.borrow().contains(&id) {
            continue;
        }
        let flush_through = asked.get(&id).copied().unwrap_or(Seq::ZERO);
        let now_micros = core.disk.now_micros();
        let context = RewriteContext { now_micros, watermark: core.watermark(), flush_now: tight, flush_through };
        let Some(kind) = tablet.rewrite_due(&context) else {
            core.background.flush_soon.borrow_mut().remove(&id);
            continue;
        };
        let Some(permit) = core.background.rewrites.try_take() else { return };
        core.background.running.borrow_mut().insert(id);
        core.background.started.set(id);
        let own = core.clone();
        core.spawn(Class::Background, "rewrite", async move {
            rewrite(&own, &tablet, kind).await;
            own.background.running.borrow_mut().remove(&id);
            drop(permit);
            own.kick.notify();
        });
    }
}

async fn rewrite(core: &Rc<Core>, tablet: &Rc<Tablet>, kind: Rewrite) {
    let flush = matches!(kind, Rewrite::Flush);
    let result = tablet.rewrite(kind, core.watermark(), &core.manifest).await;
    match check(core, "a rewrite", result) {
        Some(_) if flush => core.metrics().flushed(),
        Some(_) => core.metrics().compacted(),
        None => {
            core.metrics().rewrite_failed();
            glommio::timer::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// R15: a segment goes when every tablet named in it, on every core, is past it, and a durable mark stands outside it.
async fn recycle(core: &Rc<Core>) -> Result<(), StorageError> {
    let segments = core.log().stats().segments;
    let old = core.old_logs.take();
    if segments <= 1 && old.is_none() {
        return Ok(());
    }
    let Ok(answers) = core.ask_all(|reply| Control::FlushedThrough { reply }).await else { return Ok(()) };
    let flushed = Flushed::new(core, answers);
    core.log().recycle(&|tablet| flushed.of(tablet), flushed.mark).await?;
    let mut holders = Vec::new();
    if core.log().stats().segments > LOG_SEGMENTS_SOFT_MAX {
        holders.extend(core.log().oldest_holders());
    }
    if let Some(mut old) = old {
        let left = old.recycle(&core.disk, &|tablet| flushed.of(tablet), flushed.mark).await?;
        if left > 0 {
            // Old epochs' segments go soon: a start should not have to read them again.
            holders.extend(old.holders());
            core.old_logs.replace(Some(old));
        }
    }
    ask_to_flush(core, &flushed, holders);
    Ok(())
}

/// Tells the owners which tablets hold a log back.
fn ask_to_flush(core: &Rc<Core>, flushed: &Flushed, holders: Vec<(TabletId, Seq)>) {
    let catalog = core.catalog();
    let mut by_owner: BTreeMap<CoreId, Vec<(TabletId, Seq)>> = BTreeMap::new();
    for (tablet, seq) in holders {
        if let Some(owner) = catalog.owner(tablet, core.cores())
            && flushed.of(tablet).is_some_and(|f| f < seq)
        {
            by_owner.entry(owner).or_default().push((tablet, seq));
        }
    }
    for (owner, tablets) in by_owner {
        core.control(owner, Control::Flush { tablets });
    }
}

/// How far every tablet of the process is flushed.
struct Flushed {
    tablets: HashMap<TabletId, Seq>,
    mark: Seq,
    catalog: std::sync::Arc<crate::catalog::Catalog>,
}

impl Flushed {
    fn new(core: &Core, answers: Vec<FlushedThrough>) -> Flushed {
        let mark = answers.iter().map(|answer| answer.mark).fold(core.boot.cut, Seq::max);
        let tablets = answers.into_iter().flat_map(|answer| answer.tablets).collect();
        Flushed { tablets, mark, catalog: core.catalog() }
    }

    /// F of a tablet; `None` when it was dropped.
    fn of(&self, tablet: TabletId) -> Option<Seq> {
        match self.tablets.get(&tablet) {
            Some(seq) => Some(*seq),
            // Made after its owner answered: nothing of it is in files.
            None => self.catalog.tablet(tablet).map(|_| Seq::ZERO),
        }
    }
}

/// Deletes the labels of this core's tablets that have expired, by a load like any other (R9).
async fn expire_labels(core: &Rc<Core>) -> Result<()> {
    let catalog = core.catalog();
    let Ok(table) = catalog.table(HIDDEN_DATABASE, LABELS_TABLE) else { return Ok(()) };
    for tablet in table.tablets.iter().filter_map(|id| core.tablet(*id)) {
        let pin = core.pin();
        let columns = (0..table.schema.columns.len()).collect();
        let mut scan = tablet.snapshot(pin.seq()).scan(ScanSpec { columns, ..ScanSpec::default() });
        let mut batches = Vec::new();
        while let Some(batch) = scan.next().await? {
            batches.push(batch);
        }
        let all = arrow::compute::concat_batches(&table.schema.arrow(), &batches).map_err(StorageError::from)?;
        let Some(rows) = labels::expiry_of(&all, unix_micros(), core.boot.label_keep)? else { continue };
        let options = LoadOptions { label: None, kind: LoadKind::Internal, timeout: Duration::from_secs(60) };
        let mut load = core.open_load(table.id, options).await?;
        load.push(rows).await?;
        load.commit(None).await?;
    }
    Ok(())
}

impl Core {
    /// Somebody's log waits until these tablets are flushed through these numbers.
    pub(super) fn flush_soon(&self, tablets: Vec<(TabletId, Seq)>) {
        self.background.flush_soon.borrow_mut().extend(tablets);
        self.kick.notify();
    }
}
