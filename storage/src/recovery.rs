//! Starting (R16, R17). Core 0 does it, before anything is served:
//!
//! 1. read the root, the manifests of the live generation, every log; sync what was read;
//! 2. cut: the greatest durable mark found anywhere, extended by consecutive numbers up to the first gap;
//! 3. write (epoch + 1, cut) to the root;
//! 4. write every tablet's state under its owner into manifests of a new generation, then switch the root to it. Every start does, so that
//!    another number of cores is nothing special and no start appends to a file with a torn tail;
//! 5. remove what belongs to older generations and what no tablet names.
//!
//! The owners replay: a tablet gets exactly the records above its F, up to the cut (R15). A crash fits between any two steps: until the
//! switch nothing but the root's epoch and cuts has changed.

use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::{CoreId, Epoch, FileId, Seq, TabletId};
use crate::log::block::{StreamId, StreamKind};
use crate::log::scan::{SegmentFile, scan};
use crate::log::writer::{LastNumbers, is_past};
use crate::log::{CommitRecord, LOG_DIR, PartBody, TabletPart, parse_segment_name, segment_path};
use crate::manifest::load::{self, LoadedManifest, load_catalog, load_manifest};
use crate::manifest::stream::{MANIFEST_DIR, StreamEnd, stream_path, write_checkpoint};
use crate::manifest::{CatalogImage, ManifestImage, TabletState, catalog_frames, checkpoint_frames};
use crate::root::Root;
use crate::rules::{Rule, off};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The directory of segment files of tablets.
const SEG_DIR: &str = "seg";

/// Says which tablets there are at the cut and who owns each, from the catalog just recovered (R17: placement is a catalog map). A
/// tablet that is not named was dropped: its files and records are passed over.
pub type Placement<'a> = &'a dyn Fn(&CatalogImage) -> Result<HashMap<TabletId, CoreId>>;

/// What a start found. `Send`: core 0 recovers, the owners replay.
pub struct Recovered {
    /// The epoch of this start; its logs carry it.
    pub epoch: Epoch,
    /// W of this start: every number up to it is in the database, none above it is. The sequencer goes on with the next.
    pub cut: Seq,
    /// Every tablet that [`Placement`] named, those without a file included.
    pub tablets: HashMap<TabletId, TabletImage>,
    /// The catalog.
    pub catalog: CatalogImage,
    /// The manifest of each core, in order.
    pub manifests: Vec<ManifestImage>,
    /// The segments of older epochs that are still needed.
    pub old_logs: OldLogs,
}

/// A tablet: its files at F and the records above F.
pub struct TabletImage {
    /// Its owner from now on.
    pub owner: CoreId,
    /// What its files tell.
    pub state: TabletState,
    /// Exactly the parts above its F up to the cut, ascending: the owner replays them (R15).
    pub records: Vec<(Seq, TabletPart)>,
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Recovered>()
};

/// A segment of an older epoch.
#[derive(Debug)]
struct OldSegment {
    path: String,
    bytes: u64,
    /// Greatest number in it that counts, and per tablet.
    last: Seq,
    tablets: LastNumbers,
    /// W of its blocks.
    mark: Seq,
}

/// Segments of older epochs: core 0 removes them as the tablets named in them are flushed.
#[derive(Debug, Default)]
pub struct OldLogs {
    /// Per log, oldest first.
    logs: Vec<Vec<OldSegment>>,
}

impl OldLogs {
    /// R15, as [`crate::log::Log::recycle`], but the files are removed. Returns how many are left. `mark` is the greatest F of any core, or the
    /// root's cut.
    pub async fn recycle(
        &mut self,
        disk: &DiskRef,
        flushed: &dyn Fn(TabletId) -> Option<Seq>,
        mark: Seq,
    ) -> Result<usize> {
        loop {
            let mut removed = 0;
            for at in 0..self.logs.len() {
                let log = &self.logs[at];
                let staying = log.iter().skip(1).map(|s| s.mark).max().unwrap_or(Seq::ZERO);
                let oldest = log.first().filter(|s| is_past(&s.tablets, s.last, flushed, mark.max(staying)));
                if let Some(oldest) = oldest {
                    disk.remove(&oldest.path).await?;
                    self.logs[at].remove(0);
                    removed += 1;
                }
            }
            self.logs.retain(|log| !log.is_empty());
            if removed == 0 {
                return Ok(self.logs.iter().map(Vec::len).sum());
            }
            // After each round, so that what a power loss leaves is never a log with a hole.
            disk.sync_dir(LOG_DIR).await?;
        }
    }

