//! How a core starts and stops: opens its log, manifest and tablets from what recovery found, replays, starts its tasks; and in reverse.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use starling_storage::cache::PageCache;
use starling_storage::disk::DiskRef;
use starling_storage::ids::{CoreId, TabletId};
use starling_storage::log::{Log, LogOptions};
use starling_storage::manifest::{CatalogImage, CatalogLog, Manifest, ManifestImage};
use starling_storage::recovery::{OldLogs, TabletImage};
use starling_storage::tablet::{Tablet, TabletEnv, TabletLimits};
use starling_storage::{ErrorKind, StorageError};

use super::core::{Boot, Core, Parts};
use super::{background, handle_publish, pump};
use crate::catalog::{Catalog, Table};
use crate::error::{EngineError, Result};
use crate::limits::{COMMITS_IN_FLIGHT_MAX, STOP_WAIT};
use crate::runtime::classes::Classes;
use crate::runtime::event::Event;
use crate::runtime::fatal::fatal;
use crate::runtime::mailbox::Inbox;
use crate::runtime::pause::Busy;
use crate::runtime::task::{Polls, Spawner, within};
use crate::runtime::{Class, Planner, SlowLane, StopReport};

/// What recovery found for one core. `Send`: core 0 recovers, the owners open and replay.
pub(crate) struct CoreImage {
    pub boot: Boot,
    pub catalog: Arc<Catalog>,
    pub manifest: ManifestImage,
    /// Core 0 only.
    pub catalog_image: Option<CatalogImage>,
    /// Core 0 only.
    pub old_logs: Option<OldLogs>,
    pub tablets: BTreeMap<TabletId, TabletImage>,
}

/// Opens everything, replays, and starts the tasks of the core. It serves when this returns.
pub(crate) async fn open(
    image: CoreImage,
    disk: DiskRef,
    cpu: usize,
    polls: Rc<Polls>,
    inbox: Inbox,
) -> Result<Rc<Core>> {
    let CoreImage { boot, catalog, manifest, catalog_image, old_logs, tablets } = image;
    let cache = PageCache::new(boot.budgets.cache);
    let manifest = Manifest::open(disk.clone(), manifest).await?;
    let catalog_log = match catalog_image {
        Some(image) => Some(open_catalog_log(&disk, image).await?),
        None => None,
    };
    let env = TabletEnv { disk: disk.clone(), cache: cache.clone(), limits: limits(&boot) };
    let tablets = open_tablets(&catalog, tablets, &env).await?;
    let watermark = boot.watermark.clone();
    let log =
        Log::create(disk.clone(), boot.epoch, boot.id, LogOptions::default(), Rc::new(move || watermark.get())).await?;
    let busy = Busy::new();
    let planner = Planner::start(boot.id, cpu, &busy)?;
    let slow_lane = SlowLane::start(boot.id, cpu, &busy)?;
    let spawner = Spawner::new(Classes::create(), polls.clone());
    let core = Core::new(Parts {
        boot,
        catalog,
        disk,
        cache,
        log,
        manifest,
        catalog_log,
        old_logs,
        tablets,
        spawner,
        polls,
        planner,
        slow_lane,
        busy,
    });
    start_tasks(&core, inbox);
    Ok(core)
}

/// Changes that only commit logs have go into the catalog log first: the commit logs may be recycled then (R15).
async fn open_catalog_log(disk: &DiskRef, image: CatalogImage) -> Result<Rc<CatalogLog>> {
    let log = CatalogLog::open(disk.clone(), &image).await?;
    for (seq, edit) in image.records {
        log.append(seq, edit).await?;
    }
    Ok(log)
}

fn limits(boot: &Boot) -> TabletLimits {
    let defaults = TabletLimits::default();
    // Small machines: a memtable is a small part of what writes may use.
    TabletLimits { memtable_bytes: defaults.memtable_bytes.min((boot.budgets.write / 4).max(1 << 20)), ..defaults }
}

/// The tablets of a core after a start.
#[derive(Default)]
pub(crate) struct Opened {
    pub sound: BTreeMap<TabletId, Rc<Tablet>>,
    pub damaged: BTreeMap<TabletId, EngineError>,
}

