//! The choice of encoding. One pass per column and chunk finds frames and runs; the sizes of constant, packed, run-length
//! and plain follow from it. A dictionary is built only while it can still win, so values that are all different cost
//! little. What is chosen is chosen for the chunk, which is then cut into pages if it is large.
//!
//! Every loop over rows goes vector by vector and lets others run in between ([`Pace`]).

use super::distinct::{Distinct, VALUES_MAX};
use super::input::Values;
use super::packed::{self, Frame};
use super::page::{Header, pad, put_number};
use super::word::Word;
use super::{ColumnInput, Encoding, Physical, VECTOR_ROWS, text};
use crate::disk::DiskRef;
use crate::error::Result;
use crate::key::mix64;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// Most distinct words in a dictionary: beyond, frames of reference are as small and cheaper.
const WORD_VALUES_MAX: usize = 4096;
/// Most bytes of distinct values in a dictionary, so that one row can be read without reading much else.
const DICTIONARY_BYTES_MAX: usize = 256 << 10;
/// Up to so many distinct values a dictionary is sorted: more would take longer than a slice.
const SORTED_VALUES_MAX: usize = 1024;
/// What a page costs besides its sections.
const PAGE_BYTES: usize = 64;

/// Lets other tasks of the core run between slices of work.
#[derive(Clone)]
pub struct Pace(DiskRef);

impl Pace {
    /// Yields as the disk's executor does.
    pub fn new(disk: DiskRef) -> Pace {
        Pace(disk)
    }

    /// The end of a slice.
    pub async fn slice(&self) {
        self.0.yield_now().await;
    }
}

/// A page ready to be written.
#[derive(Clone, Debug)]
pub struct EncodedPage {
    /// Its rows within the column input.
    pub rows: Range<usize>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Encodes a column into pages of about `page_bytes` at most.
pub async fn encode_column(input: &ColumnInput, page_bytes: usize, pace: &Pace) -> Result<Vec<EncodedPage>> {
    if input.rows() == 0 {
        return Ok(Vec::new());
    }
    Ok(match input.values() {
        Values::Word8(words) => WordEncoder { input, words, page_bytes, pace }.encode().await,
        Values::Word16(words) => WordEncoder { input, words, page_bytes, pace }.encode().await,
        Values::Word32(words) => WordEncoder { input, words, page_bytes, pace }.encode().await,
        Values::Word64(words) => WordEncoder { input, words, page_bytes, pace }.encode().await,
        Values::Word128(words) => WordEncoder { input, words, page_bytes, pace }.encode().await,
        Values::Text { ends, bytes } => TextEncoder { input, ends, bytes, page_bytes, pace }.encode().await,
    })
}

/// Starts a page: header and validity of `rows`.
fn start_page(input: &ColumnInput, encoding: Encoding, rows: &Range<usize>) -> Vec<u8> {
    let nulls = match input.nulls() {
        0 => 0,
        _ => rows.clone().filter(|&row| !input.is_valid(row)).count(),
    };
    let header = Header { encoding, physical: Physical::of(input.ty()), rows: rows.len(), nulls };
    let mut out = Vec::new();
    header.put(|row| input.is_valid(rows.start + row), &mut out);
    out
}

/// Cuts rows into pages of whole vectors, `size` bytes in all, so that each has about `page_bytes` at most.
fn cut(rows: usize, size: usize, page_bytes: usize) -> Vec<Range<usize>> {
    let vectors = rows.div_ceil(VECTOR_ROWS);
    let pages = size.div_ceil(page_bytes).clamp(1, vectors);
    let step = vectors.div_ceil(pages) * VECTOR_ROWS;
    (0..rows).step_by(step).map(|start| start..rows.min(start + step)).collect()
}

/// The dictionary of a column: distinct rows in the order of their codes, and the code of every row.
struct Dictionary {
    first_rows: Vec<u32>,
    codes: Vec<u16>,
    sorted: bool,
}

impl Dictionary {
    /// Gives codes in value order when there are few values.
    fn of(distinct: &Distinct, less: impl Fn(u32, u32) -> std::cmp::Ordering) -> Dictionary {
        let (mut first_rows, mut codes) = (distinct.first_rows().to_vec(), distinct.codes().to_vec());
        let sorted = first_rows.len() <= SORTED_VALUES_MAX;
        if sorted {
            let mut order: Vec<u16> = (0..first_rows.len()).map(|code| code as u16).collect();
            order.sort_unstable_by(|&a, &b| less(first_rows[a as usize], first_rows[b as usize]));
            let mut rank = vec![0u16; order.len()];
            order.iter().enumerate().for_each(|(to, &from)| rank[from as usize] = to as u16);
            first_rows = order.iter().map(|&code| first_rows[code as usize]).collect();
            codes.iter_mut().for_each(|code| *code = rank[*code as usize]);
        }
        Dictionary { first_rows, codes, sorted }
    }