    /// The tablets that hold old segments back, each with the last number that names it there.
    pub fn holders(&self) -> Vec<(TabletId, Seq)> {
        let mut holders = BTreeMap::new();
        for (&tablet, &last) in self.logs.iter().flatten().flat_map(|s| &s.tablets) {
            let held: &mut Seq = holders.entry(tablet).or_default();
            *held = (*held).max(last);
        }
        holders.into_iter().collect()
    }

    /// Bytes of the segments that are left.
    pub fn bytes(&self) -> u64 {
        self.logs.iter().flatten().map(|s| s.bytes).sum()
    }
}

/// A record of a log, with its place.
struct FoundRecord {
    epoch: Epoch,
    record: CommitRecord,
    file: String,
    offset: u64,
    /// Position of its log among the logs read, and of the segments it touches in that log.
    log: usize,
    segments: (usize, usize),
}

/// Everything the disk holds, read and synced.
struct Found {
    root: Root,
    manifests: Vec<LoadedManifest>,
    catalog: CatalogImage,
    /// Records that count (R16), by number.
    records: BTreeMap<Seq, FoundRecord>,
    /// Greatest W of any block.
    log_mark: Seq,
    old: OldLogs,
    manifest_files: Vec<String>,
    oldest_epoch: Option<Epoch>,
}

/// Starts. `cores` may differ from the last start's. An empty directory gives epoch 1, cut 0.
///
/// Errors: `Corrupt` names file, offset, expected and found; nothing has changed then, but for syncs.
pub async fn recover(disk: &DiskRef, cores: u16, placement: Placement<'_>) -> Result<Recovered> {
    for dir in [LOG_DIR, MANIFEST_DIR, SEG_DIR] {
        disk.create_dir(dir).await?;
    }
    disk.sync_dir("").await?;
    let mut found = read_all(disk).await?;
    let cut = found.cut();
    found.begin_epoch(disk, cut).await?;
    let (root, epoch) = (found.root.clone(), found.root.epoch);

    let mut catalog = std::mem::take(&mut found.catalog);
    for (&seq, found) in found.records.range(catalog.flushed.next()..) {
        let ddl = found
            .record
            .parts
            .iter()
            .filter_map(|p| if let PartBody::Ddl(bytes) = &p.body { Some(bytes) } else { None });
        catalog.records.extend(ddl.map(|bytes| (seq, bytes.clone())));
    }
    let owners = placement(&catalog)?;
    if let Some((tablet, owner)) = owners.iter().find(|(_, owner)| owner.0 >= cores) {
        return Err(StorageError::Invalid(format!("tablet {tablet} placed on core {owner} of {cores}")));
    }
    let mut tablets = found.tablets(&owners);
    let (manifests, end) = found.new_generation(disk, root, cores, &mut tablets, &catalog, cut).await?;
    catalog.end = Some(end);
    remove_orphans(disk, &mut tablets).await?;
    let flushed = |tablet: TabletId| match tablet {
        TabletId::CATALOG => Some(catalog.flushed),
        tablet => tablets.get(&tablet).map(|t| t.state.flushed),
    };
    found.old.recycle(disk, &flushed, cut).await?;
    Ok(Recovered { epoch, cut, tablets, catalog, manifests, old_logs: found.old })
}

