//! Hash aggregation. Groups are spread by hash over parts of at most 16 Ki groups, so that growing, giving out and freeing happen in
//! slices. Group keys and their numbering are ours; the states are DataFusion's group accumulators, so that both lanes mean the same by a
//! function and a partial half in one lane fits a final half in the other.
//!
//! A partial half whose part is full gives the part out and begins it anew: the final half adds up what comes twice. A final half splits
//! the part.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter, take};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;

use super::evaluate;
use super::groups::{GroupTable, KeyCodec, Keys};
use crate::error::{EngineError, Result};
use crate::exec::query::Shared;
use crate::plan::lanes::{Aggregation, Half};

/// Groups of a part.
const GROUPS_MAX: usize = 16 * 1024;
/// A full part is split by this many more bits of the hash.
const SPLIT_BITS: u32 = 3;

/// The operator.
pub struct Aggregate {
    plan: Arc<Aggregation>,
    account: MemoryReservation,
    state: State,
    ready: VecDeque<RecordBatch>,
    pushed: usize,
}

enum State {
    /// Without groups: one row, also of no input.
    Total(Vec<Box<dyn Accumulator>>),
    Grouped {
        codec: KeyCodec,
        directory: Directory,
    },
    Over,
}

/// Parts by the first bits of the hash.
struct Directory {
    bits: u32,
    /// Index into `parts` for each value of those bits.
    index: Vec<u32>,
    parts: Vec<Part>,
}

struct Part {
    /// How many bits of the hash its groups have in common.
    bits: u32,
    table: GroupTable,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
}

impl Part {
    fn new(plan: &Aggregation, codec: &KeyCodec, bits: u32) -> Result<Part> {
        let accumulators = plan.functions.iter().map(|f| f.create_groups_accumulator()).collect::<Result<_, _>>();
        Ok(Part { bits, table: GroupTable::new(codec), accumulators: accumulators.map_err(EngineError::from)? })
    }

    fn bytes(&self) -> usize {
        self.table.bytes() + self.accumulators.iter().map(|a| a.size()).sum::<usize>()
    }
}

/// The arguments of one function for the rows of a slice.
struct Arguments {
    values: Vec<ArrayRef>,
    filter: Option<BooleanArray>,
}

impl Arguments {
    fn taken(&self, rows: &UInt32Array) -> Result<Arguments> {
        let take = |array: &ArrayRef| take(array, rows, None).map_err(EngineError::internal);
        let values = self.values.iter().map(take).collect::<Result<_>>()?;
        let filter = match &self.filter {
            Some(mask) => Some(take(&(Arc::new(mask.clone()) as ArrayRef))?.as_boolean().clone()),
            None => None,
        };
        Ok(Arguments { values, filter })
    }
}

impl Aggregate {
    pub fn new(plan: &Arc<Aggregation>, shared: &Shared) -> Result<Aggregate> {
        let state = if plan.groups.is_empty() {
            let accumulators = plan.functions.iter().map(|f| f.create_accumulator()).collect::<Result<_, _>>();
            State::Total(accumulators.map_err(EngineError::from)?)
        } else {
            let fields = plan.schema.fields().iter().take(plan.groups.len());
            let codec = KeyCodec::new(fields.map(|field| field.as_ref().clone()).collect())?;
            let directory = Directory { bits: 0, index: vec![0], parts: vec![Part::new(plan, &codec, 0)?] };
            State::Grouped { codec, directory }
        };
        let account = shared.account("hash aggregation");
        Ok(Aggregate { plan: plan.clone(), account, state, ready: VecDeque::new(), pushed: 0 })
    }

    /// Takes a slice in. What comes back is of parts that were given out.
    pub fn push(&mut self, batch: &RecordBatch, shared: &Shared) -> Result<Option<RecordBatch>> {
        let arguments = self.arguments(batch, shared)?;
        let plan = self.plan.clone();
        match &mut self.state {
            State::Over => return Err(EngineError::internal("rows after the end of an aggregation")),
            State::Total(accumulators) => total(accumulators, &plan, &arguments).map_err(|e| shared.error_of(e))?,
            State::Grouped { codec, directory } => {
                let columns = plan.groups.iter().map(|e| evaluate(e, batch, shared)).collect::<Result<Vec<_>>>()?;
                let keys = codec.encode(&columns, batch.num_rows())?;
                let hashes = keys.hashes();
                directory.push(&plan, &keys, &hashes, &arguments)?;
                directory.relieve(&plan, codec, &mut self.ready)?;
            }
        }
        self.pushed += 1;
        if self.pushed % 16 == 1 {
            self.account.try_resize(self.bytes()).map_err(|e| shared.error_of(e))?;
        }
        Ok(self.ready.pop_front())
    }