/// R16: a damaged tablet holds back its table only.
async fn open_tablets(catalog: &Catalog, images: BTreeMap<TabletId, TabletImage>, env: &TabletEnv) -> Result<Opened> {
    let mut opened = Opened::default();
    for (id, image) in images {
        let Some((table, _)) = catalog.tablet(id) else { continue };
        match open_tablet(id, table, image, env).await {
            Ok(tablet) => drop(opened.sound.insert(id, tablet)),
            Err(error) if error.kind() == ErrorKind::Corrupt || error.kind() == ErrorKind::NotFound => {
                tracing::error!(tablet = id.0, table = table.full_name(), %error, "a tablet is damaged; its table is held back");
                let text = format!("tablet {id} of {}: {error}", table.full_name());
                opened.damaged.insert(id, EngineError::damaged(text));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(opened)
}

/// Files at F, then exactly the records above it.
async fn open_tablet(
    id: TabletId,
    table: &Table,
    image: TabletImage,
    env: &TabletEnv,
) -> Result<Rc<Tablet>, StorageError> {
    let tablet = Tablet::open(id, table.schema.clone(), image.state, env.clone()).await?;
    for (seq, part) in &image.records {
        tablet.replay(*seq, part).await?;
    }
    Ok(tablet)
}

fn start_tasks(core: &Rc<Core>, inbox: Inbox) {
    let (flusher, id) = (core.log().clone(), core.id());
    let log_ended = core.log_ended.clone();
    core.spawn_vital(Class::Publish, "log", async move {
        if let Err(error) = flusher.run().await {
            fatal(format!("the log of core {id} failed: {error}"));
        }
        log_ended.set();
    });
    core.spawn_vital(Class::Publish, "applier", handle_publish::run(core.clone()));
    core.spawn_vital(Class::Control, "pause", core.busy.clone().keep());
    core.spawn_vital(Class::Background, "background", background::run(core.clone()));
    pump::start(core, inbox);
}

/// Nothing new; commits in flight end, background work ends, the log is closed. The core still serves the commits of others.
pub(crate) async fn drain(core: &Rc<Core>) -> StopReport {
    let mut errors = Vec::new();
    core.begin_stop();
    let commits_drained = core.commits_in_flight() as u64;
    let mut ended = |what: &str, in_time: Option<()>| {
        if in_time.is_none() {
            errors.push(format!("core {}: {what} did not end within {} s", core.id(), STOP_WAIT.as_secs()));
        }
    };
    ended("commits in flight", within(STOP_WAIT, core.commits().drained(COMMITS_IN_FLIGHT_MAX)).await);
    ended("rewrites", within(STOP_WAIT, core.background.drained()).await);
    core.log().close();
    ended("the log", within(STOP_WAIT, core.log_ended.wait()).await);
    StopReport { commits_drained, errors }
}

/// Something that happens once.
#[derive(Default)]
pub(super) struct Once {
    done: std::cell::Cell<bool>,
    event: Event,
}

impl Once {
    pub fn set(&self) {
        self.done.set(true);
        self.event.notify();
    }

    pub async fn wait(&self) {
        self.event.until(|| self.done.get().then_some(())).await;
    }
}

impl Core {
    /// What the tablets of this core work with.
    pub(super) fn tablet_env(&self) -> TabletEnv {
        TabletEnv { disk: self.disk.clone(), cache: self.cache.clone(), limits: limits(&self.boot) }
    }

    /// Commits between asking for a number and being visible.
    pub(super) fn commits_in_flight(&self) -> usize {
        COMMITS_IN_FLIGHT_MAX - self.commits().free()
    }
}

/// The catalog at the cut: the checkpoint, the edits since it, the records above it (R10).
pub(crate) fn catalog_of(image: &CatalogImage) -> Result<Catalog> {
    let mut catalog = match image.checkpoint.is_empty() {
        true => Catalog::empty(),
        false => Catalog::from_bytes(&image.checkpoint)?,
    };
    for (seq, bytes) in image.edits.iter().chain(&image.records) {
        catalog = catalog.apply(*seq, &crate::catalog::CatalogEdit::from_bytes(bytes)?);
    }
    Ok(catalog)
}

/// Which core owns which tablet (R17).
pub(crate) fn placement(catalog: &Catalog, cores: u16) -> Result<std::collections::HashMap<TabletId, CoreId>> {
    let owner = |id| catalog.owner(id, cores).map(|core| (id, core));
    catalog.tablet_ids().map(|id| owner(id).ok_or_else(|| EngineError::internal("a tablet without a table"))).collect()
}

/// For recovery, which knows no catalog: a catalog that cannot be read is damage.
pub(crate) fn as_storage_error(error: EngineError) -> StorageError {
    StorageError::corrupt("catalog log", 0, "a readable catalog", error)
}