async fn read_all(disk: &DiskRef) -> Result<Found> {
    let streams = load::list(disk).await?;
    let mut logs: BTreeMap<(Epoch, CoreId), Vec<u32>> = BTreeMap::new();
    for entry in disk.list(LOG_DIR).await? {
        if let Some((epoch, core, index)) = parse_segment_name(&entry.name) {
            logs.entry((epoch, core)).or_default().push(index);
        }
    }
    let root = match Root::read(disk).await {
        Ok(Some(root)) => root,
        // The very first write of the root may have been torn; then there is nothing else.
        Ok(None) | Err(StorageError::Corrupt { .. }) if logs.is_empty() && streams.is_empty() => Root::default(),
        Ok(None) => {
            let files = format!("{} logs and {} manifests", logs.len(), streams.len());
            return Err(StorageError::corrupt(
                crate::root::ROOT_PATH,
                0,
                "a root record",
                format!("none, beside {files}"),
            ));
        }
        Err(e) => return Err(e),
    };
    if let Some((epoch, core)) = logs.keys().find(|(epoch, _)| *epoch > root.epoch) {
        let found = format!("{}, in the log of core {core}", epoch);
        return Err(StorageError::corrupt(crate::root::ROOT_PATH, 0, format!("epochs up to {}", root.epoch), found));
    }
    // R16: the names, too, are synced before anything is decided by them.
    disk.sync_dir(LOG_DIR).await?;
    disk.sync_dir(MANIFEST_DIR).await?;
    let manifest_files = streams.iter().flat_map(|(s, files)| files.iter().map(|&f| stream_path(*s, f))).collect();
    let mut found = Found {
        root,
        manifests: Vec::new(),
        catalog: CatalogImage::default(),
        records: BTreeMap::new(),
        log_mark: Seq::ZERO,
        old: OldLogs::default(),
        manifest_files,
        oldest_epoch: logs.keys().next().map(|k| k.0),
    };
    found.read_generation(disk, &streams).await?;
    for ((epoch, core), mut segments) in logs {
        segments.sort_unstable();
        found.read_log(disk, epoch, core, &segments).await?;
    }
    Ok(found)
}

impl Found {
    async fn read_generation(&mut self, disk: &DiskRef, streams: &[(StreamId, Vec<u32>)]) -> Result<()> {
        if self.root.generation == Epoch(0) {
            return Ok(());
        }
        let epoch = self.root.generation.0;
        let files = |stream: StreamId| streams.iter().find(|(s, _)| *s == stream).map_or(&[][..], |(_, files)| files);
        for core in 0..self.root.cores {
            let stream = StreamId { kind: StreamKind::Manifest, epoch, core };
            self.manifests.push(load_manifest(disk, stream, files(stream), true).await?);
        }
        let stream = StreamId { kind: StreamKind::Catalog, epoch, core: 0 };
        self.catalog = load_catalog(disk, stream, files(stream), true).await?;
        Ok(())
    }

    async fn read_log(&mut self, disk: &DiskRef, epoch: Epoch, core: CoreId, indexes: &[u32]) -> Result<()> {
        let segment = |&index: &u32| SegmentFile { index, path: segment_path(epoch, core, index) };
        let segments: Vec<_> = indexes.iter().map(segment).collect();
        let stream = StreamId { kind: StreamKind::Log, epoch: epoch.0, core: core.0 };
        let (bound, log) = (self.bound(epoch), self.old.logs.len());
        let records = &mut self.records;
        let scan = scan(disk, stream, &segments, !off(Rule::NoResync), &mut |scanned| {
            let record = CommitRecord::decode(Bytes::from(scanned.bytes)).map_err(|e| match e {
                StorageError::Corrupt { expected, found, .. } => {
                    StorageError::corrupt(&scanned.file, scanned.offset, expected, found)
                }
                e => e,
            })?;
            // R16: a record counts only if it is <= the cuts of all later epochs.
            if record.seq > bound {
                return Ok(());
            }
            let found = FoundRecord {
                epoch,
                record,
                file: scanned.file,
                offset: scanned.offset,
                log,
                segments: scanned.segments,
            };
            keep(records, found)
        })
        .await?;
        self.log_mark = self.log_mark.max(scan.mark);
        let old = segments.into_iter().zip(&scan.segments).map(|(file, &(bytes, mark))| OldSegment {
            path: file.path,
            bytes,
            last: Seq::ZERO,
            tablets: LastNumbers::new(),
            mark,
        });
        self.old.logs.push(old.collect());
        Ok(())
    }

