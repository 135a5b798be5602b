//! Pages from the cache, or from the file: missing neighbours come in one read, several reads are under way at once, and
//! every page is verified when it is loaded, once.

use super::footer::{Pointer, check_crc};
use crate::cache::{PageCache, PageKey};
use crate::disk::{DiskRef, FileRef};
use crate::encoding::aligned;
use crate::error::{Result, StorageError};
use crate::ids::FileId;
use bytes::Bytes;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// Unwanted bytes that are read between two pages rather than reading twice.
const GAP_BYTES: u64 = 16 << 10;
/// Most bytes of a read that joins pages.
const READ_BYTES_MAX: u64 = 1 << 20;
/// Most reads under way at once for one caller.
const READS_MAX: usize = 8;

/// Loads pages of one file.
pub struct PageLoader {
    pub disk: DiskRef,
    pub file: FileRef,
    pub cache: Rc<PageCache>,
    pub id: FileId,
}

impl PageLoader {
    /// The pages, in the order asked for.
    pub async fn load(&self, wanted: &[Pointer]) -> Result<Vec<Bytes>> {
        let mut pages: Vec<Option<Bytes>> = Vec::with_capacity(wanted.len());
        pages.extend(wanted.iter().map(|pointer| self.cache.get(self.key(*pointer))));
        let mut missing: Vec<usize> = (0..wanted.len()).filter(|&place| pages[place].is_none()).collect();
        missing.sort_unstable_by_key(|&place| wanted[place].offset);
        let reads = join_pages(wanted, &missing);
        for batch in reads.chunks(READS_MAX) {
            let read = |run: &Range<usize>| Box::pin(self.read(wanted, &missing[run.clone()])) as BoxRead<'_>;
            for (run, loaded) in batch.iter().zip(all(batch.iter().map(read).collect()).await) {
                missing[run.clone()].iter().zip(loaded?).for_each(|(&place, page)| pages[place] = Some(page));
            }
        }
        Ok(pages.into_iter().flatten().collect())
    }

    fn key(&self, pointer: Pointer) -> PageKey {
        PageKey { file: self.id, offset: pointer.offset }
    }

    /// Reads neighbouring pages in one go and keeps them.
    async fn read(&self, wanted: &[Pointer], places: &[usize]) -> Result<Vec<Bytes>> {
        let (first, last) = (wanted[places[0]], wanted[places[places.len() - 1]]);
        let len = (last.offset - first.offset) as usize + last.len as usize;
        let bytes = self.file.read_at(first.offset, len).await?;
        let mut pages = Vec::with_capacity(places.len());
        for &place in places {
            let pointer = wanted[place];
            let start = (pointer.offset - first.offset) as usize;
            let page = bytes.get(start..start + pointer.len as usize).ok_or_else(|| {
                StorageError::corrupt(self.file.path(), first.offset, format!("{len} bytes"), bytes.len())
            })?;
            check_crc(self.file.path(), pointer, page)?;
            // A copy: the buffer that was read has the wrong alignment, and would be held whole by one page of it.
            let page = aligned(page);
            self.cache.insert(self.key(pointer), page.clone());
            pages.push(page);
            self.disk.yield_now().await;
        }
        Ok(pages)
    }
}

/// Groups missing pages, sorted by offset, into reads.
fn join_pages(wanted: &[Pointer], missing: &[usize]) -> Vec<Range<usize>> {
    let end = |pointer: Pointer| pointer.offset + u64::from(pointer.len);
    let mut reads: Vec<Range<usize>> = Vec::new();
    for at in 0..missing.len() {
        let pointer = wanted[missing[at]];
        match reads.last_mut() {
            Some(read)
                if pointer.offset <= end(wanted[missing[at - 1]]) + GAP_BYTES
                    && end(pointer) - wanted[missing[read.start]].offset <= READ_BYTES_MAX =>
            {
                read.end = at + 1;
            }
            _ => reads.push(at..at + 1),
        }
    }
    reads
}

type BoxRead<'a> = Pin<Box<dyn Future<Output = Result<Vec<Bytes>>> + 'a>>;

/// Runs reads side by side to the end of the last: none is dropped while the device works on it.
async fn all(mut reads: Vec<BoxRead<'_>>) -> Vec<Result<Vec<Bytes>>> {
    let mut results: Vec<Option<Result<Vec<Bytes>>>> = reads.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (read, result) in reads.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(value) = read.as_mut().poll(context)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}
