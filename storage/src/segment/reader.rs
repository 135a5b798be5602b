//! An open segment. Immutable, shared by `Rc` on the core that opened it; every read goes through that core's page cache.

use super::footer::{Footer, PagePointer, TRAILER_BYTES, Trailer};
use super::load::PageLoader;
use super::{SegmentColumn, SegmentMeta, Zone};
use crate::cache::PageCache;
use crate::disk::DiskRef;
use crate::encoding::{CHUNK_ROWS, ColumnOutput, Damage, EncodedColumn, Encoding, PageReader, Physical, VECTOR_ROWS};
use crate::error::{Result, StorageError};
use crate::ids::FileId;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, FieldRef, Schema};
use bytes::Bytes;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// What `open` reads first: trailer and, nearly always, the whole footer.
const OPEN_BYTES: u64 = 64 << 10;
/// Rows decoded before others may run.
const SLICE_ROWS: usize = 16 * VECTOR_ROWS;

/// A page of a segment, for dumps and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageInfo {
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u32,
    /// Rows of the segment that it holds.
    pub rows: Range<u32>,
    /// How many of them are NULL.
    pub nulls: u32,
    /// How its values are encoded.
    pub encoding: Encoding,
}

/// An open segment file.
pub struct Segment {
    pub(super) footer: Footer,
    /// Its columns.
    fields: Vec<FieldRef>,
    pub(super) loader: PageLoader,
}

impl Segment {
    /// Opens a file and checks its footer; pages are checked when they are read.
    ///
    /// Errors: `NotFound`, `Corrupt`, those of the disk.
    pub async fn open(disk: &DiskRef, cache: &Rc<PageCache>, path: &str, id: FileId) -> Result<Rc<Segment>> {
        let file = disk.open(path).await?;
        let len = file.len();
        if len < TRAILER_BYTES as u64 {
            return Err(StorageError::corrupt(path, 0, format!("at least {TRAILER_BYTES} bytes"), len));
        }
        let start = len.saturating_sub(OPEN_BYTES);
        let tail = file.read_at(start, (len - start) as usize).await?;
        let trailer = Trailer::parse(path, len, tail.get(tail.len() - TRAILER_BYTES..).unwrap_or_default())?;
        let place = trailer.footer;
        let footer = match place.offset.checked_sub(start).map(|at| at as usize) {
            Some(at) => tail.slice(at..at + place.len as usize),
            None => file.read_at(place.offset, place.len as usize).await?,
        };
        let footer = Footer::parse(path, &trailer, &footer)?;
        let loader = PageLoader { disk: disk.clone(), file, cache: cache.clone(), id };
        let field =
            |column: &SegmentColumn| Arc::new(Field::new(&column.name, column.ty.arrow(), column.nullable)) as FieldRef;
        let fields = footer.meta.columns.iter().map(field).collect();
        Ok(Rc::new(Segment { footer, fields, loader }))
    }

    /// Rows, deleted ones included.
    pub fn rows(&self) -> u32 {
        self.footer.meta.rows
    }

    /// What the segment is.
    pub fn meta(&self) -> &SegmentMeta {
        &self.footer.meta
    }

    /// The id it was opened under.
    pub fn id(&self) -> FileId {
        self.loader.id
    }

    /// Zone of a column over the whole segment; `None` for a column that is not there.
    pub fn zone(&self, column: usize) -> Option<&Zone> {
        Some(&self.footer.columns.get(column)?.zone)
    }

    /// Decodes columns of rows `[start, start + len)` as Arrow arrays: `start` is a multiple of 1024, `len` at most 64 Ki.
    ///
    /// Errors: `Invalid` for other rows or columns, `Corrupt`, `Limit` for more than 2 GiB of strings, those of the disk.
    pub async fn read(&self, columns: &[usize], start: u32, len: u32) -> Result<RecordBatch> {
        let rows = self.check_range(columns, start, len)?;
        let mut pages = self.load(columns, &rows).await?.into_iter();
        let mut arrays = Vec::with_capacity(columns.len());
        for &column in columns {
            let mut output = ColumnOutput::new(self.column(column).ty, len as usize);
            for page in self.pages_of(column, &rows) {
                let bytes = pages.next().unwrap_or_default();
                self.decode(column, page, &bytes, &rows, &mut output).await?;
            }
            arrays.push(self.finish(column, start, output)?);
            self.loader.disk.yield_now().await;
        }
        self.batch(columns, arrays, len as usize)
    }