    fn bound(&self, epoch: Epoch) -> Seq {
        if off(Rule::NoCut) {
            return Seq::MAX;
        }
        if off(Rule::LastCut) {
            return if epoch < self.root.epoch { self.root.cut() } else { Seq::MAX };
        }
        self.root.bound(epoch)
    }

    /// R16: the greatest durable mark found anywhere, extended by consecutive numbers, up to the first gap.
    fn cut(&self) -> Seq {
        let mut cut = self.log_mark.max(self.root.cut());
        if !off(Rule::WLogsOnly) {
            cut = self.manifests.iter().map(|m| m.mark).fold(cut.max(self.catalog.flushed), Seq::max);
        }
        if off(Rule::NoGap) {
            return self.records.keys().last().map_or(cut, |&last| cut.max(last));
        }
        while !off(Rule::NoExtend) && self.records.contains_key(&cut.next()) {
            cut = cut.next();
        }
        cut
    }

    /// R16: (epoch + 1, cut) is synced to the root before any file of the new epoch.
    async fn begin_epoch(&mut self, disk: &DiskRef, cut: Seq) -> Result<()> {
        // Records above the cut are dead from now on: their numbers are given out again.
        self.records.split_off(&cut.next());
        for found in self.records.values() {
            let touched = &mut self.old.logs[found.log][found.segments.0..=found.segments.1];
            for segment in touched {
                segment.last = segment.last.max(found.record.seq);
                for part in &found.record.parts {
                    let last = segment.tablets.entry(part.tablet).or_default();
                    *last = (*last).max(found.record.seq);
                }
            }
        }
        let root = &mut self.root;
        root.epoch = Epoch(root.epoch.0 + 1);
        root.cuts.push((root.epoch, cut));
        let oldest = self.oldest_epoch.unwrap_or(root.epoch);
        let newest = root.epoch;
        root.cuts.retain(|(epoch, _)| *epoch > oldest || *epoch == newest);
        root.write(disk).await
    }

    /// Every tablet with its state and the records above its F.
    fn tablets(&mut self, owners: &HashMap<TabletId, CoreId>) -> HashMap<TabletId, TabletImage> {
        let mut tablets: HashMap<TabletId, TabletImage> = HashMap::new();
        let mut least = HashMap::new();
        for manifest in &mut self.manifests {
            let flushed = manifest.tablets.values().map(|s| s.flushed).min().unwrap_or_default();
            for (tablet, state) in std::mem::take(&mut manifest.tablets) {
                least.insert(tablet, flushed);
                if let Some(&owner) = owners.get(&tablet) {
                    tablets.insert(tablet, TabletImage { owner, state, records: Vec::new() });
                }
            }
        }
        for (&tablet, &owner) in owners {
            let fresh = || TabletImage { owner, state: TabletState::default(), records: Vec::new() };
            tablets.entry(tablet).or_insert_with(fresh);
        }
        for (&seq, found) in &self.records {
            for part in &found.record.parts {
                let Some(image) = tablets.get_mut(&part.tablet) else { continue };
                let flushed = if off(Rule::FPerCore) {
                    least.get(&part.tablet).copied().unwrap_or_default()
                } else {
                    image.state.flushed
                };
                if seq > flushed {
                    image.records.push((seq, part.clone()));
                }
            }
        }
        tablets
    }

