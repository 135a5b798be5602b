//! A segment file: footer, columns, pages with their encodings, zone maps, rows.

use crate::{Report, text};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use starling_storage::cache::PageCache;
use starling_storage::disk::DiskRef;
use starling_storage::encoding::CHUNK_ROWS;
use starling_storage::ids::FileId;
use starling_storage::segment::Segment;
use starling_storage::{Result, StorageError};

/// The cache of an inspection: every page is looked at once or twice.
const CACHE_BYTES: usize = 16 << 20;

/// Prints a segment. Damage of the footer ends it; damage of a page is printed and the rest goes on.
pub async fn print(disk: &DiskRef, name: &str, id: FileId, report: &mut Report<'_>) -> Result<()> {
    let segment = match Segment::open(disk, &PageCache::new(CACHE_BYTES), name, id).await {
        Ok(segment) => segment,
        Err(error @ StorageError::Corrupt { .. }) => {
            report.problem(error);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let meta = segment.meta();
    report.line(format_args!(
        "segment {name}: tablet {}, file {}; {} rows, {} bytes, schema version {}",
        id.tablet, id.number, meta.rows, meta.bytes, meta.schema_version
    ));
    let sort: Vec<&str> =
        meta.sort_columns.iter().filter_map(|&c| Some(meta.columns.get(c as usize)?.name.as_str())).collect();
    report.line(format_args!("  sort key ({})", sort.join(", ")));
    report.line(format_args!("  first key {}", text::bytes(&meta.min_key)));
    report.line(format_args!("  last key  {}", text::bytes(&meta.max_key)));
    for column in 0..meta.columns.len() {
        print_column(&segment, column, report).await?;
    }
    print_rows(&segment, report).await
}

async fn print_column(segment: &Segment, column: usize, report: &mut Report<'_>) -> Result<()> {
    let what = &segment.meta().columns[column];
    let null = if what.nullable { "" } else { " NOT NULL" };
    report.line(format_args!(
        "  column {column}  {} {}{null}  (id {})",
        what.name,
        text::column_type(what.ty),
        what.id
    ));
    if let Some(zone) = segment.zone(column) {
        report.line(format_args!("    segment: {}", text::zone(zone, what.ty)));
    }
    match segment.pages(column).await {
        Ok(pages) => {
            for page in pages {
                report.line(format_args!(
                    "    page at {}  rows {}..{}  {} bytes  {:?}  {} NULL",
                    page.offset, page.rows.start, page.rows.end, page.bytes, page.encoding, page.nulls
                ));
            }
        }
        Err(error) => report.problem(error),
    }
    if report.zones {
        match segment.vector_zones(column).await {
            Ok(zones) => {
                for (vector, zone) in zones.iter().enumerate() {
                    report.line(format_args!("    vector {vector}: {}", text::zone(zone, what.ty)));
                }
            }
            Err(error) => report.problem(error),
        }
    }
    Ok(())
}

async fn print_rows(segment: &Segment, report: &mut Report<'_>) -> Result<()> {
    let columns: Vec<usize> = (0..segment.meta().columns.len()).collect();
    let (mut start, end) = (0, report.rows.min(segment.rows()));
    while start < end {
        let len = (end - start).min(CHUNK_ROWS as u32);
        let batch = match segment.read(&columns, start, len).await {
            Ok(batch) => batch,
            Err(error) => {
                report.problem(error);
                return Ok(());
            }
        };
        let options = FormatOptions::default().with_null("NULL");
        let mut formatters = Vec::with_capacity(columns.len());
        for array in batch.columns() {
            formatters.push(ArrayFormatter::try_new(array.as_ref(), &options)?);
        }
        for row in 0..batch.num_rows() {
            let values: Vec<String> = formatters.iter().map(|f| f.value(row).to_string()).collect();
            report.line(format_args!("  row {}  {}", start as usize + row, values.join(" | ")));
        }
        start += len;
    }
    Ok(())
}
