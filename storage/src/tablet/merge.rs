//! Merging rows into sorted segment files: the data path of flush, compaction and big batches, in slices.
//!
//! Rows in memory become sorted runs of a few thousand rows; a file is one run already. Runs are merged by their encoded sort
//! keys through a heap; as long as one run stays below the next one's first key, its rows are taken in one go. Equal keys keep
//! the order of the inputs. The merge tells for every input row where it went ([`RowMap`](crate::rowset::RowMap)).

use super::predicate::evaluate;
use super::{DeleteWhere, Tablet, TabletEnv};
use crate::delvector::DeadView;
use crate::error::Result;
use crate::ids::{FileId, Seq};
use crate::key::{KeyEncoder, Keys};
use crate::rowset::{RowMap, Rowset};
use crate::schema::TabletSchema;
use crate::segment::{Segment, SegmentWriter, WriteOptions};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{interleave, take};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Rows of a sorted run in memory: sorting one takes half a millisecond.
const RUN_ROWS: usize = 4096;
/// Rows read from a file at a time; a multiple of a vector.
const BLOCK_ROWS: u32 = 4096;
/// Rows handed to the writer at a time.
const OUT_ROWS: usize = 4096;
/// Rows handled between two yields (P7).
const SLICE_ROWS: usize = 1024;

/// Sort keys of some rows: the first sixteen bytes as a number, and the whole keys only if one is longer.
struct SortKeys {
    heads: Vec<u128>,
    whole: Option<Keys>,
}

impl SortKeys {
    fn new(keys: Keys) -> SortKeys {
        let head = |key: &[u8]| {
            let mut head = [0; 16];
            let len = key.len().min(16);
            head[..len].copy_from_slice(&key[..len]);
            u128::from_be_bytes(head)
        };
        let heads = (0..keys.len()).map(|row| head(keys.get(row))).collect();
        let long = (0..keys.len()).any(|row| keys.get(row).len() > 16);
        SortKeys { heads, whole: long.then_some(keys) }
    }

    /// Encoded keys are prefix-free and end in zeros only where they are equal, so padding does not change the order.
    fn compare(&self, row: usize, other: &SortKeys, other_row: usize) -> Ordering {
        let heads = self.heads[row].cmp(&other.heads[other_row]);
        heads.then_with(|| match (&self.whole, &other.whole) {
            (Some(a), Some(b)) => a.get(row).cmp(b.get(other_row)),
            // One block has no long key: its key is not longer than the head, and a longer one with this head sorts after it.
            (None, Some(b)) if b.get(other_row).len() > 16 => Ordering::Less,
            (Some(a), None) if a.get(row).len() > 16 => Ordering::Greater,
            _ => Ordering::Equal,
        })
    }

    fn take(&self, order: &[u32]) -> SortKeys {
        let whole = self.whole.as_ref().map(|keys| {
            let mut taken = Keys::default();
            order.iter().for_each(|&row| taken.push(keys.get(row as usize)));
            taken
        });
        SortKeys { heads: order.iter().map(|&row| self.heads[row as usize]).collect(), whole }
    }
}

/// Sorted rows of one input.
struct Block {
    batch: RecordBatch,
    keys: SortKeys,
    /// Row number of each within its input.
    origin: Vec<u32>,
}

/// A sorted sequence of blocks.
struct Run {
    input: usize,
    blocks: VecDeque<Rc<Block>>,
    file: Option<FileRun>,
    current: Option<Rc<Block>>,
    at: usize,
}

struct FileRun {
    segment: Rc<Segment>,
    next: u32,
    rowset: Option<(Rc<Rowset>, DeadView)>,
    deletes: Vec<Rc<DeleteWhere>>,
}

/// A merge in the making: add inputs, then run.
pub(super) struct Merge {
    schema: Arc<TabletSchema>,
    env: TabletEnv,
    encoder: KeyEncoder,
    columns: Vec<usize>,
    runs: Vec<Run>,
}

impl Merge {
    pub(super) fn new(schema: Arc<TabletSchema>, env: TabletEnv) -> Merge {
        let encoder = KeyEncoder::new(schema.sort_positions());
        let columns = (0..schema.columns.len()).collect();
        Merge { schema, env, encoder, columns, runs: Vec::new() }
    }