    /// R17: writes the manifests of the new generation, then switches the root to it, then removes the old ones.
    async fn new_generation(
        &mut self,
        disk: &DiskRef,
        mut root: Root,
        cores: u16,
        tablets: &mut HashMap<TabletId, TabletImage>,
        catalog: &CatalogImage,
        cut: Seq,
    ) -> Result<(Vec<ManifestImage>, StreamEnd)> {
        (root.generation, root.cores) = (root.epoch, cores);
        if off(Rule::SwitchFirst) {
            root.write(disk).await?;
        }
        let mut states = vec![BTreeMap::new(); cores as usize];
        for (&tablet, image) in tablets.iter_mut() {
            for part in image.records.iter().map(|(_, part)| part) {
                let PartBody::Files(files) = &part.body else { continue };
                let next = files.iter().map(|f| f.file.number + 1).max().unwrap_or(0);
                image.state.next_file = image.state.next_file.max(next);
            }
            states[image.owner.0 as usize].insert(tablet, image.state.clone());
        }
        // Marks never decrease, whatever was dropped (R15): the cut covers all that was found.
        let mut images = Vec::with_capacity(cores as usize);
        for (core, tablets) in states.into_iter().enumerate() {
            let stream = StreamId { kind: StreamKind::Manifest, epoch: root.epoch.0, core: core as u16 };
            let frames = checkpoint_frames(&tablets, cut);
            write_checkpoint(disk, stream, 1, &frames).await?;
            let checkpoint_bytes = frames.blocks() * crate::disk::BLOCK_BYTES as u64;
            let end = StreamEnd { stream, file: 1, next: frames.blocks(), checkpoint_bytes };
            images.push(ManifestImage { end, mark: cut, tablets });
        }
        let stream = StreamId { kind: StreamKind::Catalog, epoch: root.epoch.0, core: 0 };
        let frames = catalog_frames(catalog.checkpoint_seq, &catalog.checkpoint, &catalog.edits);
        write_checkpoint(disk, stream, 1, &frames).await?;
        let checkpoint_bytes = frames.blocks() * crate::disk::BLOCK_BYTES as u64;
        let end = StreamEnd { stream, file: 1, next: frames.blocks(), checkpoint_bytes };
        disk.sync_dir(MANIFEST_DIR).await?;
        if !off(Rule::SwitchFirst) {
            root.write(disk).await?;
        }
        for path in std::mem::take(&mut self.manifest_files) {
            disk.remove(&path).await?;
        }
        Ok((images, end))
    }
}

/// Keeps a record under its number.
///
/// Errors: `Corrupt` when another record that counts has the same number.
fn keep(records: &mut BTreeMap<Seq, FoundRecord>, found: FoundRecord) -> Result<()> {
    if let Some(other) = records.get(&found.record.seq) {
        let expected = format!(
            "one record {} (the other: epoch {}, {} at {})",
            found.record.seq, other.epoch, other.file, other.offset
        );
        let again = format!("a second one, of epoch {}", found.epoch);
        return Err(StorageError::corrupt(&found.file, found.offset, expected, again));
    }
    records.insert(found.record.seq, found);
    Ok(())
}

/// Removes segment files that no tablet names any more: outputs of rewrites that were cut short, files of loads that never got a number, inputs
/// of rewrites that were not yet unlinked, files of dropped tablets. A number once used for a file is not used again.
async fn remove_orphans(disk: &DiskRef, tablets: &mut HashMap<TabletId, TabletImage>) -> Result<()> {
    let mut named: HashSet<FileId> = HashSet::new();
    for image in tablets.values() {
        named.extend(image.state.files.iter().map(|f| f.file));
        for (_, part) in &image.records {
            if let PartBody::Files(files) = &part.body {
                named.extend(files.iter().map(|f| f.file));
            }
        }
    }
    for entry in disk.list(SEG_DIR).await? {
        let Some(file) = FileId::parse(&entry.name) else { continue };
        if let Some(image) = tablets.get_mut(&file.tablet) {
            image.state.next_file = image.state.next_file.max(file.number + 1);
        }
        if !named.contains(&file) {
            disk.remove(&file.path()).await?;
        }
    }
    for entry in disk.list(LOG_DIR).await?.iter().filter(|e| e.name.ends_with(".spare")) {
        disk.remove(&format!("{LOG_DIR}/{}", entry.name)).await?;
    }
    Ok(())
}
