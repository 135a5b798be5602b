//! Plans of statements that came before, by their text and, of prepared ones, by what their parameters are: a dashboard that refreshes asks the same
//! every time. One cache a core.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use starling_storage::ids::Seq;

use crate::limits::{CACHED_PLANS_MAX, CACHED_STATEMENT_BYTES_MAX};
use crate::sql::bind::PlannedQuery;
use crate::sql::template::Template;

/// After this long a plan is made again: tables have grown since.
const AGE_MAX: Duration = Duration::from_secs(30);

/// What a plan depends on besides the text. Privileges are checked before, each time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub text: String,
    /// What the plan takes for granted of the parameters: types of those it can be run with other values of, values of the others.
    pub params: String,
    pub database: Option<String>,
    /// Version of the catalog.
    pub catalog: Seq,
    /// Values of the variables that planning reads.
    pub variables: String,
}

/// What is kept.
#[derive(Clone)]
pub(super) enum Cached {
    Plan(PlannedQuery),
    /// Some parameters are placeholders.
    Template(Arc<Template>),
}

struct Entry {
    plan: Cached,
    made: Instant,
    used: u64,
}

#[derive(Default)]
struct Cache {
    entries: HashMap<Key, Entry>,
    clock: u64,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Whether a text may be kept, with what is said of its parameters.
pub(super) fn is_eligible(text: &str, params: &str) -> bool {
    text.len() + params.len() <= CACHED_STATEMENT_BYTES_MAX
}

pub(super) fn get(key: &Key) -> Option<Cached> {
    CACHE.with_borrow_mut(|cache| {
        cache.clock += 1;
        let clock = cache.clock;
        let entry = cache.entries.get_mut(key)?;
        if entry.made.elapsed() > AGE_MAX {
            cache.entries.remove(key);
            return None;
        }
        entry.used = clock;
        Some(entry.plan.clone())
    })
}

pub(super) fn put(key: Key, plan: Cached) {
    CACHE.with_borrow_mut(|cache| {
        if cache.entries.len() >= CACHED_PLANS_MAX {
            // The least recently used tenth goes, so that this happens rarely.
            let mut used: Vec<u64> = cache.entries.values().map(|e| e.used).collect();
            used.sort_unstable();
            let bound = used[used.len() / 10];
            cache.entries.retain(|_, entry| entry.used > bound);
        }
        let used = cache.clock;
        cache.entries.insert(key, Entry { plan, made: Instant::now(), used });
    });
}