    /// Rows kept back: those given out early, then part by part.
    pub fn drain(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            match &mut self.state {
                State::Over => return Ok(None),
                State::Total(accumulators) => {
                    let batch = total_row(accumulators, &self.plan)?;
                    self.state = State::Over;
                    return Ok(Some(batch));
                }
                State::Grouped { codec, directory } => match directory.parts.pop() {
                    None => {
                        self.state = State::Over;
                        self.account.free();
                    }
                    Some(part) if part.table.len() == 0 => (),
                    Some(mut part) => return given_out(&mut part, &self.plan, codec).map(Some),
                },
            }
        }
    }

    fn bytes(&self) -> usize {
        match &self.state {
            State::Total(accumulators) => accumulators.iter().map(|a| a.size()).sum(),
            State::Grouped { directory, .. } => directory.parts.iter().map(Part::bytes).sum(),
            State::Over => 0,
        }
    }

    /// The arguments of each function: its expressions over raw rows, or its state columns.
    fn arguments(&self, batch: &RecordBatch, shared: &Shared) -> Result<Vec<Arguments>> {
        let value = |expr: &Arc<dyn PhysicalExpr>| evaluate(expr, batch, shared);
        let mut state = self.plan.groups.len();
        let mut all = Vec::with_capacity(self.plan.functions.len());
        for (function, condition) in self.plan.functions.iter().zip(&self.plan.filters) {
            if self.plan.half == Half::Final {
                let width = function.state_fields().map_err(EngineError::from)?.len();
                let values = batch.columns()[state..state + width].to_vec();
                state += width;
                all.push(Arguments { values, filter: None });
                continue;
            }
            let values = function.expressions().iter().map(value).collect::<Result<_>>()?;
            let filter = match condition {
                Some(condition) => Some(value(condition)?.as_boolean().clone()),
                None => None,
            };
            all.push(Arguments { values, filter });
        }
        Ok(all)
    }
}

fn total(
    accumulators: &mut [Box<dyn Accumulator>],
    plan: &Aggregation,
    arguments: &[Arguments],
) -> datafusion::common::Result<()> {
    for (accumulator, Arguments { values, filter: mask }) in accumulators.iter_mut().zip(arguments) {
        match (plan.half, mask) {
            (Half::Final, _) => accumulator.merge_batch(values)?,
            (_, None) => accumulator.update_batch(values)?,
            (_, Some(mask)) => {
                let kept = values.iter().map(|v| filter(v, mask)).collect::<Result<Vec<_>, _>>()?;
                accumulator.update_batch(&kept)?;
            }
        }
    }
    Ok(())
}

fn total_row(accumulators: &mut [Box<dyn Accumulator>], plan: &Aggregation) -> Result<RecordBatch> {
    let mut columns = Vec::new();
    for accumulator in accumulators {
        let values = match plan.half {
            Half::Partial => accumulator.state(),
            Half::Final | Half::Whole => accumulator.evaluate().map(|value| vec![value]),
        };
        for value in values.map_err(EngineError::from)? {
            columns.push(value.to_array().map_err(EngineError::from)?);
        }
    }
    batch_of(plan, columns, 1)
}

fn batch_of(plan: &Aggregation, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(plan.schema.clone(), columns, &options).map_err(EngineError::internal)
}

/// All groups of a part as rows. The part is of no use afterwards.
fn given_out(part: &mut Part, plan: &Aggregation, codec: &KeyCodec) -> Result<RecordBatch> {
    let mut columns = part.table.columns(codec)?;
    for accumulator in &mut part.accumulators {
        match plan.half {
            Half::Partial => columns.extend(accumulator.state(EmitTo::All).map_err(EngineError::from)?),
            Half::Final | Half::Whole => columns.push(accumulator.evaluate(EmitTo::All).map_err(EngineError::from)?),
        }
    }
    batch_of(plan, columns, part.table.len())
}

