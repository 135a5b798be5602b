//! How many rows each table has, roughly: what the planner needs to choose the small side of a join. Each core keeps a copy that is at most
//! a few seconds old; a statement never waits for it but for the first.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use starling_storage::ids::{CoreId, TableId, TabletId};

use super::request::{FragmentRequest, Work};
use crate::error::Result;
use crate::runtime::{Class, reply};
use crate::shard::Core;

/// A copy older than this is renewed, beside the statement that found it so.
const AGE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Copy {
    taken: Cell<Option<Instant>>,
    renewing: Cell<bool>,
    rows: RefCell<Rc<HashMap<TabletId, u64>>>,
}

thread_local! {
    /// This core's copy.
    static COPY: Copy = Copy::default();
}

/// Rows by table, of all tables of this core's catalog whose rows have been counted.
pub async fn row_counts(core: &Rc<Core>) -> HashMap<TableId, u64> {
    let age = COPY.with(|copy| copy.taken.get().map(|at| at.elapsed()));
    match age {
        None => renew(core).await,
        Some(age) if age > AGE => {
            let here = core.clone();
            core.spawn(Class::Background, "row counts", async move { renew(&here).await });
        }
        Some(_) => (),
    }
    let rows = COPY.with(|copy| copy.rows.borrow().clone());
    let catalog = core.catalog();
    let total = |table: &Rc<HashMap<TabletId, u64>>, tablets: &[TabletId]| {
        tablets.iter().map(|t| table.get(t).copied()).sum::<Option<u64>>()
    };
    catalog.all_tables().filter_map(|table| Some((table.id, total(&rows, &table.tablets)?))).collect()
}

/// Asks every core. What fails is left as it was.
async fn renew(core: &Rc<Core>) {
    if COPY.with(|copy| copy.renewing.replace(true)) {
        return;
    }
    let counted = ask(core).await;
    COPY.with(|copy| {
        copy.renewing.set(false);
        if let Ok(counted) = counted {
            copy.taken.set(Some(Instant::now()));
            *copy.rows.borrow_mut() = Rc::new(counted);
        }
    });
}

async fn ask(core: &Rc<Core>) -> Result<HashMap<TabletId, u64>> {
    let mut slots = Vec::new();
    for other in (0..core.cores()).map(CoreId).filter(|&other| other != core.id()) {
        let (answer, slot) = reply();
        core.send_fragment(other, FragmentRequest(Work::Count(answer))).await?;
        slots.push(slot);
    }
    let mut rows: HashMap<TabletId, u64> = here(core).into_iter().collect();
    for slot in slots {
        rows.extend(slot.recv().await?);
    }
    Ok(rows)
}

/// Rows of this core's tablets.
pub(super) fn here(core: &Core) -> Vec<(TabletId, u64)> {
    let catalog = core.catalog();
    let tablets = catalog.all_tables().flat_map(|table| table.tablets.iter().copied());
    tablets.filter_map(|id| Some((id, core.tablet(id)?.stats().live_rows))).collect()
}