    /// Appends count, order flag, the values by `put_values`, and the codes.
    async fn put(&self, put_values: impl FnOnce(&mut Vec<u8>), pace: &Pace, out: &mut Vec<u8>) {
        put_number(self.first_rows.len(), out);
        put_number(usize::from(self.sorted), out);
        put_values(out);
        pad(out);
        put_packed(&self.codes, pace, out).await;
    }
}

/// Bytes of `rows` codes for `count` distinct values, at most.
fn codes_size(rows: usize, count: usize) -> usize {
    let width = usize::BITS - count.saturating_sub(1).leading_zeros();
    rows.div_ceil(VECTOR_ROWS) * (VECTOR_ROWS / 8 * width as usize + 6)
}

/// Packs words vector by vector. Words of up to 64 bits can always be packed.
async fn put_packed<T: Word>(values: &[T], pace: &Pace, out: &mut Vec<u8>) {
    let frames: Vec<Frame<T>> = values.chunks(VECTOR_ROWS).filter_map(Frame::of).collect();
    assert_eq!(frames.len(), values.len().div_ceil(VECTOR_ROWS), "sizes are compared before packing is chosen");
    packed::put_directory(&frames, out);
    for (&frame, vector) in frames.iter().zip(values.chunks(VECTOR_ROWS)) {
        packed::put_vector(frame, vector, out);
        pace.slice().await;
    }
}

/// Appends the last row of each run, counted within the page.
fn put_lasts(lasts: &[u16], out: &mut Vec<u8>) {
    pad(out);
    u16::put(lasts, out);
    pad(out);
}

/// The last row of each run of rows that are the `same` as the one before.
fn runs(rows: Range<usize>, same: impl Fn(usize, usize) -> bool, lasts: &mut Vec<u16>) {
    for row in rows {
        match lasts.last_mut() {
            Some(last) if same(row - 1, row) => *last = row as u16,
            _ => lasts.push(row as u16),
        }
    }
}

struct WordEncoder<'a, T> {
    input: &'a ColumnInput,
    words: &'a [T],
    page_bytes: usize,
    pace: &'a Pace,
}

