//! A whole data directory: the root, the live generation of manifests, the catalog log, the logs, the segment files and who names them.

use crate::{Report, blocks, root, text};
use bytes::Bytes;
use starling_storage::disk::{DirEntry, DiskRef};
use starling_storage::ids::{FileId, Seq, TabletId};
use starling_storage::inspect::{self, LoadedManifest, StreamId, StreamKind};
use starling_storage::log::{CommitRecord, PartBody};
use starling_storage::manifest::CatalogImage;
use starling_storage::root::{ROOT_PATH, Root};
use starling_storage::{Result, StorageError};
use std::collections::{BTreeMap, HashSet};

/// The directory of segment files.
const SEG_DIR: &str = "seg";

/// Prints the summary. Errors: `Corrupt` when the directory is none of Starling's.
pub async fn print(disk: &DiskRef, report: &mut Report<'_>) -> Result<()> {
    let names = disk.list("").await?;
    let ours = |e: &DirEntry| e.name == ROOT_PATH || e.name == inspect::LOG_DIR || e.name == inspect::MANIFEST_DIR;
    if !names.iter().any(ours) {
        let found = format!("{} other names", names.len());
        return Err(StorageError::corrupt(".", 0, "a data directory with root, log and manifest", found));
    }
    let root = match Root::read(disk).await {
        Ok(root) => root,
        Err(error) => {
            report.problem(error);
            None
        }
    };
    match &root {
        Some(root) => {
            report.line("root record");
            root::print_root(root, report);
        }
        None => report.line("no root record: nothing was ever started here"),
    }
    let mut named = Named::default();
    print_manifests(disk, root.as_ref(), &mut named, report).await?;
    print_logs(disk, root.as_ref(), &mut named, report).await?;
    print_segments(disk, &named, report).await
}

/// Segment files that something names.
#[derive(Default)]
struct Named {
    /// They are part of a tablet.
    by_manifests: HashSet<FileId>,
    /// A commit brought them; a later edit may have replaced them.
    by_logs: HashSet<FileId>,
}

/// A missing directory is an empty one.
async fn entries(disk: &DiskRef, dir: &str) -> Result<Vec<DirEntry>> {
    match disk.list(dir).await {
        Err(StorageError::NotFound(_)) => Ok(Vec::new()),
        entries => entries,
    }
}

async fn print_manifests(
    disk: &DiskRef,
    root: Option<&Root>,
    named: &mut Named,
    report: &mut Report<'_>,
) -> Result<()> {
    if entries(disk, inspect::MANIFEST_DIR).await?.is_empty() {
        return Ok(());
    }
    for (stream, files) in inspect::manifest_streams(disk).await? {
        let live = root.is_some_and(|r| r.generation.0 == stream.epoch && stream.core < r.cores.max(1));
        let state = if live { "" } else { " (not of the live generation)" };
        let last = files.last().copied().unwrap_or(0);
        report.line(format_args!("{} {}{state}", blocks::title(stream, last), inspect::stream_path(stream, last)));
        if stream.kind == StreamKind::Catalog {
            match inspect::load_catalog(disk, stream, &files, false).await {
                Ok(image) => print_catalog(&image, report),
                Err(error) => report.problem(error),
            }
            continue;
        }
        match inspect::load_manifest(disk, stream, &files, false).await {
            Ok(manifest) => print_manifest(&manifest, live, named, report),
            Err(error) => report.problem(error),
        }
    }
    Ok(())
}

fn print_catalog(image: &CatalogImage, report: &mut Report<'_>) {
    report.line(format_args!(
        "  checkpoint at {}, {} bytes; {} changes since; F {}",
        image.checkpoint_seq,
        image.checkpoint.len(),
        image.edits.len(),
        image.flushed
    ));
    if !image.checkpoint.is_empty() {
        report.line(format_args!("    at {}: {}", image.checkpoint_seq, text::words(&image.checkpoint)));
    }
    for (seq, edit) in &image.edits {
        report.line(format_args!("    change at {seq}: {}", text::words(edit)));
    }
}

