//! One start of a process on the simulated machine: recovery, cores with logs, manifests and tablets, a sequencer, transactions, rewrites,
//! recycling, readers. It plays the engine's part of the protocol (R1-R7, R11) in the plainest way; everything below it is the real code.

use super::reference::{Change, Ddl, Tables, Transaction, rows, schema, tables, unpack, up_to};
use super::{Shape, World};
use crate::cache::PageCache;
use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::{CoreId, FileId, Seq, TabletId, TxnId};
use crate::log::{CommitRecord, Log, LogOptions, PartBody, TabletPart};
use crate::manifest::{CatalogImage, CatalogLog, Edit, Manifest};
use crate::recovery::{OldLogs, recover};
use crate::rules::{Rule, off};
use crate::scheduler::Scheduler;
use crate::tablet::{Rewrite, ScanSpec, Staged, Tablet, TabletEnv, TabletLimits};
use crate::wait::Signal;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// So many steps without a new number or a moved W: something is stuck.
const STUCK_STEPS: u64 = 30_000;

/// A core: its log, its manifest, its tablets, and the order in which numbers are applied (R4).
struct Core {
    log: Rc<Log>,
    manifest: Rc<Manifest>,
    tablets: RefCell<BTreeMap<TabletId, Rc<Owned>>>,
    /// The last number issued to this core, and the last one applied.
    issued: Cell<u64>,
    applied: Cell<u64>,
}

/// A tablet and what its owner knows of it.
struct Owned {
    tablet: Rc<Tablet>,
    dropped: Cell<bool>,
    drop_written: Cell<bool>,
    rewriting: Cell<u32>,
}

pub(super) struct Process {
    world: Rc<World>,
    disk: DiskRef,
    scheduler: Scheduler,
    cores: Vec<Core>,
    catalog_log: Rc<CatalogLog>,
    old_logs: RefCell<Option<OldLogs>>,
    root_cut: Seq,
    w: Rc<Cell<u64>>,
    next: Cell<u64>,
    /// Numbers not wholly applied, with how many cores have still to apply them.
    open: RefCell<BTreeMap<u64, usize>>,
    pins: RefCell<Vec<u64>>,
    /// Changes of the catalog not yet in the catalog log.
    ddl: RefCell<BTreeMap<u64, Ddl>>,
    moved: Signal,
    next_value: Cell<i64>,
    writers: Cell<u32>,
    drops: Cell<u64>,
    delay: Cell<u64>,
    env: TabletEnv,
}

fn owner(tablet: TabletId, cores: usize) -> usize {
    if tablet == TabletId::CATALOG { 0 } else { (tablet.0 as usize * 7 + 3) % cores }
}

fn catalog_tablets(image: &CatalogImage) -> Result<BTreeSet<TabletId>> {
    let mut tablets = BTreeSet::new();
    for chunk in image.checkpoint.chunks_exact(8) {
        tablets.insert(TabletId(u64::from_le_bytes(chunk.try_into().expect("8 bytes"))));
    }
    for (_, bytes) in image.edits.iter().chain(&image.records) {
        match Ddl::parse(bytes)? {
            Ddl::Create(tablet) => tablets.insert(tablet),
            Ddl::Drop(tablet) => tablets.remove(&tablet),
        };
    }
    Ok(tablets)
}