impl Directory {
    fn push(&mut self, plan: &Aggregation, keys: &Keys, hashes: &[u64], arguments: &[Arguments]) -> Result<()> {
        if let [part] = self.parts.as_mut_slice() {
            let rows: Vec<usize> =
                hashes.iter().enumerate().map(|(row, &hash)| part.table.number(hash, keys, row)).collect();
            return add(part, plan.half == Half::Final, &rows, arguments);
        }
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); self.parts.len()];
        for (row, &hash) in (0u32..).zip(hashes) {
            lists[self.part_of(hash)].push(row);
        }
        for (part, rows) in self.parts.iter_mut().zip(lists).filter(|(_, rows)| !rows.is_empty()) {
            let groups: Vec<usize> =
                rows.iter().map(|&row| part.table.number(hashes[row as usize], keys, row as usize)).collect();
            let rows = UInt32Array::from(rows);
            let taken = arguments.iter().map(|a| a.taken(&rows)).collect::<Result<Vec<_>>>()?;
            add(part, plan.half == Half::Final, &groups, &taken)?;
        }
        Ok(())
    }

    fn part_of(&self, hash: u64) -> usize {
        let slot = if self.bits == 0 { 0 } else { hash >> (64 - self.bits) };
        self.index[slot as usize] as usize
    }

    /// Gives full parts out, or splits them.
    fn relieve(&mut self, plan: &Aggregation, codec: &KeyCodec, ready: &mut VecDeque<RecordBatch>) -> Result<()> {
        for at in 0..self.parts.len() {
            if self.parts[at].table.len() < GROUPS_MAX {
                continue;
            }
            if plan.half == Half::Partial {
                let bits = self.parts[at].bits;
                let mut full = std::mem::replace(&mut self.parts[at], Part::new(plan, codec, bits)?);
                ready.push_back(given_out(&mut full, plan, codec)?);
            } else {
                self.split(at, plan, codec)?;
            }
        }
        Ok(())
    }

    /// Replaces a part by eight that share its groups.
    fn split(&mut self, at: usize, plan: &Aggregation, codec: &KeyCodec) -> Result<()> {
        let old_bits = self.parts[at].bits;
        let bits = old_bits + SPLIT_BITS;
        let mut full = std::mem::replace(&mut self.parts[at], Part::new(plan, codec, bits)?);
        let columns = full.table.columns(codec)?;
        let keys = codec.encode(&columns, full.table.len())?;
        let hashes = keys.hashes();
        let mut states = Vec::with_capacity(full.accumulators.len());
        for accumulator in &mut full.accumulators {
            let values = accumulator.state(EmitTo::All).map_err(EngineError::from)?;
            states.push(Arguments { values, filter: None });
        }
        drop(full);
        self.widen(bits);
        let first = self.parts.len();
        for _ in 1..1 << SPLIT_BITS {
            self.parts.push(Part::new(plan, codec, bits)?);
        }
        for slot in 0..self.index.len() {
            if self.index[slot] as usize == at {
                let child = (slot >> (self.bits - bits)) & ((1 << SPLIT_BITS) - 1);
                self.index[slot] = if child == 0 { at } else { first + child - 1 } as u32;
            }
        }
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); 1 << SPLIT_BITS];
        for (row, &hash) in (0u32..).zip(&hashes) {
            lists[(hash >> (64 - bits)) as usize & ((1 << SPLIT_BITS) - 1)].push(row);
        }
        for (child, rows) in lists.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let part = &mut self.parts[if child == 0 { at } else { first + child - 1 }];
            let groups: Vec<usize> =
                rows.iter().map(|&row| part.table.number(hashes[row as usize], &keys, row as usize)).collect();
            let rows = UInt32Array::from(rows);
            let taken = states.iter().map(|a| a.taken(&rows)).collect::<Result<Vec<_>>>()?;
            add(part, true, &groups, &taken)?;
        }
        Ok(())
    }

    /// Makes the directory tell at least `bits` bits apart.
    fn widen(&mut self, bits: u32) {
        while self.bits < bits {
            self.index = self.index.iter().flat_map(|&part| [part, part]).collect();
            self.bits += 1;
        }
    }
}

/// Adds rows, or states, to the groups of a part.
fn add(part: &mut Part, states: bool, groups: &[usize], arguments: &[Arguments]) -> Result<()> {
    let total = part.table.len();
    for (accumulator, Arguments { values, filter }) in part.accumulators.iter_mut().zip(arguments) {
        let added = match states {
            true => accumulator.merge_batch(values, groups, total),
            false => accumulator.update_batch(values, groups, filter.as_ref(), total),
        };
        added.map_err(EngineError::from)?;
    }
    Ok(())
}