impl<T: Word> WordEncoder<'_, T> {
    async fn encode(&self) -> Vec<EncodedPage> {
        let rows = self.words.len();
        let (mut frames, mut lasts) = (Some(Vec::new()), Vec::new());
        for (number, vector) in self.words.chunks(VECTOR_ROWS).enumerate() {
            frames = frames.and_then(|mut frames: Vec<Frame<T>>| {
                frames.push(Frame::of(vector)?);
                Some(frames)
            });
            let start = number * VECTOR_ROWS;
            runs(start..start + vector.len(), |a, b| self.words[a] == self.words[b], &mut lasts);
            self.pace.slice().await;
        }
        if lasts.len() == 1 {
            return vec![self.page(Encoding::Constant, 0..rows, |out| T::put(&self.words[..1], out))];
        }
        let plain = rows * T::BYTES;
        let packed = frames.as_ref().map_or(usize::MAX, |frames| packed::size(frames));
        let run_length = lasts.len() * (T::BYTES + 2);
        let best = plain.min(packed).min(run_length);
        if let Some(dictionary) = self.dictionary(best).await {
            return vec![self.dictionary_page(&dictionary).await];
        }
        if run_length == best {
            return vec![self.page(Encoding::RunLength, 0..rows, |out| self.put_runs(&lasts, out))];
        }
        let mut pages = Vec::new();
        for rows in cut(rows, best, self.page_bytes) {
            if packed == best {
                let mut bytes = start_page(self.input, Encoding::Packed, &rows);
                put_packed(&self.words[rows.clone()], self.pace, &mut bytes).await;
                pages.push(EncodedPage { rows, bytes });
            } else {
                pages.push(self.page(Encoding::Plain, rows.clone(), |out| T::put(&self.words[rows], out)));
                self.pace.slice().await;
            }
        }
        pages
    }

    fn page(&self, encoding: Encoding, rows: Range<usize>, body: impl FnOnce(&mut Vec<u8>)) -> EncodedPage {
        let mut bytes = start_page(self.input, encoding, &rows);
        body(&mut bytes);
        EncodedPage { rows, bytes }
    }

    fn put_runs(&self, lasts: &[u16], out: &mut Vec<u8>) {
        put_number(lasts.len(), out);
        lasts.iter().for_each(|&last| T::put(&[self.words[last as usize]], out));
        put_lasts(lasts, out);
    }

    /// The dictionary, when it takes less than `best` bytes.
    async fn dictionary(&self, best: usize) -> Option<Dictionary> {
        let rows = self.words.len();
        if T::BYTES == 1 || codes_size(rows, 2) + 2 * T::BYTES + PAGE_BYTES >= best {
            return None;
        }
        let mut distinct = Distinct::new(rows);
        for vector in self.words.chunks(VECTOR_ROWS) {
            for &word in vector {
                let bits = word.bits();
                let hash = mix64(bits as u64 ^ (bits >> 64) as u64);
                if !distinct.add(hash, |row| self.words[row as usize] == word) {
                    return None;
                }
            }
            let count = distinct.count();
            let size = codes_size(rows, count) + count * T::BYTES + PAGE_BYTES;
            if count > WORD_VALUES_MAX || size >= best || count == distinct.codes().len() {
                return None;
            }
            self.pace.slice().await;
        }
        let order = |a: u32, b: u32| {
            let (a, b) = (self.words[a as usize], self.words[b as usize]);
            b.less(a).cmp(&a.less(b))
        };
        Some(Dictionary::of(&distinct, order))
    }

    async fn dictionary_page(&self, dictionary: &Dictionary) -> EncodedPage {
        let rows = 0..self.words.len();
        let mut bytes = start_page(self.input, Encoding::Dictionary, &rows);
        let put_values = |out: &mut Vec<u8>| {
            dictionary.first_rows.iter().for_each(|&row| T::put(&[self.words[row as usize]], out));
        };
        dictionary.put(put_values, self.pace, &mut bytes).await;
        EncodedPage { rows, bytes }
    }
}

struct TextEncoder<'a> {
    input: &'a ColumnInput,
    ends: &'a [u32],
    bytes: &'a [u8],
    page_bytes: usize,
    pace: &'a Pace,
}