    /// Adds rows in memory as input `input`: batches with the number of their first row. `live` says of a row range which rows count.
    pub(super) async fn add_memory(
        &mut self,
        input: usize,
        batches: &[(u32, RecordBatch)],
        mut live: Option<&mut dyn FnMut(u32, &RecordBatch) -> Result<Option<BooleanBuffer>>>,
    ) -> Result<()> {
        let mut parts: Vec<(RecordBatch, Vec<u32>)> = Vec::new();
        let mut rows = 0;
        for (first, batch) in batches {
            for start in (0..batch.num_rows()).step_by(RUN_ROWS) {
                let piece = batch.slice(start, RUN_ROWS.min(batch.num_rows() - start));
                let begin = first + start as u32;
                let mask = match &mut live {
                    Some(live) => live(begin, &piece)?,
                    None => None,
                };
                let (piece, origin) = select(piece, begin, mask)?;
                if rows + origin.len() > RUN_ROWS && rows > 0 {
                    self.add_run(input, std::mem::take(&mut parts)).await?;
                    rows = 0;
                }
                rows += origin.len();
                parts.push((piece, origin));
            }
        }
        self.add_run(input, parts).await
    }

    async fn add_run(&mut self, input: usize, parts: Vec<(RecordBatch, Vec<u32>)>) -> Result<()> {
        let Some(schema) = parts.first().map(|part| part.0.schema()) else { return Ok(()) };
        let batch = arrow::compute::concat_batches(&schema, parts.iter().map(|part| &part.0))?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.env.disk.yield_now().await;
        let origin: Vec<u32> = parts.into_iter().flat_map(|part| part.1).collect();
        let keys = SortKeys::new(self.encoder.encode_all(&batch)?);
        self.env.disk.yield_now().await;
        let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
        // The row number as the last criterion makes it stable.
        order.sort_unstable_by(|&a, &b| keys.compare(a as usize, &keys, b as usize).then(a.cmp(&b)));
        self.env.disk.yield_now().await;
        let sorted = keys.take(&order);
        let origin = order.iter().map(|&row| origin[row as usize]).collect();
        let order = UInt32Array::from(order);
        let mut columns = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            columns.push(take(column, &order, None)?);
            self.env.disk.yield_now().await;
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(schema, columns, &rows)?;
        let block = Rc::new(Block { batch, keys: sorted, origin });
        self.runs.push(Run { input, blocks: [block].into(), file: None, current: None, at: 0 });
        Ok(())
    }

    /// Adds a sorted file as input `input`; rows that are dead for `view` or match a delete predicate do not count.
    pub(super) fn add_file(
        &mut self,
        input: usize,
        rowset: &Rc<Rowset>,
        view: DeadView,
        deletes: Vec<Rc<DeleteWhere>>,
    ) {
        if let Some((segment, _)) = rowset.file() {
            let file = FileRun { segment: segment.clone(), next: 0, rowset: Some((rowset.clone(), view)), deletes };
            self.runs.push(Run { input, blocks: VecDeque::new(), file: Some(file), current: None, at: 0 });
        }
    }

    /// Merges everything into segment files, which are synced, their directory too. `maps[input][row]` becomes the ordinal of the row
    /// among all output rows. After an error the files are removed again: it may have been for want of space.
    pub(super) async fn write(self, tablet: &Tablet, maps: &mut [Vec<u32>]) -> Result<Vec<Written>> {
        let mut output = Output {
            tablet,
            schema: self.schema.clone(),
            writer: None,
            rows: 0,
            files: Vec::new(),
            written: Vec::new(),
        };
        let result = match self.run(&mut output, maps).await {
            Ok(()) => output.finish().await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            // What cannot be removed now goes at the next start.
            let _ = tablet.unlink(&output.files).await;
            return Err(error);
        }
        Ok(output.written)
    }