    /// The given rows, ascending; only these values are decoded where the encoding allows it.
    ///
    /// Errors: as [`Segment::read`].
    pub async fn take(&self, columns: &[usize], rows: &[u32]) -> Result<RecordBatch> {
        self.check_columns(columns)?;
        if !rows.is_sorted() || rows.last().is_some_and(|&row| row >= self.rows()) {
            return Err(StorageError::Invalid(format!("rows to take ascend and are below {}", self.rows())));
        }
        let output = |&column: &usize| ColumnOutput::new(self.column(column).ty, rows.len());
        let mut outputs: Vec<ColumnOutput> = columns.iter().map(output).collect();
        let mut left = rows;
        while let Some(&first) = left.first() {
            // One chunk at a time: the pages of its rows are held together.
            let chunk = u64::from(first) / CHUNK_ROWS as u64;
            let count = left.partition_point(|&row| u64::from(row) / CHUNK_ROWS as u64 <= chunk);
            self.take_of_chunk(columns, &left[..count], &mut outputs).await?;
            left = &left[count..];
        }
        let finish = |(&column, output)| self.finish(column, 0, output);
        let arrays = columns.iter().zip(outputs).map(finish).collect::<Result<Vec<_>>>()?;
        self.batch(columns, arrays, rows.len())
    }

    async fn take_of_chunk(&self, columns: &[usize], rows: &[u32], outputs: &mut [ColumnOutput]) -> Result<()> {
        let (mut parts, mut wanted) = (Vec::new(), Vec::new());
        for (place, &column) in columns.iter().enumerate() {
            let mut at = 0;
            while at < rows.len() {
                let page = self.page_at(column, rows[at]);
                let end = u64::from(page.first_row) + u64::from(page.rows);
                let count = rows[at..].partition_point(|&row| u64::from(row) < end).max(1);
                parts.push((place, column, page, at..at + count));
                wanted.push(page.at);
                at += count;
            }
        }
        let pages = self.loader.load(&wanted).await?;
        for ((place, column, page, part), bytes) in parts.into_iter().zip(pages) {
            let reader = self.open_page(column, &page, &bytes)?;
            let taken = reader.take(&rows[part], page.first_row, &mut outputs[place]);
            taken.map_err(|damage| self.corrupt(page.at.offset, damage))?;
            self.loader.disk.yield_now().await;
        }
        Ok(())
    }

    /// Rows of one column within one chunk as codes and distinct values where they are stored so, else as an array. Rows as
    /// for [`Segment::read`]; a range over several pages is an array.
    ///
    /// Errors: as [`Segment::read`].
    pub async fn read_encoded(&self, column: usize, start: u32, len: u32) -> Result<EncodedColumn> {
        let rows = self.check_range(&[column], start, len)?;
        if let [page] = self.pages_of(column, &rows) {
            let bytes = self.loader.load(&[page.at]).await?;
            let reader = self.open_page(column, page, &bytes[0])?;
            let mut values = ColumnOutput::new(self.column(column).ty, 0);
            let part = (start - page.first_row) as usize..(rows.end - page.first_row) as usize;
            let codes = reader.dictionary(part, &mut values).map_err(|damage| self.corrupt(page.at.offset, damage))?;
            if let Some(codes) = codes {
                return Ok(codes.with_values(self.finish(column, start, values)?));
            }
        }
        Ok(EncodedColumn::Array(self.read(&[column], start, len).await?.column(0).clone()))
    }

    /// The pages of a column, read and checked.
    pub async fn pages(&self, column: usize) -> Result<Vec<PageInfo>> {
        self.check_columns(&[column])?;
        let mut infos = Vec::new();
        for page in &self.footer.columns[column].pages {
            let bytes = self.loader.load(&[page.at]).await?;
            let reader = self.open_page(column, page, &bytes[0])?;
            infos.push(PageInfo {
                offset: page.at.offset,
                bytes: page.at.len,
                rows: page.first_row..page.first_row + page.rows,
                nulls: reader.nulls() as u32,
                encoding: reader.encoding(),
            });
        }
        Ok(infos)
    }

