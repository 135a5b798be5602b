//! Reads manifests and the catalog log back at a start.

use super::codec::{Decoded, decode};
use super::stream::{MANIFEST_DIR, parse_stream_name, stream_path};
use super::{CatalogImage, TabletState};
use crate::disk::DiskRef;
use crate::error::{Result, StorageError};
use crate::ids::{Seq, TabletId};
use crate::log::block::{StreamId, StreamKind};
use crate::log::scan::{SegmentFile, scan};
use crate::rules::{Rule, off};
use std::collections::BTreeMap;

/// What one manifest tells.
#[derive(Debug, Default)]
pub struct LoadedManifest {
    /// The greatest F ever written there.
    pub mark: Seq,
    /// The tablets at their F.
    pub tablets: BTreeMap<TabletId, TabletState>,
}

/// All files of the manifest directory, by stream, ascending by number.
pub async fn list(disk: &DiskRef) -> Result<Vec<(StreamId, Vec<u32>)>> {
    let mut streams: Vec<(StreamId, Vec<u32>)> = Vec::new();
    for entry in disk.list(MANIFEST_DIR).await? {
        let Some((stream, file)) = parse_stream_name(&entry.name) else { continue };
        match streams.iter_mut().find(|(s, _)| *s == stream) {
            Some((_, files)) => files.push(file),
            None => streams.push((stream, vec![file])),
        }
    }
    streams.iter_mut().for_each(|(_, files)| files.sort_unstable());
    Ok(streams)
}

/// Reads the manifest of a core from its newest file with a whole checkpoint.
pub async fn load_manifest(disk: &DiskRef, stream: StreamId, files: &[u32], resync: bool) -> Result<LoadedManifest> {
    let mut loaded = LoadedManifest::default();
    for record in load(disk, stream, files, resync).await? {
        match record.decoded {
            Decoded::Begin { mark } => loaded = LoadedManifest { mark, tablets: BTreeMap::new() },
            Decoded::Tablet { tablet, state } => {
                loaded.mark = loaded.mark.max(state.flushed);
                loaded.tablets.insert(tablet, state);
            }
            Decoded::Edit(edit) if edit.dropped => {
                loaded.mark = loaded.mark.max(edit.flushed);
                loaded.tablets.remove(&edit.tablet);
            }
            Decoded::Edit(edit) => {
                loaded.mark = loaded.mark.max(edit.flushed);
                let state = loaded.tablets.entry(edit.tablet).or_default();
                state.apply(&edit).map_err(|e| record_damage(&record.file, record.offset, e))?;
            }
            Decoded::End { .. } => {}
            Decoded::Catalog { .. } | Decoded::CatalogEdit { .. } => {
                return Err(StorageError::corrupt(
                    &record.file,
                    record.offset,
                    "a tablet's record",
                    "a catalog's record",
                ));
            }
        }
    }
    Ok(loaded)
}

fn record_damage(file: &str, offset: u64, e: StorageError) -> StorageError {
    match e {
        StorageError::Corrupt { expected, found, .. } => StorageError::corrupt(file, offset, expected, found),
        e => e,
    }
}

/// Reads the catalog log.
pub async fn load_catalog(disk: &DiskRef, stream: StreamId, files: &[u32], resync: bool) -> Result<CatalogImage> {
    let mut image = CatalogImage::default();
    for record in load(disk, stream, files, resync).await? {
        match record.decoded {
            Decoded::Catalog { seq, bytes } => {
                image =
                    CatalogImage { flushed: seq, checkpoint_seq: seq, checkpoint: bytes, ..CatalogImage::default() };
            }
            Decoded::CatalogEdit { seq, bytes } if seq > image.flushed => {
                image.flushed = seq;
                image.edits.push((seq, bytes));
            }
            // An edit that waited while a checkpoint at a later number was written.
            Decoded::CatalogEdit { .. } | Decoded::Begin { .. } | Decoded::End { .. } => {}
            Decoded::Tablet { .. } | Decoded::Edit(_) => {
                return Err(StorageError::corrupt(
                    &record.file,
                    record.offset,
                    "a catalog's record",
                    "a tablet's record",
                ));
            }
        }
    }
    Ok(image)
}

struct Loaded {
    decoded: Decoded,
    file: String,
    offset: u64,
}

/// The records of the newest file whose checkpoint is whole. A newer one without was being written when the process stopped.
async fn load(disk: &DiskRef, stream: StreamId, files: &[u32], resync: bool) -> Result<Vec<Loaded>> {
    for &file in files.iter().rev() {
        let segment = SegmentFile { index: file, path: stream_path(stream, file) };
        let mut records = Vec::new();
        scan(disk, stream, &[segment], resync && !off(Rule::NoResyncEdit), &mut |record| {
            let decoded = decode(&record.bytes, &record.file, record.offset)?;
            records.push(Loaded { decoded, file: record.file, offset: record.offset });
            Ok(())
        })
        .await?;
        let end = records.iter().position(|r| matches!(r.decoded, Decoded::End { .. }));
        if let Some(end) = end {
            let Decoded::End { count } = records[end].decoded else { continue };
            if count + 1 != end as u64 {
                let (file, offset) = (&records[end].file, records[end].offset);
                return Err(StorageError::corrupt(file, offset, format!("{count} records in the checkpoint"), end - 1));
            }
            return Ok(records);
        }
    }
    let what = if stream.kind == StreamKind::Catalog {
        "the catalog log".to_string()
    } else {
        format!("the manifest of core {}", stream.core)
    };
    let file = stream_path(stream, files.last().copied().unwrap_or(1));
    Err(StorageError::corrupt(&file, 0, format!("a whole checkpoint of {what}"), "none"))
}