impl TextEncoder<'_> {
    fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.ends[row - 1] as usize }
    }

    fn text(&self, row: usize) -> &[u8] {
        &self.bytes[self.start(row)..self.ends[row] as usize]
    }

    async fn encode(&self) -> Vec<EncodedPage> {
        let rows = self.ends.len();
        let mut lasts = Vec::new();
        for start in (0..rows).step_by(VECTOR_ROWS) {
            let vector = start..rows.min(start + VECTOR_ROWS);
            runs(vector, |a, b| self.text(a) == self.text(b), &mut lasts);
            self.pace.slice().await;
        }
        if lasts.len() == 1 {
            return vec![self.gathered(Encoding::Constant, 0..1, 0..rows, |_| {})];
        }
        let plain = self.ends.len() * 2 + self.bytes.len();
        let run_bytes: usize = lasts.iter().map(|&last| self.text(last as usize).len()).sum();
        let run_length = run_bytes + lasts.len() * 6;
        if let Some(dictionary) = self.dictionary(plain.min(run_length)).await {
            return vec![self.dictionary_page(&dictionary).await];
        }
        if run_length < plain && run_bytes <= DICTIONARY_BYTES_MAX {
            let firsts = lasts.iter().map(|&last| last as usize);
            return vec![self.gathered(Encoding::RunLength, firsts, 0..rows, |out| put_lasts(&lasts, out))];
        }
        let mut pages = Vec::new();
        for rows in self.cut() {
            let mut bytes = start_page(self.input, Encoding::Plain, &rows);
            let start = self.start(rows.start);
            let ends: Vec<u32> = self.ends[rows.clone()].iter().map(|&end| end - start as u32).collect();
            text::put(&ends, &self.bytes[start..self.ends[rows.end - 1] as usize], &mut bytes);
            pages.push(EncodedPage { rows, bytes });
            self.pace.slice().await;
        }
        pages
    }

    /// Cuts at vectors so that a page has about `page_bytes` of strings at most, or is one vector.
    fn cut(&self) -> Vec<Range<usize>> {
        let mut pages: Vec<Range<usize>> = Vec::new();
        for start in (0..self.ends.len()).step_by(VECTOR_ROWS) {
            let end = self.ends.len().min(start + VECTOR_ROWS);
            let bytes = |from: usize| self.ends[end - 1] as usize - self.start(from) + 2 * (end - from);
            match pages.last_mut() {
                Some(page) if bytes(page.start) <= self.page_bytes => page.end = end,
                _ => pages.push(start..end),
            }
        }
        pages
    }

    /// A page of chosen strings: their number, the strings, and what `rest` appends.
    fn gathered(
        &self,
        encoding: Encoding,
        chosen: impl Iterator<Item = usize>,
        rows: Range<usize>,
        rest: impl FnOnce(&mut Vec<u8>),
    ) -> EncodedPage {
        let mut bytes = start_page(self.input, encoding, &rows);
        let (ends, strings) = self.gather(chosen);
        put_number(ends.len(), &mut bytes);
        text::put(&ends, &strings, &mut bytes);
        rest(&mut bytes);
        EncodedPage { rows, bytes }
    }

    fn gather(&self, chosen: impl Iterator<Item = usize>) -> (Vec<u32>, Vec<u8>) {
        let (mut ends, mut strings) = (Vec::new(), Vec::new());
        for row in chosen {
            strings.extend_from_slice(self.text(row));
            ends.push(strings.len() as u32);
        }
        (ends, strings)
    }

    /// The dictionary, when it takes less than `best` bytes.
    async fn dictionary(&self, best: usize) -> Option<Dictionary> {
        let rows = self.ends.len();
        let (mut distinct, mut size) = (Distinct::new(rows), 0);
        for start in (0..rows).step_by(VECTOR_ROWS) {
            for row in start..rows.min(start + VECTOR_ROWS) {
                let (text, count) = (self.text(row), distinct.count());
                if !distinct.add(xxh3_64(text), |other| self.text(other as usize) == text) {
                    return None;
                }
                size += if distinct.count() > count { text.len() + 4 } else { 0 };
            }
            let count = distinct.count();
            let all_differ = count == distinct.codes().len() && rows > VECTOR_ROWS;
            if all_differ || size > DICTIONARY_BYTES_MAX || codes_size(rows, count) + size + PAGE_BYTES >= best {
                return None;
            }
            self.pace.slice().await;
        }
        debug_assert!(distinct.count() <= VALUES_MAX);
        Some(Dictionary::of(&distinct, |a, b| self.text(a as usize).cmp(self.text(b as usize))))
    }

    async fn dictionary_page(&self, dictionary: &Dictionary) -> EncodedPage {
        let rows = 0..self.ends.len();
        let mut bytes = start_page(self.input, Encoding::Dictionary, &rows);
        let put_values = |out: &mut Vec<u8>| {
            let (ends, strings) = self.gather(dictionary.first_rows.iter().map(|&row| row as usize));
            text::put(&ends, &strings, out);
        };
        dictionary.put(put_values, self.pace, &mut bytes).await;
        EncodedPage { rows, bytes }
    }
}
