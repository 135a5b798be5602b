//! A node: the cores of one process, their start in order and their stop in reverse.
//!
//! Start: lock the directory; spawn one executor per core; core 0 recovers (R16, R17) and sends every core its part; each opens and
//! replays, in parallel; then core 0 makes the hidden tables if they are not there. Stop: see `shard::boot::close`.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::channel::oneshot;
use glommio::{LocalExecutorBuilder, Placement};
use starling_storage::disk::{DirLock, DiskRef, GlommioDisk};
use starling_storage::ids::CoreId;
use starling_storage::recovery::{Recovered, recover};

use super::first::{Claim, first_to_run};
use super::heartbeat::{Bell, Heartbeat};
use super::mailbox::{Inbox, Mailbox, mailbox};
use super::task::{Polls, panic_text};
use super::thread::allowed_cpus;
use crate::catalog::{CatalogOp, HIDDEN_DATABASE};
use crate::error::{EngineError, Result};
use crate::limits::{CORES_MAX, LABEL_KEEP, PREEMPT_EVERY, STACK_BYTES};
use crate::shard::boot::{self, CoreImage};
use crate::shard::message::Control;
use crate::shard::{Boot, Budgets, Core};
use crate::txn::labels;
use crate::txn::{Oldest, Watermark};

/// What an operator chooses.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The data directory; made when it does not exist.
    pub data: PathBuf,
    /// Executors; more than the machine has CPUs is allowed.
    pub cores: u16,
    /// Bytes for everything: caches, memtables, queries.
    pub memory: u64,
    /// Age at which a label is forgotten.
    pub label_keep: Duration,
}

impl NodeOptions {
    /// With the default for everything that is not named.
    pub fn new(data: PathBuf, cores: u16, memory: u64) -> NodeOptions {
        NodeOptions { data, cores, memory, label_keep: LABEL_KEEP }
    }
}

/// How the stop went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Commits that were in flight when the stop began; all of them ended, unless `errors` says otherwise.
    pub commits_drained: u64,
    /// What went wrong, by core; empty after a clean stop.
    pub errors: Vec<String>,
}

/// A running node. Dropping it without `stop` leaves the cores running.
pub struct Node {
    mesh: Vec<Mailbox>,
    cores: Vec<Running>,
    _heartbeat: Heartbeat,
    _lock: DirLock,
}

/// One executor, as its starter sees it.
struct Running {
    end: flume::Sender<End>,
    thread: JoinHandle<StopReport>,
}

/// The steps of an end. Each is taken by all cores before the next: a commit of one core needs the others to be there.
enum End {
    /// Nothing new; commits in flight and background work end. Answered when that is so.
    Drain(std::sync::mpsc::Sender<()>),
    /// Close the files and end. Without `Drain` before: at once, as a killed process would (tests of recovery do this).
    Leave,
}

/// What an executor is given.
struct CoreStart {
    id: CoreId,
    cpu: usize,
    options: NodeOptions,
    bell: Arc<Bell>,
    inbox: Inbox,
    image: oneshot::Receiver<CoreImage>,
    ready: std::sync::mpsc::Sender<Result<CoreId>>,
    end: flume::Receiver<End>,
    /// Core 0: recovers and hands out the images.
    leader: Option<Leader>,
}

struct Leader {
    mesh: Vec<Mailbox>,
    images: Vec<oneshot::Sender<CoreImage>>,
}

impl Node {
    /// Opens the data directory (refused while another process has it), recovers, starts the cores. Blocks until they serve.
    pub fn start(options: NodeOptions) -> Result<Node> {
        if options.cores == 0 || options.cores > CORES_MAX {
            return Err(EngineError::environment(format!("--cores must be between 1 and {CORES_MAX}")));
        }
        std::fs::create_dir_all(&options.data)
            .map_err(|e| EngineError::environment(format!("cannot make {}: {e}", options.data.display())))?;
        let lock = DirLock::acquire(&options.data)?;
        let (mesh, inboxes): (Vec<_>, Vec<_>) = (0..options.cores).map(|id| mailbox(CoreId(id), options.cores)).unzip();
        let (ready, answers) = std::sync::mpsc::channel();
        let bells: Vec<Arc<Bell>> = mesh.iter().map(|_| Arc::default()).collect();
        let heartbeat = Heartbeat::start(bells.clone())?;
        let cores = spawn_all(&options, &mesh, inboxes, &bells, &ready)?;
        drop(ready);
        let mut node = Node { mesh, cores, _heartbeat: heartbeat, _lock: lock };
        for _ in 0..node.cores.len() {
            match answers.recv() {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(node.give_up(error)),
                Err(_) => return Err(node.give_up(EngineError::internal("a core ended while it started"))),
            }
        }
        node.run_on(CoreId(0), |core| async move { bootstrap(&core).await })??;
        Ok(node)
    }

