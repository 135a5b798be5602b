//! Separated text, as StarRocks reads it: separators of any length, optional enclosing and escaping, `\N` for NULL, a carriage
//! return before the newline dropped, empty lines passed over.
//!
//! Input comes in chunks cut anywhere. Whole records are parsed out of the buffer, the rest waits for the next chunk. Without
//! enclosing and escaping a record ends at the first delimiter, which `memchr` finds; with them a byte-by-byte walk does. Either goes on
//! where the chunk before ended, so that a long record is looked through once.

use std::sync::Arc;

use memchr::memmem;
use starling_storage::schema::TabletSchema;

use super::batch::RowBuilder;
use super::rejects::Rejects;
use super::spec::CsvFormat;
use super::target::{Slot, Target, is_delete};

/// A record longer than this fails the load: without a bound, a wrong delimiter would gather the whole body.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// A field of a record: where it lies, whether it was enclosed, and whether some of it was escaped (then it is no NULL).
#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    end: usize,
    enclosed: bool,
    escaped: bool,
}

/// How far a record whose end has not come yet was looked through, from its first byte.
#[derive(Clone, Copy, Debug)]
struct Search {
    at: usize,
    /// A field begins here (of enclosing).
    field_start: bool,
    /// Within an enclosed field.
    enclosed: bool,
}

impl Search {
    const BEGIN: Search = Search { at: 0, field_start: true, enclosed: false };
}

/// Turns chunks into rows.
pub struct CsvReader {
    format: CsvFormat,
    target: Target,
    builder: RowBuilder,
    /// Bytes of the record that the last chunk cut off.
    rest: Vec<u8>,
    search: Search,
    to_skip: usize,
    fields: Vec<Field>,
    /// Unescaped bytes of the fields of one record, when they differ from the input.
    scratch: Vec<u8>,
    /// Rejected rows.
    pub rejects: Rejects,
}

/// Where parsing stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The batch is full: take it and call again with no new bytes.
    Full,
    /// More input is needed.
    Hungry,
}

impl CsvReader {
    /// For one load.
    pub fn new(schema: &Arc<TabletSchema>, format: CsvFormat, target: Target, strict: bool, now: &str) -> CsvReader {
        let builder = RowBuilder::new(schema, &target, strict, now);
        let to_skip = format.skip_header;
        CsvReader {
            format,
            target,
            builder,
            rest: Vec::new(),
            search: Search::BEGIN,
            to_skip,
            fields: Vec::new(),
            scratch: Vec::new(),
            rejects: Rejects::default(),
        }
    }

    /// The rows being built.
    pub fn builder(&mut self) -> &mut RowBuilder {
        &mut self.builder
    }

