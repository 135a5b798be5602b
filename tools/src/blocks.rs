//! A file of blocks: a segment of a log, a file of a manifest or of the catalog log.

use crate::{Report, text};
use bytes::Bytes;
use roaring::RoaringBitmap;
use starling_storage::Result;
use starling_storage::disk::DiskRef;
use starling_storage::inspect::{self, BlockFile, Item, ManifestRecord, StreamId, StreamKind, Tail};
use starling_storage::log::{CommitRecord, PartBody};
use starling_storage::manifest::{Edit, TabletState};
use starling_storage::rows;

/// Prints the records of a file, and what its end is.
pub async fn print(disk: &DiskRef, name: &str, stream: StreamId, number: u32, report: &mut Report<'_>) -> Result<()> {
    report.line(format_args!("{} {name}", title(stream, number)));
    let mut records = 0;
    let found = inspect::blocks(disk, name, stream, number, &mut |item| {
        match item {
            Item::Block { offset, header } if report.blocks => report.line(format_args!(
                "  block {}  at {offset}  {} bytes  synced below {}  W {}",
                header.number, header.used, header.synced, header.mark
            )),
            Item::Block { .. } => {}
            Item::Record { offset, bytes } => {
                records += 1;
                if let Err(error) = print_record(stream.kind, name, offset, bytes, report) {
                    report.problem(error);
                }
            }
        }
        Ok(())
    })
    .await;
    match found {
        Ok(found) => print_end(&found, stream.kind, name, records, report),
        Err(error) => report.problem(error),
    }
    Ok(())
}

/// What a file is.
pub fn title(stream: StreamId, number: u32) -> String {
    match stream.kind {
        StreamKind::Log => format!("log of core {}, epoch {}, segment {number}:", stream.core, stream.epoch),
        StreamKind::Manifest => {
            format!("manifest of core {}, generation {}, file {number}:", stream.core, stream.epoch)
        }
        StreamKind::Catalog => format!("catalog log, generation {}, file {number}:", stream.epoch),
    }
}

fn print_end(found: &BlockFile, kind: StreamKind, name: &str, records: usize, report: &mut Report<'_>) {
    report.line(format_args!("  {records} records in {} blocks, up to offset {}", found.blocks, found.end));
    if found.open_bytes > 0 {
        let next = if kind == StreamKind::Log { "; it may go on in the next segment" } else { "" };
        report.line(format_args!("  {} bytes of a record that does not end here{next}", found.open_bytes));
    }
    match &found.tail {
        Tail::End => report.line("  then the end of the file"),
        Tail::Unwritten => report.line("  then zeros: prepared, not written yet"),
        Tail::Recycled(_) => report.line("  then blocks of an earlier use of the file"),
        Tail::Torn(why) => report.line(format_args!(
            "  then a torn tail, which recovery passes over: expected {}, found {}",
            why.expected, why.found
        )),
        Tail::Damaged(why) => report.problem(format_args!(
            "damaged file {name} at offset {}: expected {}, found {}; later blocks know it synced",
            found.end, why.expected, why.found
        )),
    }
}