fn print_manifest(manifest: &LoadedManifest, live: bool, named: &mut Named, report: &mut Report<'_>) {
    report.line(format_args!("  mark {}; {} tablets", manifest.mark, manifest.tablets.len()));
    let empty = manifest.tablets.values().filter(|s| s.files.is_empty() && s.predicates.is_empty()).count();
    if empty > 0 {
        report.line(format_args!("  {empty} tablets without files"));
    }
    for (tablet, state) in manifest.tablets.iter().filter(|(_, s)| !s.files.is_empty() || !s.predicates.is_empty()) {
        let rows: u64 = state.files.iter().map(|f| u64::from(f.rows)).sum();
        let bytes: u64 = state.files.iter().map(|f| f.bytes).sum();
        report.line(format_args!(
            "  tablet {tablet}  F {}  {} files  {rows} rows, dead ones included  {bytes} bytes  {} kept deletes",
            state.flushed,
            state.files.len(),
            state.predicates.len()
        ));
        if live {
            named.by_manifests.extend(state.files.iter().map(|f| f.file));
        }
    }
}

/// What the records of a log come to.
#[derive(Default)]
struct LogTotals {
    records: u64,
    beyond: u64,
    first: Option<Seq>,
    last: Seq,
    bytes: u64,
    tablets: BTreeMap<TabletId, Seq>,
    files: Vec<FileId>,
}

async fn print_logs(disk: &DiskRef, root: Option<&Root>, named: &mut Named, report: &mut Report<'_>) -> Result<()> {
    let names = entries(disk, inspect::LOG_DIR).await?;
    if names.is_empty() {
        return Ok(());
    }
    for (stream, segments) in inspect::log_segments(disk).await? {
        let StreamId { epoch, core, .. } = stream;
        report.line(format_args!("log of core {core}, epoch {epoch}: {} segments", segments.len()));
        let bound = root.map_or(Seq::MAX, |r| r.bound(starling_storage::ids::Epoch(epoch)));
        let mut totals = LogTotals::default();
        let scan = inspect::scan(disk, stream, &segments, false, &mut |found| {
            totals.bytes += found.bytes.len() as u64;
            let record = CommitRecord::decode(Bytes::from(found.bytes))
                .map_err(|e| inspect::in_file(e, &found.file, found.offset))?;
            totals.take(&record, bound);
            Ok(())
        })
        .await;
        totals.print(report);
        match scan {
            Ok(scan) => report.line(format_args!("  W {}; next block {}", scan.mark, scan.next)),
            Err(error) => report.problem(error),
        }
        named.by_logs.extend(totals.files);
    }
    let spares = names.iter().filter(|e| e.name.ends_with(".spare")).count();
    if spares > 0 {
        report.line(format_args!("{spares} recycled log segments"));
    }
    Ok(())
}

impl LogTotals {
    fn take(&mut self, record: &CommitRecord, bound: Seq) {
        if record.seq > bound {
            self.beyond += 1;
            return;
        }
        self.records += 1;
        self.first.get_or_insert(record.seq);
        self.last = self.last.max(record.seq);
        for part in &record.parts {
            self.tablets.insert(part.tablet, record.seq);
            if let PartBody::Files(files) = &part.body {
                self.files.extend(files.iter().map(|f| f.file));
            }
        }
    }

    fn print(&self, report: &mut Report<'_>) {
        let Self { records, bytes, last, beyond, .. } = self;
        match self.first {
            Some(first) => report.line(format_args!(
                "  {records} commits, {first} to {last}, of {} tablets; {bytes} bytes",
                self.tablets.len()
            )),
            None => report.line("  no commits"),
        }
        if *beyond > 0 {
            report.line(format_args!("  {beyond} records above the cut of a later start: they do not count"));
        }
    }
}

async fn print_segments(disk: &DiskRef, named: &Named, report: &mut Report<'_>) -> Result<()> {
    let files = entries(disk, SEG_DIR).await?;
    let bytes: u64 = files.iter().map(|f| f.bytes).sum();
    let found: HashSet<FileId> = files.iter().filter_map(|f| FileId::parse(&f.name)).collect();
    report.line(format_args!("{} segment files, {bytes} bytes", found.len()));
    let orphans = found.iter().filter(|&f| !named.by_manifests.contains(f) && !named.by_logs.contains(f)).count();
    if orphans > 0 {
        report.line(format_args!("  {orphans} that no manifest and no log names: the next start removes them"));
    }
    let mut missing: Vec<_> = named.by_manifests.difference(&found).collect();
    missing.sort();
    for file in missing {
        report.problem(format_args!("{}: expected the file that a manifest names, found none", file.path()));
    }
    Ok(())
}
