//! What a core tells others about itself: numbers for `/metrics`, and how far its tablets are flushed.

use std::rc::Rc;

use starling_storage::ids::{Seq, TabletId};

use super::Core;
use super::message::FlushedThrough;
use crate::metrics::{CoreReport, TabletTotals};

/// Everything `/metrics` says of this core.
pub(super) fn report(core: &Rc<Core>) -> CoreReport {
    let mut tablets = TabletTotals::default();
    for (_, tablet) in core.tablets.all() {
        let stats = tablet.stats();
        tablets.count += 1;
        tablets.live_rows += stats.live_rows;
        tablets.dead_rows += stats.dead_rows;
        tablets.memtable_rows += stats.memtable_rows;
        tablets.files += stats.files as u64;
        tablets.file_bytes += stats.file_bytes;
        tablets.memory_bytes += stats.memory_bytes as u64;
        tablets.index_bytes += stats.index_bytes as u64;
    }
    let (pins, oldest) = core.pins_held();
    let watermark = core.watermark();
    CoreReport {
        core: core.id().0,
        counters: core.metrics().snapshot(),
        tablets,
        cache: core.cache.stats(),
        log: core.log().stats(),
        write_memory: core.write_memory() as u64,
        write_memory_max: core.budgets().write as u64,
        staged: core.staged.len() as u64,
        sessions: core.sessions().len() as u64,
        pins: pins as u64,
        pins_expired: core.pins_expired(),
        pin_age: watermark.0 - oldest.unwrap_or(watermark).0,
        watermark,
        commits_in_flight: core.commits_in_flight() as u64,
        numbers_in_flight: core.sequencer.as_ref().map_or(0, |s| s.in_flight()),
        polls: core.polls.count(),
        long_polls: core.polls.long(),
        longest_poll_micros: core.polls.longest_micros(),
        held: core.polls.held(),
        stalls: core.polls.stalls(),
        gaps: core.polls.gaps(),
        pauses: core.busy.pauses(),
    }
}

/// F of every live tablet, as the disk has it (R15). One without an edit has none of its rows in files.
pub(super) fn flushed_through(core: &Rc<Core>) -> FlushedThrough {
    let flushed = |id| core.manifest.flushed(id).unwrap_or(Seq::ZERO);
    let mut tablets: Vec<_> = core.tablets.all().into_iter().map(|(id, _)| (id, flushed(id))).collect();
    tablets.extend(core.catalog_log().map(|log| (TabletId::CATALOG, log.flushed())));
    FlushedThrough { tablets, mark: core.manifest.mark() }
}