fn print_record(kind: StreamKind, name: &str, offset: u64, bytes: Vec<u8>, report: &mut Report<'_>) -> Result<()> {
    let len = bytes.len();
    if kind == StreamKind::Log {
        let record = CommitRecord::decode(Bytes::from(bytes)).map_err(|e| inspect::in_file(e, name, offset))?;
        report.line(format_args!("  at {offset}  commit {}  transaction {}  {len} bytes", record.seq, record.txn));
        for part in &record.parts {
            let what = body(&part.body).map_err(|e| inspect::in_file(e, name, offset))?;
            report.line(format_args!("    tablet {}  schema version {}  {what}", part.tablet, part.schema_version));
        }
        return Ok(());
    }
    match inspect::decode_manifest_record(&bytes, name, offset)? {
        ManifestRecord::Begin { mark } => report.line(format_args!("  at {offset}  checkpoint, mark {mark}")),
        ManifestRecord::Tablet { tablet, state } => {
            report.line(format_args!("  at {offset}  tablet {tablet}"));
            print_state(&state, report);
        }
        ManifestRecord::Catalog { seq, bytes } => {
            report.line(format_args!("  at {offset}  catalog at {seq}, {} bytes: {}", bytes.len(), text::words(&bytes)))
        }
        ManifestRecord::End { count } => report.line(format_args!("  at {offset}  end of checkpoint, {count} records")),
        ManifestRecord::Edit(edit) => print_edit(offset, &edit, report),
        ManifestRecord::CatalogEdit { seq, bytes } => report.line(format_args!(
            "  at {offset}  change of the catalog at {seq}, {} bytes: {}",
            bytes.len(),
            text::words(&bytes)
        )),
    }
    Ok(())
}

fn body(body: &PartBody) -> Result<String> {
    Ok(match body {
        PartBody::Rows(bytes) => {
            let (rows, deletes) = rows::count(bytes)?;
            format!("{rows} rows, {deletes} of them deletes, {} bytes", bytes.len())
        }
        PartBody::Files(files) => {
            let file = |f: &starling_storage::log::StagedFile| {
                format!("{} {} rows{}", f.file.path(), f.rows, if f.deletes { " of keys to delete" } else { "" })
            };
            format!("files {}", files.iter().map(file).collect::<Vec<_>>().join(", "))
        }
        PartBody::DeleteWhere(conjunction) => format!("delete where {}", text::predicates(conjunction)),
        PartBody::Ddl(bytes) => format!("change of the catalog, {} bytes: {}", bytes.len(), text::words(bytes)),
    })
}

fn print_edit(offset: u64, edit: &Edit, report: &mut Report<'_>) {
    let dropped = if edit.dropped { "  dropped" } else { "" };
    report.line(format_args!("  at {offset}  edit of tablet {}  F {}{dropped}", edit.tablet, edit.flushed));
    for file in &edit.added {
        report.line(format_args!(
            "    + {}  {} rows  {} bytes  commits {} to {}",
            file.file.path(),
            file.rows,
            file.bytes,
            file.min_seq,
            file.max_seq
        ));
    }
    edit.removed.iter().for_each(|file| report.line(format_args!("    - {}", file.path())));
    for (file, rows) in &edit.deletes {
        print_dead(&file.path(), rows, report);
    }
    for (seq, conjunction) in &edit.predicates {
        report.line(format_args!("    delete at {seq} where {}", text::predicates(conjunction)));
    }
    if edit.predicates_folded.0 > 0 {
        report.line(format_args!("    deletes up to {} are folded in", edit.predicates_folded));
    }
}

/// Prints a tablet as its manifest has it.
pub fn print_state(state: &TabletState, report: &mut Report<'_>) {
    report.line(format_args!("    F {}  {} files  next file {}", state.flushed, state.files.len(), state.next_file));
    for file in &state.files {
        report.line(format_args!(
            "    {}  {} rows  {} bytes  commits {} to {}",
            file.file.path(),
            file.rows,
            file.bytes,
            file.min_seq,
            file.max_seq
        ));
        if let Some(rows) = state.deletes.get(&file.file) {
            print_dead(&file.file.path(), rows, report);
        }
    }
    for (seq, conjunction) in &state.predicates {
        report.line(format_args!("    delete at {seq} where {}", text::predicates(conjunction)));
    }
}

fn print_dead(path: &str, rows: &[u8], report: &mut Report<'_>) {
    match RoaringBitmap::deserialize_from(rows) {
        Ok(rows) => report.line(format_args!("    x {path}  {} dead rows", rows.len())),
        Err(error) => report.problem(format_args!("dead rows of {path}: expected a roaring bitmap, found {error}")),
    }
}