    pub fn cores(&self) -> u16 {
        self.mesh.len() as u16
    }

    /// Runs `work` on a core and waits for what it gives. For threads outside; a task that lives on is spawned by `work`.
    pub fn run_on<T, F, W>(&self, core: CoreId, work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce(Rc<Core>) -> F + Send + 'static,
    {
        let (answer, slot) = super::reply();
        let run = Box::new(move |core: &Rc<Core>| {
            let future = work(core.clone());
            core.spawn(super::Class::Control, "outside", async move { answer.send(future.await) });
        });
        self.mesh[usize::from(core.0)].control(Control::Run(run));
        futures_lite::future::block_on(slot.recv())
    }

    /// Stops in order: sessions are ended, commits in flight finish, background work ends, files are closed. Blocks.
    pub fn stop(mut self) -> StopReport {
        let (drained, answers) = std::sync::mpsc::channel();
        for core in &self.cores {
            drop(core.end.send(End::Drain(drained.clone())));
        }
        drop(drained);
        // Ends when every core has answered or is gone.
        answers.iter().for_each(drop);
        self.leave()
    }

    /// Ends the cores at once, as if the process were killed: what is not durable is lost. For tests of recovery.
    pub fn abandon(mut self) {
        self.leave();
    }

    fn leave(&mut self) -> StopReport {
        let mut report = StopReport::default();
        let running: Vec<Running> = self.cores.drain(..).collect();
        running.iter().for_each(|core| drop(core.end.send(End::Leave)));
        for (id, core) in running.into_iter().enumerate() {
            match core.thread.join() {
                Ok(ended) => {
                    report.commits_drained += ended.commits_drained;
                    report.errors.extend(ended.errors);
                }
                Err(panic) => report.errors.push(format!("core {id}: {}", panic_text(&*panic))),
            }
        }
        report
    }

    fn give_up(&mut self, error: EngineError) -> EngineError {
        self.leave();
        error
    }
}

fn spawn_all(
    options: &NodeOptions,
    mesh: &[Mailbox],
    inboxes: Vec<Inbox>,
    bells: &[Arc<Bell>],
    ready: &std::sync::mpsc::Sender<Result<CoreId>>,
) -> Result<Vec<Running>> {
    let cpus = allowed_cpus();
    let (images, slots): (Vec<_>, Vec<_>) = (0..options.cores).map(|_| oneshot::channel()).unzip();
    let mut leader = Some(Leader { mesh: mesh.to_vec(), images });
    let mut running = Vec::new();
    for (id, ((inbox, image), bell)) in inboxes.into_iter().zip(slots).zip(bells).enumerate() {
        let (end, ended) = flume::bounded(2);
        let start = CoreStart {
            id: CoreId(id as u16),
            cpu: cpus[id % cpus.len()],
            options: options.clone(),
            bell: bell.clone(),
            inbox,
            image,
            ready: ready.clone(),
            end: ended,
            leader: leader.take(),
        };
        running.push(Running { end, thread: spawn(start)? });
    }
    Ok(running)
}

/// The thread is ours and not glommio's for its stack.
fn spawn(start: CoreStart) -> Result<JoinHandle<StopReport>> {
    let (id, cpu) = (start.id, start.cpu);
    first_to_run(start, |claim| {
        let thread = thread::Builder::new().name(format!("core-{id}")).stack_size(STACK_BYTES);
        thread
            .spawn(move || run_executor(id, cpu, claim))
            .map_err(|error| EngineError::environment(format!("no thread for a core: {error}")))
    })
}

fn run_executor(id: CoreId, cpu: usize, claim: Claim<CoreStart>) -> StopReport {
    // No spinning: with latency classes it loses wake-ups. 1 ms preempt timer: foreign wakes are seen at yields only.
    let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(&format!("core-{id}"))
        .preempt_timer(PREEMPT_EVERY)
        .make();
    match executor {
        Ok(executor) => executor.run(async {
            match claim.take() {
                Some(start) => run_core(start).await,
                None => StopReport::default(),
            }
        }),
        Err(error) => {
            let text = format!("cannot start an executor: {error}; `starling doctor` says what is missing");
            if let Some(start) = claim.take() {
                drop(start.ready.send(Err(EngineError::environment(text))));
            }
            StopReport::default()
        }
    }
}

/// The main future of an executor. Gives how it ended.
async fn run_core(start: CoreStart) -> StopReport {
    let bell = start.bell.clone();
    bell.listen().await;
    let report = serve(start).await;
    bell.close();
    report
}

async fn serve(start: CoreStart) -> StopReport {
    let CoreStart { id, cpu, options, bell, inbox, image, ready, end, leader } = start;
    let polls = Rc::new(Polls::new(bell));
    let opened = open_core(&options, cpu, polls, inbox, image, leader).await;
    let core = match opened {
        Ok(core) => core,
        Err(error) => {
            drop(ready.send(Err(error)));
            return StopReport::default();
        }
    };
    drop(ready.send(Ok(id)));
    drop(ready);
    let mut report = StopReport::default();
    while let Ok(End::Drain(drained)) = end.recv_async().await {
        report = boot::drain(&core).await;
        drop(drained);
    }
    core.leave();
    report
}

async fn open_core(
    options: &NodeOptions,
    cpu: usize,
    polls: Rc<Polls>,
    inbox: Inbox,
    image: oneshot::Receiver<CoreImage>,
    leader: Option<Leader>,
) -> Result<Rc<Core>> {
    let disk: DiskRef = Rc::new(GlommioDisk::open(&options.data).await?);
    if let Some(leader) = leader {
        lead(options, &disk, leader).await?;
    }
    let image = image.await.map_err(|_| EngineError::internal("core 0 could not recover"))?;
    boot::open(image, disk, cpu, polls, inbox).await
}

/// Core 0: recovers and sends every core its part.
async fn lead(options: &NodeOptions, disk: &DiskRef, leader: Leader) -> Result<()> {
    let cores = options.cores;
    let place = |image: &_| {
        let catalog = boot::catalog_of(image).map_err(boot::as_storage_error)?;
        boot::placement(&catalog, cores).map_err(boot::as_storage_error)
    };
    let recovered = recover(disk, cores, &place).await?;
    tracing::info!(epoch = recovered.epoch.0, cut = recovered.cut.0, tablets = recovered.tablets.len(), "recovered");
    let catalog = Arc::new(boot::catalog_of(&recovered.catalog)?);
    for (image, sender) in images(options, recovered, &catalog, &leader.mesh).into_iter().zip(leader.images) {
        drop(sender.send(image));
    }
    Ok(())
}

fn images(
    options: &NodeOptions,
    recovered: Recovered,
    catalog: &Arc<crate::catalog::Catalog>,
    mesh: &[Mailbox],
) -> Vec<CoreImage> {
    let (watermark, oldest) = (Watermark::new(recovered.cut), Oldest::new(options.cores));
    let budgets = Budgets::of(options.memory, options.cores);
    let (mut catalog_image, mut old_logs) = (Some(recovered.catalog), Some(recovered.old_logs));
    let image = |(id, manifest)| CoreImage {
        boot: Boot {
            id: CoreId(id as u16),
            cores: options.cores,
            epoch: recovered.epoch,
            mesh: mesh.to_vec(),
            watermark: watermark.clone(),
            oldest: oldest.clone(),
            cut: recovered.cut,
            budgets,
            label_keep: options.label_keep,
        },
        catalog: catalog.clone(),
        manifest,
        catalog_image: catalog_image.take(),
        old_logs: old_logs.take(),
        tablets: Default::default(),
    };
    let mut images: Vec<CoreImage> = recovered.manifests.into_iter().enumerate().map(image).collect();
    for (id, tablet) in recovered.tablets {
        images[usize::from(tablet.owner.0)].tablets.insert(id, tablet);
    }
    images
}

/// The hidden tables (R9), where they are not there yet.
async fn bootstrap(core: &Rc<Core>) -> Result<()> {
    let database = CatalogOp::CreateDatabase { name: HIDDEN_DATABASE.to_string(), if_not_exists: true };
    core.ddl(database).await?;
    let table = CatalogOp::CreateTable { db: HIDDEN_DATABASE.to_string(), table: labels::table(), if_not_exists: true };
    core.ddl(table).await?;
    Ok(())
}
