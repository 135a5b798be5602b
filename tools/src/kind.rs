//! What a file is: by its name where that is one of a data directory's, else by its first or last bytes.

use starling_storage::disk::DiskRef;
use starling_storage::ids::{FileId, TabletId};
use starling_storage::inspect::{self, StreamId, StreamKind};
use starling_storage::root::{ROOT_PATH, Root, SLOT_BYTES};
use starling_storage::{Result, StorageError};

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The root record.
    Root,
    /// A segment file; the id is made up when the name does not tell it.
    Segment(FileId),
    /// A file of a log, a manifest or the catalog log.
    Blocks(StreamId, u32),
}

/// Errors: `NotFound`, `Corrupt` when neither name nor bytes tell.
pub async fn of(disk: &DiskRef, name: &str) -> Result<Kind> {
    if let Some(id) = FileId::parse(name) {
        return Ok(Kind::Segment(id));
    }
    if let Some((epoch, core, index)) = inspect::parse_segment_name(name) {
        return Ok(Kind::Blocks(StreamId { kind: StreamKind::Log, epoch: epoch.0, core: core.0 }, index));
    }
    if let Some((stream, number)) = inspect::parse_stream_name(name) {
        return Ok(Kind::Blocks(stream, number));
    }
    if name == ROOT_PATH {
        return Ok(Kind::Root);
    }
    by_content(disk, name).await
}

async fn by_content(disk: &DiskRef, name: &str) -> Result<Kind> {
    let file = disk.open(name).await?;
    let len = file.len();
    if len >= 64 && &file.read_at(len - 64, 8).await?[..] == b"STARLSEG" {
        return Ok(Kind::Segment(FileId { tablet: TabletId(0), number: 0 }));
    }
    if let Some((stream, number)) = inspect::identify(disk, name).await? {
        return Ok(Kind::Blocks(stream, number));
    }
    for slot in (0..2).map(|slot| slot * SLOT_BYTES as u64).filter(|slot| slot + SLOT_BYTES as u64 <= len) {
        if Root::parse(file.read_at(slot, SLOT_BYTES).await?, slot).is_ok() {
            return Ok(Kind::Root);
        }
    }
    let found = match len {
        0 => "an empty file".to_string(),
        _ => format!("{len} bytes that begin with {}", file.read_at(0, len.min(8) as usize).await?.escape_ascii()),
    };
    Err(StorageError::corrupt(name, 0, "a segment, log, manifest, catalog log or root record", found))
}