    /// Parses `chunk` after what is left of the ones before. An error fails the load.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Step, String> {
        self.rest.extend_from_slice(chunk);
        let buffer = std::mem::take(&mut self.rest);
        let mut at = 0;
        let mut step = Step::Hungry;
        while let Some((end, next)) = self.record_end(&buffer[at..]) {
            self.record(&buffer[at..at + end]);
            at += next;
            if self.builder.is_full() {
                step = Step::Full;
                break;
            }
        }
        self.rest = buffer;
        self.rest.drain(..at);
        if step == Step::Hungry && self.rest.len() > RECORD_BYTES_MAX {
            return Err(format!("a row is longer than {RECORD_BYTES_MAX} bytes; check row_delimiter and enclose"));
        }
        Ok(step)
    }

    /// The body has ended: what is left is the last record.
    pub fn finish(&mut self) {
        let last = std::mem::take(&mut self.rest);
        if !last.is_empty() {
            self.record(&last);
        }
    }

    /// The end of the first record of `bytes` and the start of the one after it.
    fn record_end(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        let quoting = self.format.enclose.is_some() || self.format.escape.is_some();
        let end = if quoting { self.quoted_end(bytes) } else { self.plain_end(bytes) }?;
        self.search = Search::BEGIN;
        Some((end, end + self.format.row_delimiter.len()))
    }

    /// The end of a record that ends at the first delimiter.
    fn plain_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let delimiter = &self.format.row_delimiter;
        let from = self.search.at.min(bytes.len());
        let end = match delimiter.as_slice() {
            [byte] => memchr::memchr(*byte, &bytes[from..]),
            many => memmem::find(&bytes[from..], many),
        };
        // A delimiter may have begun in the last bytes.
        self.search.at = from.max((bytes.len() + 1).saturating_sub(delimiter.len()));
        end.map(|at| from + at)
    }

    /// The end of a record whose fields may hold delimiters. Without one, the search goes on from where it cannot tell yet what a byte is.
    fn quoted_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let (column, row) = (&self.format.column_separator, &self.format.row_delimiter);
        let Search { mut at, mut field_start, mut enclosed } = self.search;
        while at < bytes.len() {
            let (byte, rest) = (bytes[at], &bytes[at..]);
            if self.format.escape == Some(byte) && self.format.enclose != Some(byte) {
                if rest.len() < 2 {
                    break;
                }
                at += 2;
                field_start = false;
            } else if enclosed {
                if self.format.enclose == Some(byte) {
                    // A doubled quote is one quote of the value.
                    match rest.get(1) {
                        Some(next) if *next == byte => at += 1,
                        Some(_) => enclosed = false,
                        None => break,
                    }
                }
                at += 1;
            } else if field_start && self.format.enclose == Some(byte) {
                (enclosed, field_start) = (true, false);
                at += 1;
            } else if rest.starts_with(row) {
                return Some(at);
            } else if row.starts_with(rest) || (rest.len() < column.len() && column.starts_with(rest)) {
                break;
            } else if rest.starts_with(column) {
                at += column.len();
                field_start = true;
            } else {
                field_start &= self.format.trim_space && byte == b' ';
                at += 1;
            }
        }
        self.search = Search { at, field_start, enclosed };
        None
    }

    fn record(&mut self, record: &[u8]) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        // Of lines that end as on Windows; before another delimiter a carriage return is data.
        let windows = self.format.row_delimiter == b"\n";
        let record = record.strip_suffix(b"\r").filter(|_| windows).unwrap_or(record);
        if record.is_empty() {
            return;
        }
        self.fields.clear();
        self.scratch.clear();
        let scratch = match self.format.enclose.is_some() || self.format.escape.is_some() {
            true => {
                self.split_quoted(record);
                true
            }
            false => {
                self.split_plain(record);
                false
            }
        };
        let scratch_bytes = std::mem::take(&mut self.scratch);
        let bytes = if scratch { &scratch_bytes } else { record };
        if let Err(reason) = self.row(bytes) {
            self.builder.reject_row();
            self.rejects.add(&reason, record);
        }
        self.scratch = scratch_bytes;
    }

    fn split_plain(&mut self, record: &[u8]) {
        let separator = &self.format.column_separator;
        let mut start = 0;
        let mut push = |end: usize, next: usize| {
            self.fields.push(Field { start, end, enclosed: false, escaped: false });
            start = next;
        };
        match separator.as_slice() {
            [byte] => memchr::memchr_iter(*byte, record).for_each(|at| push(at, at + 1)),
            many => memmem::find_iter(record, many).for_each(|at| push(at, at + many.len())),
        }
        push(record.len(), record.len());
    }

    /// Splits and unescapes into `scratch`.
    fn split_quoted(&mut self, record: &[u8]) {
        let (enclose, escape) = (self.format.enclose, self.format.escape);
        let separator = self.format.column_separator.clone();
        let mut at = 0;
        loop {
            let start = self.scratch.len();
            let mut first = at;
            while self.format.trim_space && record.get(first) == Some(&b' ') {
                first += 1;
            }
            let enclosed = enclose.is_some() && record.get(first).copied() == enclose;
            if enclosed {
                at = first + 1;
            }
            let (mut open, mut escaped) = (enclosed, false);
            let mut closed = self.scratch.len();
            while at < record.len() {
                let byte = record[at];
                let next = record.get(at + 1).copied();
                if escape == Some(byte) && enclose != Some(byte) && (next != Some(b'N') || open) && next.is_some() {
                    self.scratch.extend(next);
                    escaped = true;
                    at += 2;
                } else if open && enclose == Some(byte) {
                    if next == enclose {
                        self.scratch.push(byte);
                        at += 2;
                    } else {
                        open = false;
                        closed = self.scratch.len();
                        at += 1;
                    }
                } else if !open && record[at..].starts_with(&separator) {
                    break;
                } else {
                    // What stands between the closing quote and the separator is dropped.
                    if open || !enclosed {
                        self.scratch.push(byte);
                    }
                    at += 1;
                }
            }
            let end = if enclosed && !open { closed } else { self.scratch.len() };
            self.fields.push(Field { start, end, enclosed, escaped });
            if at >= record.len() {
                break;
            }
            at += separator.len();
        }
    }

    /// One row from the fields found. An error is the reason for its rejection.
    fn row(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (expected, found) = (self.target.fields.len(), self.fields.len());
        if expected != found {
            return Err(format!("Value count does not match column count. Expect {expected}, but got {found}"));
        }
        let delete = if self.target.has_op { self.op(bytes)? } else { false };
        for i in 0..found {
            if let Slot::Column(column) = self.target.fields[i].1 {
                let value = self.value(bytes, i);
                self.builder.push(column, value, delete)?;
            }
        }
        self.builder.end_row(delete)
    }

    #[inline]
    fn value<'b>(&self, bytes: &'b [u8], field: usize) -> Option<&'b [u8]> {
        let Field { start, end, enclosed, escaped } = self.fields[field];
        let value = &bytes[start..end];
        if enclosed {
            return Some(value);
        }
        let value = if self.format.trim_space { value.trim_ascii() } else { value };
        (escaped || value != b"\\N").then_some(value)
    }

    fn op(&self, bytes: &[u8]) -> Result<bool, String> {
        let field = self.target.fields.iter().position(|(_, slot)| *slot == Slot::Op).unwrap_or_default();
        let value = self.value(bytes, field).unwrap_or_default();
        is_delete(value)
            .ok_or_else(|| format!("Invalid __op '{}'; 0 or upsert, 1 or delete", String::from_utf8_lossy(value)))
    }
}