impl Process {
    /// Starts and checks what was found against the reference.
    pub(super) async fn start(
        world: Rc<World>,
        scheduler: Scheduler,
        cores: u16,
        segments: u64,
    ) -> Result<Rc<Process>> {
        let disk = world.sim.borrow().disk();
        let place = |image: &CatalogImage| {
            let tablets = catalog_tablets(image)?;
            Ok(tablets.into_iter().map(|t| (t, CoreId(owner(t, cores as usize) as u16))).collect::<HashMap<_, _>>())
        };
        let found = recover(&disk, cores, &place).await?;
        let cut = found.cut.0;
        let issued = world.history.borrow().len() as u64;
        if cut < world.seen.get() || cut > issued {
            let seen = world.seen.get();
            return world.violated(format!("clients saw number {seen} of {issued} issued; the start cut at {cut}"));
        }
        if found.epoch.0 <= world.epoch.get() {
            return world.violated(format!("epoch {} again", found.epoch));
        }
        world.epoch.set(found.epoch.0);
        world.history.borrow_mut().truncate(cut as usize);
        world.seen.set(cut);
        let expected = tables(&world.history.borrow());
        if !expected.keys().eq(found.tablets.keys().collect::<BTreeSet<_>>()) {
            return world.violated(format!("tablets {:?} at {cut}, not {:?}", found.tablets.keys(), expected.keys()));
        }
        let limits = TabletLimits {
            memtable_rows: 5,
            staged_rows: 6,
            segment_rows: 8,
            slice_rows: 3,
            ..TabletLimits::default()
        };
        let env = TabletEnv { disk: disk.clone(), cache: PageCache::new(1 << 20), limits };
        let w = Rc::new(Cell::new(cut));
        let mut started = Vec::new();
        for (core, image) in found.manifests.into_iter().enumerate() {
            let options = LogOptions { segment_bytes: 4096 * (2 + world.random.below(segments)), spare_segments: 1 };
            let mark = Rc::clone(&w);
            let log =
                Log::create(disk.clone(), found.epoch, CoreId(core as u16), options, Rc::new(move || Seq(mark.get())))
                    .await?;
            let manifest = Manifest::open(disk.clone(), image).await?;
            let (issued, applied) = (Cell::new(cut), Cell::new(cut));
            started.push(Core { log, manifest, tablets: RefCell::default(), issued, applied });
        }
        for (id, image) in found.tablets {
            let tablet = Tablet::open(id, schema(id), image.state, env.clone()).await?;
            for (seq, part) in &image.records {
                tablet.replay(*seq, part).await?;
            }
            check(&world, &tablet, Seq(cut), &expected[&id], "after the start").await?;
            started[image.owner.0 as usize].tablets.borrow_mut().insert(id, Owned::new(tablet));
        }
        let ddl =
            found.catalog.records.iter().map(|(seq, bytes)| Ok((seq.0, Ddl::parse(bytes)?))).collect::<Result<_>>()?;
        Ok(Rc::new(Process {
            catalog_log: CatalogLog::open(disk.clone(), &found.catalog).await?,
            old_logs: RefCell::new(Some(found.old_logs)),
            root_cut: found.cut,
            next: Cell::new(cut),
            open: RefCell::default(),
            pins: RefCell::default(),
            ddl: RefCell::new(ddl),
            moved: Signal::default(),
            next_value: Cell::new(world.epoch.get() as i64 * 1_000_000),
            writers: Cell::new(0),
            drops: Cell::new(1),
            delay: Cell::new(1),
            cores: started,
            world,
            disk,
            scheduler,
            w,
            env,
        }))
    }

    /// Runs `transactions` with everything beside them, until they are done, or the machine stops, or a rule is seen broken.
    pub(super) fn run(self: &Rc<Process>, shape: &Shape, transactions: u64) {
        self.drops.set(shape.drops);
        self.delay.set(shape.delay);
        for core in &self.cores {
            for _ in 0..if off(Rule::SyncAny) { 2 } else { 1 } {
                let (log, process) = (Rc::clone(&core.log), Rc::clone(self));
                self.spawn(async move { process.unless_stopped(log.run().await) });
            }
        }
        for core in 0..self.cores.len() {
            for _ in 0..shape.rewriters {
                let process = Rc::clone(self);
                self.spawn(async move { process.unless_stopped(process.background(core).await) });
            }
        }
        for _ in 0..shape.readers {
            let process = Rc::clone(self);
            self.spawn(async move { process.unless_stopped(process.reader().await) });
        }
        let writers = 1 + self.world.random.below(4) as u32;
        self.writers.set(writers);
        for _ in 0..writers {
            let process = Rc::clone(self);
            self.spawn(async move {
                let done = process.writer(transactions / u64::from(writers) + 1).await;
                process.unless_stopped(done);
                process.writers.set(process.writers.get() - 1);
            });
        }
        let process = Rc::clone(self);
        // The background never rests, so a transaction that waits for ever shows as many steps without progress.
        let progress = Cell::new((0, 0, self.scheduler.steps()));
        let over = move || {
            let (next, w, steps) = (process.next.get(), process.w.get(), process.scheduler.steps());
            if (next, w) != (progress.get().0, progress.get().1) {
                progress.set((next, w, steps));
            }
            process.writers.get() == 0 || process.world.over() || steps > progress.get().2 + STUCK_STEPS
        };
        self.scheduler.run(over);
        if self.writers.get() > 0 && !self.world.over() {
            let (w, next) = (self.w.get(), self.next.get());
            let _: Result<()> = self.world.violated(format!("stuck: W is {w}, number {next} is given out"));
        }
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.scheduler.spawn(future);
    }

