//! Writing a segment: rows are copied into one column buffer each, and encoded and written chunk by chunk, so memory is
//! bounded by a chunk whatever the segment's size. Work is done vector by vector with other tasks in between.

use super::footer::{ColumnFooter, Footer, PagePointer, Pointer, SHORT_KEY_BYTES, TRAILER_BYTES, Trailer};
use super::zone::Zone;
use super::{SegmentColumn, SegmentMeta};
use crate::disk::{BLOCK_BYTES, DiskRef, FileRef};
use crate::encoding::{CHUNK_ROWS, ColumnInput, Pace, VECTOR_ROWS, encode_column};
use crate::error::{Result, StorageError};
use crate::key::KeyEncoder;
use crate::schema::TabletSchema;
use arrow::array::RecordBatch;

/// Every page starts at a multiple of this.
const PAGE_ALIGN: usize = 64;
/// Blocks are written when so many bytes are ready.
const WRITE_BYTES: usize = 1 << 20;

/// How a segment is written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// A page of many different values is cut at about so many bytes: what a point read of one row costs.
    pub page_bytes: usize,
    /// A chunk ends early, at a vector, when its rows take so many bytes.
    pub chunk_bytes: usize,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions { page_bytes: 64 << 10, chunk_bytes: 32 << 20 }
    }
}

/// Writes one segment file. Dropping it without [`SegmentWriter::finish`] leaves a file that is not a segment, for the
/// caller to remove.
pub struct SegmentWriter {
    output: Output,
    pace: Pace,
    options: WriteOptions,
    schema_version: u32,
    columns: Vec<ColumnWriter>,
    sort_columns: Vec<u32>,
    keys: KeyEncoder,
    /// Rows of chunks before the current one.
    flushed_rows: u32,
    /// Rows of the current chunk.
    chunk_rows: usize,
    short_keys: Vec<u8>,
    /// Key of the first row.
    min_key: Vec<u8>,
    /// Key of the last row of the last batch.
    max_key: Vec<u8>,
}

struct ColumnWriter {
    column: SegmentColumn,
    input: ColumnInput,
    zone: Zone,
    zones: Vec<u8>,
    pages: Vec<PagePointer>,
}

impl SegmentWriter {
    /// Creates the file. The caller syncs its directory after [`SegmentWriter::finish`].
    pub async fn create(
        disk: &DiskRef,
        path: &str,
        schema: &TabletSchema,
        options: WriteOptions,
    ) -> Result<SegmentWriter> {
        let column = |column: &crate::schema::Column| ColumnWriter {
            column: SegmentColumn {
                id: column.id,
                name: column.name.clone(),
                ty: column.ty,
                nullable: column.nullable,
            },
            input: ColumnInput::new(column.ty),
            zone: Zone::empty(),
            zones: Vec::new(),
            pages: Vec::new(),
        };
        Ok(SegmentWriter {
            output: Output { file: disk.create(path).await?, base: 0, bytes: Vec::new() },
            pace: Pace::new(disk.clone()),
            options,
            schema_version: schema.version,
            columns: schema.columns.iter().map(column).collect(),
            sort_columns: schema.sort_columns.clone(),
            keys: KeyEncoder::new(schema.sort_positions()),
            flushed_rows: 0,
            chunk_rows: 0,
            short_keys: Vec::new(),
            min_key: Vec::new(),
            max_key: Vec::new(),
        })
    }

    /// Rows appended so far.
    pub fn rows(&self) -> u32 {
        self.flushed_rows + self.chunk_rows as u32
    }

    /// Bytes of the file so far, without the chunk in memory.
    pub fn bytes_written(&self) -> u64 {
        self.output.at()
    }