    async fn run(mut self, output: &mut Output<'_>, maps: &mut [Vec<u32>]) -> Result<()> {
        // A binary heap of run numbers by their current keys: the least run is on top, is read on, and sinks to its new place.
        let mut heap = Vec::with_capacity(self.runs.len());
        for number in 0..self.runs.len() {
            if self.advance(number).await? {
                heap.push(number);
            }
        }
        (0..heap.len() / 2).rev().for_each(|at| self.sink(&mut heap, at));
        let mut picks = Picks::default();
        let mut ordinal = 0;
        while let Some(&number) = heap.first() {
            let Some(block) = self.runs[number].current.clone() else { break };
            let next = [1, 2].into_iter().filter_map(|child| heap.get(child).copied());
            let next = next.reduce(|a, b| if self.less(a, b) { a } else { b });
            let start = self.runs[number].at;
            let mut end = start + 1;
            while end < block.origin.len() && next.is_none_or(|next| self.below(number, &block, end, next)) {
                end += 1;
            }
            let slot = picks.block(number, &block);
            let input = self.runs[number].input;
            for row in start..end {
                if let Some(to) = maps.get_mut(input).and_then(|map| map.get_mut(block.origin[row] as usize)) {
                    *to = ordinal;
                }
                ordinal += 1;
                picks.rows.push((slot, row));
            }
            self.runs[number].at = end;
            if picks.rows.len() / SLICE_ROWS != (picks.rows.len() - (end - start)) / SLICE_ROWS {
                self.env.disk.yield_now().await;
            }
            if picks.rows.len() >= OUT_ROWS {
                output.write(picks.take(&self.columns, &self.env).await?).await?;
            }
            if self.runs[number].at >= block.origin.len() && !self.advance(number).await? {
                heap.swap_remove(0);
            }
            self.sink(&mut heap, 0);
        }
        if !picks.rows.is_empty() {
            output.write(picks.take(&self.columns, &self.env).await?).await?;
        }
        Ok(())
    }

    /// Whether the current row of run `a` comes before that of run `b`; of equal keys the earlier run's.
    fn less(&self, a: usize, b: usize) -> bool {
        match &self.runs[a].current {
            Some(block) => self.below(a, block, self.runs[a].at, b),
            None => false,
        }
    }

    /// Whether a row of run `a` comes before the current one of run `b`.
    fn below(&self, a: usize, block: &Block, row: usize, b: usize) -> bool {
        let Some(other) = &self.runs[b].current else { return true };
        block.keys.compare(row, &other.keys, self.runs[b].at).then(a.cmp(&b)) == Ordering::Less
    }

    fn sink(&self, heap: &mut [usize], mut at: usize) {
        loop {
            let (left, right) = (at * 2 + 1, at * 2 + 2);
            let mut least = at;
            for child in [left, right] {
                if child < heap.len() && self.less(heap[child], heap[least]) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            heap.swap(at, least);
            at = least;
        }
    }

    /// Makes the next block with a live row current; false at the end of the run.
    async fn advance(&mut self, number: usize) -> Result<bool> {
        loop {
            let run = &mut self.runs[number];
            (run.current, run.at) = (run.blocks.pop_front(), 0);
            if run.current.is_some() {
                return Ok(true);
            }
            let Some(file) = &mut run.file else { return Ok(false) };
            if file.next >= file.segment.rows() {
                return Ok(false);
            }
            let len = BLOCK_ROWS.min(file.segment.rows() - file.next);
            let batch = file.segment.read(&self.columns, file.next, len).await?;
            let begin = file.next;
            file.next += len;
            if let Some((rowset, view)) = &mut file.rowset {
                while !view.catch_up(&rowset.dead.borrow(), SLICE_ROWS) {
                    self.env.disk.yield_now().await;
                }
            }
            let mut mask = file.rowset.as_mut().and_then(|(rowset, view)| view.live(&rowset.dead.borrow(), begin, len));
            for delete in &file.deletes {
                let dies = matches_all(delete, &batch)?;
                mask = Some(mask.map_or(!&dies, |mask| &mask & &!&dies));
            }
            self.env.disk.yield_now().await;
            let (batch, origin) = select(batch, begin, mask)?;
            self.env.disk.yield_now().await;
            if !origin.is_empty() {
                let keys = SortKeys::new(self.encoder.encode_all(&batch)?);
                run.blocks.push_back(Rc::new(Block { batch, keys, origin }));
                self.env.disk.yield_now().await;
            }
        }
    }
}

/// Which rows of a full batch a delete predicate takes.
pub(super) fn matches_all(delete: &DeleteWhere, batch: &RecordBatch) -> Result<BooleanBuffer> {
    let mut all = BooleanBuffer::new_set(batch.num_rows());
    for predicate in &delete.predicates {
        all = &all & &evaluate(predicate, batch.column(predicate.column()))?;
    }
    Ok(all)
}

fn select(batch: RecordBatch, begin: u32, mask: Option<BooleanBuffer>) -> Result<(RecordBatch, Vec<u32>)> {
    let Some(mask) = mask else {
        let rows = batch.num_rows() as u32;
        return Ok((batch, (begin..begin + rows).collect()));
    };
    let origin = mask.set_indices().map(|row| begin + row as u32).collect();
    let mask = arrow::array::BooleanArray::new(mask, None);
    Ok((arrow::compute::filter_record_batch(&batch, &mask)?, origin))
}

/// Rows chosen for the next output batch.
#[derive(Default)]
struct Picks {
    blocks: Vec<Rc<Block>>,
    /// The newest block of each run.
    places: Vec<usize>,
    rows: Vec<(usize, usize)>,
}

impl Picks {
    /// The place of a block among those picked from.
    fn block(&mut self, run: usize, block: &Rc<Block>) -> usize {
        if self.places.len() <= run {
            self.places.resize(run + 1, usize::MAX);
        }
        let place = self.places[run];
        if self.blocks.get(place).is_some_and(|known| Rc::ptr_eq(known, block)) {
            return place;
        }
        self.places[run] = self.blocks.len();
        self.blocks.push(block.clone());
        self.places[run]
    }