    fn unless_stopped(&self, result: Result<()>) {
        if let Err(e) = result
            && !self.world.over()
        {
            let _: Result<()> = self.world.violated(format!("failed: {e}"));
        }
    }

    fn owned(&self, tablet: TabletId) -> Option<Rc<Owned>> {
        self.cores[owner(tablet, self.cores.len())].tablets.borrow().get(&tablet).filter(|o| !o.dropped.get()).cloned()
    }

    fn some_tablet(&self) -> Option<TabletId> {
        let all: Vec<TabletId> =
            self.cores.iter().flat_map(|c| c.tablets.borrow().keys().copied().collect::<Vec<_>>()).collect();
        if all.is_empty() { None } else { Some(all[self.world.random.below(all.len() as u64) as usize]) }
    }

    // ------------------------------------------------------------------------------------------------ writing

    async fn writer(self: &Rc<Process>, transactions: u64) -> Result<()> {
        for _ in 0..transactions {
            let transaction = self.plan();
            self.transaction(transaction).await?;
        }
        Ok(())
    }

    fn plan(&self) -> Transaction {
        let random = &self.world.random;
        let mut transaction = Transaction::default();
        let known = self.cores.iter().map(|c| c.tablets.borrow().len() as u64).sum::<u64>();
        if known == 0 || (known < 5 && random.one_in(4)) || random.one_in(40) {
            self.world.next_tablet.set(self.world.next_tablet.get() + 1);
            transaction.ddl = Some(Ddl::Create(TabletId(self.world.next_tablet.get())));
            return transaction;
        }
        if known > 3 && random.one_in(self.drops.get()) {
            transaction.ddl = self.some_tablet().map(Ddl::Drop);
            return transaction;
        }
        let mut tablets = BTreeSet::new();
        for _ in 0..1 + random.below(3) {
            tablets.extend(self.some_tablet());
        }
        for tablet in tablets {
            let duplicate = tablet.0.is_multiple_of(4);
            if duplicate && random.one_in(8) {
                transaction.changes.push((tablet, Change::DeleteUpTo(random.below(10) as i64)));
                continue;
            }
            let count = if random.one_in(6) { 10 } else { 1 + random.below(3) };
            let rows = (0..count).map(|_| {
                self.next_value.set(self.next_value.get() + 1);
                let value = if !duplicate && random.one_in(4) { None } else { Some(self.next_value.get()) };
                (random.below(12) as i64, value)
            });
            transaction.changes.push((tablet, Change::Rows(rows.collect())));
        }
        transaction
    }