    /// Appends rows, full ones, in sort order within the batch and after those before.
    ///
    /// Errors: `Invalid` for another schema or an order that is plainly wrong; `Limit` beyond 2^32 - 1 rows; those of the disk.
    pub async fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        self.check(batch)?;
        let (mut from, rows) = (0, batch.num_rows());
        while from < rows {
            let in_vector = self.chunk_rows % VECTOR_ROWS;
            if in_vector == 0 {
                self.begin_vector(batch, from)?;
            }
            let len = (rows - from).min(VECTOR_ROWS - in_vector);
            for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
                column.input.append(array, from, len)?;
            }
            self.chunk_rows += len;
            from += len;
            if self.chunk_rows.is_multiple_of(VECTOR_ROWS) && self.chunk_is_full() {
                self.flush_chunk().await?;
            }
            self.pace.slice().await;
        }
        if rows > 0 {
            self.max_key.clear();
            self.keys.encode(batch, rows - 1, &mut self.max_key)?;
        }
        Ok(())
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() != self.columns.len() {
            let detail = format!("{} columns for a segment of {}", batch.num_columns(), self.columns.len());
            return Err(StorageError::Invalid(detail));
        }
        for (column, array) in self.columns.iter().zip(batch.columns()) {
            if !column.column.nullable && array.null_count() > 0 {
                return Err(StorageError::Invalid(format!("NULL in column {}", column.column.name)));
            }
        }
        if u32::try_from(self.rows() as usize + batch.num_rows()).is_err() {
            let detail = format!("{} rows and {} more", self.rows(), batch.num_rows());
            return Err(StorageError::Limit { limit: "rows of a segment", detail });
        }
        Ok(())
    }

    fn chunk_is_full(&self) -> bool {
        let bytes: usize = self.columns.iter().map(|column| column.input.bytes()).sum();
        self.chunk_rows == CHUNK_ROWS || bytes >= self.options.chunk_bytes
    }

    /// The short key of a vector, whose first row is `row` of the batch.
    fn begin_vector(&mut self, batch: &RecordBatch, row: usize) -> Result<()> {
        let mut key = Vec::new();
        self.keys.encode(batch, row, &mut key)?;
        if self.rows() == 0 {
            self.min_key.clone_from(&key);
        } else if row == 0 && key < self.max_key {
            return Err(StorageError::Invalid("rows of a segment are not in sort order".to_string()));
        }
        key.truncate(SHORT_KEY_BYTES);
        self.short_keys.push(key.len() as u8);
        key.resize(SHORT_KEY_BYTES, 0);
        self.short_keys.extend(key);
        Ok(())
    }

    async fn flush_chunk(&mut self) -> Result<()> {
        for column in &mut self.columns {
            for start in (0..self.chunk_rows).step_by(VECTOR_ROWS) {
                let zone = Zone::of(&column.input, start..self.chunk_rows.min(start + VECTOR_ROWS));
                zone.put(column.column.ty, &mut column.zones);
                column.zone.merge(&zone);
                self.pace.slice().await;
            }
            for page in encode_column(&column.input, self.options.page_bytes, &self.pace).await? {
                let first_row = self.flushed_rows + page.rows.start as u32;
                let at = self.output.put_page(&page.bytes)?;
                column.pages.push(PagePointer { at, first_row, rows: page.rows.len() as u32 });
                self.output.write_if_due().await?;
                self.pace.slice().await;
            }
            column.input.clear();
        }
        self.flushed_rows += self.chunk_rows as u32;
        self.chunk_rows = 0;
        Ok(())
    }

    /// Writes what is left, footer and trailer, and syncs the file. On an error the file is not a segment.
    pub async fn finish(mut self) -> Result<SegmentMeta> {
        self.flush_chunk().await?;
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let zones = self.output.put_page(&column.zones)?;
            let (zone, pages) = (column.zone.clone(), std::mem::take(&mut column.pages));
            columns.push(ColumnFooter { zone, zones, pages });
            self.output.write_if_due().await?;
        }
        let short_keys = self.output.put_page(&self.short_keys)?;
        let meta = SegmentMeta {
            rows: self.flushed_rows,
            bytes: 0,
            schema_version: self.schema_version,
            columns: self.columns.into_iter().map(|column| column.column).collect(),
            sort_columns: self.sort_columns,
            min_key: self.min_key,
            max_key: self.max_key,
        };
        let footer = Footer { meta, columns, short_keys };
        let at = self.output.put_page(&footer.bytes())?;
        let bytes = self.output.finish(at).await?;
        Ok(SegmentMeta { bytes, ..footer.meta })
    }
}

/// The end of the file that is not written yet.
struct Output {
    file: FileRef,
    /// Offset of `bytes`, a multiple of a block.
    base: u64,
    bytes: Vec<u8>,
}

impl Output {
    fn at(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Places a page so that reading it touches no more blocks than it must: within a block when it fits into what is left of
    /// it, else from the next block on.
    fn put_page(&mut self, page: &[u8]) -> Result<Pointer> {
        let Ok(len) = u32::try_from(page.len()) else {
            let detail = format!("{} bytes", page.len());
            return Err(StorageError::Limit { limit: "bytes of a page", detail });
        };
        let start = self.bytes.len().next_multiple_of(PAGE_ALIGN);
        let fits = start % BLOCK_BYTES + page.len() <= BLOCK_BYTES;
        self.bytes.resize(if fits { start } else { start.next_multiple_of(BLOCK_BYTES) }, 0);
        let pointer = Pointer { offset: self.at(), len, crc: crc32c::crc32c(page) };
        self.bytes.extend_from_slice(page);
        Ok(pointer)
    }

    /// Writes the whole blocks when there are many.
    async fn write_if_due(&mut self) -> Result<()> {
        if self.bytes.len() < WRITE_BYTES {
            return Ok(());
        }
        let len = self.bytes.len() / BLOCK_BYTES * BLOCK_BYTES;
        self.file.write_at(self.base, &self.bytes[..len]).await?;
        self.bytes.drain(..len);
        self.base += len as u64;
        Ok(())
    }

    /// Puts the trailer at the end of the last block, writes all and syncs. The length of the file.
    async fn finish(mut self, footer: Pointer) -> Result<u64> {
        let len = (self.bytes.len() + TRAILER_BYTES).next_multiple_of(BLOCK_BYTES);
        let file_bytes = self.base + len as u64;
        self.bytes.resize(len - TRAILER_BYTES, 0);
        self.bytes.extend(Trailer { footer, file_bytes }.bytes());
        self.file.write_at(self.base, &self.bytes).await?;
        self.file.sync().await?;
        self.file.close().await?;
        Ok(file_bytes)
    }
}