    async fn take(&mut self, columns: &[usize], env: &TabletEnv) -> Result<RecordBatch> {
        let schema = self.blocks[0].batch.schema();
        let rows = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
        for &column in columns {
            env.disk.yield_now().await;
            let from: Vec<&dyn Array> = self.blocks.iter().map(|b| b.batch.column(column).as_ref()).collect();
            arrays.push(interleave(&from, &self.rows)?);
        }
        self.blocks.clear();
        self.rows.clear();
        Ok(RecordBatch::try_new_with_options(schema, arrays, &rows)?)
    }
}

/// A file that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) file: FileId,
    pub(super) rows: u32,
    pub(super) bytes: u64,
    /// Ordinal of its first row among all rows written.
    pub(super) first: u32,
}

/// Segment files being written, one after the other.
struct Output<'a> {
    tablet: &'a Tablet,
    schema: Arc<TabletSchema>,
    writer: Option<(FileId, SegmentWriter)>,
    rows: u32,
    /// Every file that was begun.
    files: Vec<FileId>,
    written: Vec<Written>,
}

impl Output<'_> {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let env = &self.tablet.env;
        let mut start = 0;
        while start < batch.num_rows() {
            let (file, mut writer) = match self.writer.take() {
                Some(open) => open,
                None => {
                    let file = self.tablet.new_file();
                    self.files.push(file);
                    let options = WriteOptions::default();
                    (file, SegmentWriter::create(&env.disk, &file.path(), &self.schema, options).await?)
                }
            };
            let room = env.limits.segment_rows.max(1).saturating_sub(writer.rows()) as usize;
            let len = room.min(batch.num_rows() - start);
            writer.append(&batch.slice(start, len)).await?;
            start += len;
            let full = writer.rows() >= env.limits.segment_rows;
            self.writer = Some((file, writer));
            if full {
                self.close().await?;
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if let Some((file, writer)) = self.writer.take() {
            let meta = writer.finish().await?;
            self.written.push(Written { file, rows: meta.rows, bytes: meta.bytes, first: self.rows });
            self.rows += meta.rows;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        self.close().await?;
        if self.written.is_empty() { Ok(()) } else { self.tablet.env.disk.sync_dir("seg").await }
    }
}

/// A map for `rows` input rows, none of which has a place yet.
pub(super) async fn blank_map(rows: u32, env: &TabletEnv) -> Vec<u32> {
    let mut map = Vec::with_capacity(rows as usize);
    while map.len() < rows as usize {
        map.resize(rows.min(map.len() as u32 + 64 * 1024) as usize, RowMap::DROPPED);
        env.disk.yield_now().await;
    }
    map
}

/// The greatest commit that can be in any of these rowsets.
pub(super) fn newest(rowsets: &[Rc<Rowset>]) -> Seq {
    let newest = |rowset: &Rc<Rowset>| match (rowset.memtable(), rowset.file()) {
        (Some(memtable), _) => memtable.span().map_or(Seq::ZERO, |span| span.1),
        (_, Some((_, meta))) => meta.max_seq,
        _ => Seq::ZERO,
    };
    rowsets.iter().map(newest).max().unwrap_or(Seq::ZERO)
}

/// The least commit that can be in any of these rowsets.
pub(super) fn oldest(rowsets: &[Rc<Rowset>]) -> Seq {
    let oldest = |rowset: &Rc<Rowset>| match (rowset.memtable(), rowset.file()) {
        (Some(memtable), _) => memtable.span().map(|span| span.0),
        (_, Some((_, meta))) => Some(meta.min_seq),
        _ => None,
    };
    rowsets.iter().filter_map(oldest).min().unwrap_or(Seq::ZERO)
}