    async fn transaction(self: &Rc<Process>, mut transaction: Transaction) -> Result<()> {
        let (mut parts, mut staged) = (Vec::new(), Vec::new());
        transaction.changes.retain(|(tablet, _)| self.owned(*tablet).is_some());
        for (tablet, change) in &transaction.changes {
            let Some(owned) = self.owned(*tablet) else { return Ok(()) };
            let made = match change {
                Change::Rows(changes) => owned.tablet.stage(rows(*tablet, changes)?).await?,
                Change::DeleteUpTo(bound) => owned.tablet.stage_delete(up_to(*tablet, *bound))?,
            };
            parts.push(owned.tablet.part(&made));
            staged.push((*tablet, Some(made)));
        }
        if let Some(ddl) = transaction.ddl {
            let body = PartBody::Ddl(Bytes::from(ddl.bytes()));
            parts.push(TabletPart { tablet: TabletId::CATALOG, schema_version: 0, body });
            staged.push((TabletId::CATALOG, None));
        }
        if parts.is_empty() {
            return Ok(());
        }
        let coordinator = self.world.random.below(self.cores.len() as u64) as usize;
        let mut by_core: BTreeMap<usize, Vec<(TabletPart, Option<Staged>)>> = BTreeMap::new();
        for (part, (tablet, staged)) in parts.iter().zip(staged) {
            by_core.entry(owner(tablet, self.cores.len())).or_default().push((part.clone(), staged));
        }
        let records: Vec<(usize, Vec<TabletPart>)> = if off(Rule::SplitRecord) {
            by_core.iter().map(|(&core, parts)| (core, parts.iter().map(|p| p.0.clone()).collect())).collect()
        } else {
            vec![(coordinator, parts)]
        };
        // R2: space before the number.
        let mut spaces = Vec::new();
        for (core, parts) in records {
            let record = CommitRecord { seq: Seq(0), txn: TxnId(0), parts };
            let space = self.cores[core].log.reserve(record.encoded_len()).await?;
            spaces.push((core, record, space));
        }
        // The number; R4: with it the previous one of each participating core.
        let seq = self.next.get() + 1;
        self.next.set(seq);
        self.world.history.borrow_mut().push(transaction.clone());
        self.open.borrow_mut().insert(seq, by_core.len());
        let previous: Vec<u64> = by_core.keys().map(|&core| self.cores[core].issued.replace(seq)).collect();
        if off(Rule::FailAfterNumber) && self.world.random.one_in(4) {
            return Ok(());
        }
        let delay = self.delay.get() * if self.world.random.one_in(6) { 6 } else { 1 };
        for _ in 0..self.world.random.below(delay) {
            self.disk.yield_now().await;
        }
        self.world.trace(|| format!("{seq} numbered: {transaction:?}"));
        let mut tickets = Vec::new();
        for (core, mut record, space) in spaces {
            (record.seq, record.txn) = (Seq(seq), TxnId(seq));
            tickets.push(self.cores[core].log.append(&record, space));
        }
        for ticket in tickets {
            if !off(Rule::PublishUnsynced) {
                ticket.durable().await?;
            }
        }
        if off(Rule::AckEarly) {
            self.world.seen.set(self.world.seen.get().max(seq));
        }
        for ((core, parts), previous) in by_core.into_iter().zip(previous) {
            let (process, ddl) = (Rc::clone(self), transaction.ddl);
            self.spawn(async move { process.unless_stopped(process.publish(core, seq, previous, parts, ddl).await) });
        }
        self.moved.wait(|| (self.w.get() >= seq).then_some(())).await;
        Ok(())
    }

    /// R4: a core applies s only after the previous number issued to it. R5: W moves when every number up to it is applied.
    async fn publish(
        &self,
        core: usize,
        seq: u64,
        previous: u64,
        parts: Vec<(TabletPart, Option<Staged>)>,
        ddl: Option<Ddl>,
    ) -> Result<()> {
        let this = &self.cores[core];
        if !off(Rule::NoPrev) {
            self.moved.wait(|| (this.applied.get() >= previous).then_some(())).await;
        }
        for (part, staged) in parts {
            if part.tablet == TabletId::CATALOG {
                self.change_catalog(seq, ddl);
            } else if let Some(owned) = self.owned(part.tablet) {
                owned.tablet.apply(Seq(seq), &part, staged).await?;
            }
        }
        this.applied.set(this.applied.get().max(seq));
        self.world
            .trace(|| format!("{seq} applied on core {core}: {:?}", self.world.history.borrow()[seq as usize - 1]));
        let mut open = self.open.borrow_mut();
        if let Some(cores) = open.get_mut(&seq) {
            *cores -= 1;
        }
        if off(Rule::WGap) && open.get(&seq) == Some(&0) {
            self.w.set(self.w.get().max(seq));
        }
        while open.get(&(self.w.get() + 1)) == Some(&0) {
            self.w.set(self.w.get() + 1);
        }
        let w = self.w.get();
        open.retain(|&seq, cores| seq > w || *cores > 0);
        // Everything up to W may have been answered, or seen by a reader.
        self.world.seen.set(self.world.seen.get().max(w));
        drop(open);
        self.moved.notify();
        Ok(())
    }