    pub(super) fn column(&self, column: usize) -> &SegmentColumn {
        &self.footer.meta.columns[column]
    }

    fn check_columns(&self, columns: &[usize]) -> Result<()> {
        let count = self.footer.columns.len();
        match columns.iter().find(|&&column| column >= count) {
            Some(column) => Err(StorageError::Invalid(format!("column {column} of a segment of {count}"))),
            None => Ok(()),
        }
    }

    fn check_range(&self, columns: &[usize], start: u32, len: u32) -> Result<Range<u32>> {
        self.check_columns(columns)?;
        let end = u64::from(start) + u64::from(len);
        if !start.is_multiple_of(VECTOR_ROWS as u32) || len as usize > CHUNK_ROWS || end > u64::from(self.rows()) {
            let detail = format!("{len} rows from {start} of a segment of {}", self.rows());
            return Err(StorageError::Invalid(detail));
        }
        Ok(start..end as u32)
    }

    /// The pages of a column that hold any of the rows.
    fn pages_of(&self, column: usize, rows: &Range<u32>) -> &[PagePointer] {
        let pages = &self.footer.columns[column].pages;
        let first = pages.partition_point(|page| page.first_row + (page.rows - 1) < rows.start);
        let last = pages.partition_point(|page| page.first_row < rows.end);
        if rows.is_empty() { &[] } else { &pages[first..last] }
    }

    /// The page of a row; the footer's pages cover all rows.
    fn page_at(&self, column: usize, row: u32) -> PagePointer {
        let pages = &self.footer.columns[column].pages;
        pages[pages.partition_point(|page| page.first_row <= row) - 1]
    }

    /// All pages that hold any of the rows, column by column.
    async fn load(&self, columns: &[usize], rows: &Range<u32>) -> Result<Vec<Bytes>> {
        let pages = columns.iter().flat_map(|&column| self.pages_of(column, rows));
        self.loader.load(&pages.map(|page| page.at).collect::<Vec<_>>()).await
    }

    fn open_page<'a>(&self, column: usize, page: &PagePointer, bytes: &'a [u8]) -> Result<PageReader<'a>> {
        let physical = Physical::of(self.column(column).ty);
        let reader = PageReader::open(bytes, physical, page.rows as usize);
        reader.map_err(|damage| self.corrupt(page.at.offset, damage))
    }

    /// Appends what a page has of the rows.
    async fn decode(
        &self,
        column: usize,
        page: &PagePointer,
        bytes: &[u8],
        rows: &Range<u32>,
        output: &mut ColumnOutput,
    ) -> Result<()> {
        let reader = self.open_page(column, page, bytes)?;
        let mut from = rows.start.saturating_sub(page.first_row) as usize;
        let to = (rows.end - page.first_row).min(page.rows) as usize;
        while from < to {
            let next = to.min(from + SLICE_ROWS);
            reader.decode(from..next, output).map_err(|damage| self.corrupt(page.at.offset, damage))?;
            self.loader.disk.yield_now().await;
            from = next;
        }
        Ok(())
    }

    /// The array of a column. Strings that are not UTF-8 are damage: nothing else was written.
    fn finish(&self, column: usize, start: u32, output: ColumnOutput) -> Result<ArrayRef> {
        output.finish().map_err(|error| match error {
            StorageError::Arrow(found) => {
                let offset = self.page_at(column, start).at.offset;
                StorageError::corrupt(self.loader.file.path(), offset, "values of the column's type", found)
            }
            other => other,
        })
    }

    fn batch(&self, columns: &[usize], arrays: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let fields = columns.iter().map(|&column| self.fields[column].clone());
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
    }

    pub(super) fn corrupt(&self, page: u64, damage: Damage) -> StorageError {
        let offset = page + damage.offset as u64;
        StorageError::corrupt(self.loader.file.path(), offset, damage.expected, damage.found)
    }
}