    fn change_catalog(&self, seq: u64, ddl: Option<Ddl>) {
        let Some(ddl) = ddl else { return };
        match ddl {
            Ddl::Create(tablet) => {
                let made = Tablet::create(tablet, schema(tablet), self.env.clone());
                self.cores[owner(tablet, self.cores.len())].tablets.borrow_mut().insert(tablet, Owned::new(made));
            }
            Ddl::Drop(tablet) => {
                if let Some(owned) = self.owned(tablet) {
                    owned.dropped.set(true);
                }
            }
        }
        self.ddl.borrow_mut().insert(seq, ddl);
    }

    // ------------------------------------------------------------------------------------------------ background

    async fn background(self: &Rc<Process>, core: usize) -> Result<()> {
        let random = self.world.random.clone();
        loop {
            self.disk.yield_now().await;
            let tablets: Vec<Rc<Owned>> = self.cores[core].tablets.borrow().values().cloned().collect();
            if !tablets.is_empty() {
                self.rewrite(core, &tablets[random.below(tablets.len() as u64) as usize]).await?;
            }
            match random.below(6) {
                0 => drop(self.cores[core].log.recycle(&|t| self.durable_f(core, t), self.mark()).await?),
                1 if core == 0 => self.recycle_old_logs().await?,
                2 if core == 0 => self.flush_catalog().await?,
                3 => self.cores[core].manifest.checkpoint().await?,
                _ => {}
            }
        }
    }

    async fn rewrite(self: &Rc<Process>, core: usize, owned: &Rc<Owned>) -> Result<()> {
        let manifest = &self.cores[core].manifest;
        let id = owned.tablet.id();
        if owned.dropped.get() {
            // The drop is visible, so it is durable; the tablet's own edits are over.
            let dropped_at = self.w.get();
            let visible = !tables(&self.world.history.borrow()[..dropped_at as usize]).contains_key(&id);
            if visible && owned.rewriting.get() == 0 && !owned.drop_written.replace(true) {
                let files: Vec<FileId> = manifest.state(id).files.iter().map(|f| f.file).collect();
                let flushed = manifest.flushed(id).unwrap_or_default();
                manifest.append(Edit { tablet: id, flushed, dropped: true, ..Edit::default() }).await?;
                self.cores[core].tablets.borrow_mut().remove(&id);
                let _ = files;
            }
            return Ok(());
        }
        let kind = if self.world.random.one_in(2) {
            Rewrite::Flush
        } else {
            let files: Vec<FileId> = manifest.state(id).files.iter().map(|f| f.file).collect();
            let wanted = |_: &FileId| !self.world.random.one_in(4);
            Rewrite::Compact(files.into_iter().filter(wanted).collect())
        };
        owned.rewriting.set(owned.rewriting.get() + 1);
        let w = if off(Rule::FlushAboveW) { owned.tablet.applied() } else { Seq(self.w.get()) };
        let done = owned.tablet.rewrite(kind, w, manifest).await;
        owned.rewriting.set(owned.rewriting.get() - 1);
        let report = done?;
        self.world.trace(|| format!("tablet {id}: rewrite at w {w}: {report:?}"));
        let oldest = self.pins.borrow().iter().copied().fold(self.w.get(), u64::min);
        let gone = owned.tablet.reclaim(Seq(oldest));
        self.world.trace(|| format!("tablet {id}: reclaim below {oldest}: {gone:?}"));
        owned.tablet.unlink(&gone).await
    }

    /// F of a tablet on any core, as the disk has it (R15); `None` when it is dropped.
    fn durable_f(&self, core: usize, tablet: TabletId) -> Option<Seq> {
        if tablet == TabletId::CATALOG {
            return Some(self.catalog_log.flushed());
        }
        let on = owner(tablet, self.cores.len());
        if off(Rule::DropLocal) && on != core {
            return None;
        }
        if off(Rule::DropEarly) {
            return Some(Seq(self.w.get()));
        }
        let there = tables(&self.world.history.borrow()[..self.w.get() as usize]).contains_key(&tablet);
        let created = there || self.next.get() > self.w.get() && self.owned(tablet).is_some();
        created.then(|| self.cores[on].manifest.flushed(tablet).unwrap_or_default())
    }

    fn mark(&self) -> Seq {
        self.cores.iter().map(|c| c.manifest.mark()).fold(self.root_cut.max(self.catalog_log.flushed()), Seq::max)
    }

    async fn recycle_old_logs(&self) -> Result<()> {
        let Some(mut old) = self.old_logs.borrow_mut().take() else { return Ok(()) };
        old.recycle(&self.disk, &|t| self.durable_f(0, t), self.mark()).await?;
        *self.old_logs.borrow_mut() = Some(old);
        Ok(())
    }

    /// R10: the catalog log takes changes up to W, in order; now and then a whole checkpoint.
    async fn flush_catalog(&self) -> Result<()> {
        let w = self.w.get();
        loop {
            let next = self.ddl.borrow().first_key_value().map(|(&seq, &ddl)| (seq, ddl));
            let Some((seq, ddl)) = next.filter(|(seq, _)| *seq <= w) else { break };
            self.ddl.borrow_mut().remove(&seq);
            self.catalog_log.append(Seq(seq), Bytes::from(ddl.bytes())).await?;
        }
        if self.world.random.one_in(3) {
            let tablets = tables(&self.world.history.borrow()[..w as usize]);
            let bytes: Vec<u8> = tablets.keys().flat_map(|t| t.0.to_le_bytes()).collect();
            self.catalog_log.checkpoint(Seq(w), Bytes::from(bytes)).await?;
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------ reading

    /// R11, P3: a statement sees one number everywhere.
    async fn reader(self: &Rc<Process>) -> Result<()> {
        loop {
            let at = self.w.get();
            self.pins.borrow_mut().push(at);
            self.world.trace(|| format!("pin {at}"));
            let expected = tables(&self.world.history.borrow()[..at as usize]);
            let result = self.read(at, &expected).await;
            let place = self.pins.borrow().iter().position(|&p| p == at).expect("pinned above");
            self.pins.borrow_mut().remove(place);
            result?;
            for _ in 0..8 {
                self.disk.yield_now().await;
            }
        }
    }

    async fn read(&self, at: u64, expected: &Tables) -> Result<()> {
        for (&tablet, rows) in expected {
            if let Some(owned) = self.owned(tablet) {
                check(&self.world, &owned.tablet, Seq(at), rows, "of a reader").await?;
            }
        }
        Ok(())
    }
}

impl Owned {
    fn new(tablet: Rc<Tablet>) -> Rc<Owned> {
        Rc::new(Owned { tablet, dropped: Cell::new(false), drop_written: Cell::new(false), rewriting: Cell::new(0) })
    }
}

async fn check(world: &World, tablet: &Tablet, at: Seq, expected: &[(i64, i64)], when: &str) -> Result<()> {
    let spec = ScanSpec { columns: vec![0, 1, 2], ..ScanSpec::default() };
    let mut scan = tablet.snapshot(at).scan(spec);
    world.trace(|| format!("tablet {}: read at {at} {when}", tablet.id()));
    let mut rows = Vec::new();
    while let Some(batch) = scan.next().await? {
        unpack(&batch, &mut rows)?;
    }
    rows.sort_unstable();
    if rows != expected {
        return world.violated(format!("tablet {} at {at} {when}: {rows:?}, not {expected:?}", tablet.id()));
    }
    Ok(())
}

/// What stops a process that has seen a rule broken.
pub(super) const VIOLATED: StorageError = StorageError::Closed("a rule is broken");
