//! The connections of a core. An id carries its core, so that KILL finds it from anywhere (design 6.8).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use starling_storage::ids::CoreId;

use crate::error::{EngineError, Result};
use crate::limits::SESSIONS_MAX;

/// Bits of a connection id below the core's.
const COUNTER_BITS: u32 = 24;

/// What others may do to a session.
pub trait SessionControl {
    /// KILL QUERY stops the running statement; KILL ends the connection too.
    fn kill(&self, query_only: bool);
    /// A line of SHOW PROCESSLIST; the id is filled in by the registry.
    fn describe(&self) -> ProcessInfo;
}

/// One line of SHOW PROCESSLIST.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    pub id: u32,
    pub user: String,
    pub host: String,
    pub db: Option<String>,
    pub command: String,
    /// Seconds in this state.
    pub seconds: u64,
    pub state: String,
    /// The running statement.
    pub info: Option<String>,
}

/// The connections of this core.
pub struct Sessions {
    core: CoreId,
    next: Cell<u32>,
    open: RefCell<BTreeMap<u32, Weak<dyn SessionControl>>>,
}

/// A registered connection; it leaves the registry when this drops.
pub struct SessionSlot {
    id: u32,
    of: Rc<Sessions>,
}

impl SessionSlot {
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Tells the registry whom to kill and to describe.
    pub fn attach(&self, session: Weak<dyn SessionControl>) {
        self.of.open.borrow_mut().insert(self.id, session);
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        self.of.open.borrow_mut().remove(&self.id);
    }
}

struct Nobody;

impl SessionControl for Nobody {
    fn kill(&self, _query_only: bool) {}

    fn describe(&self) -> ProcessInfo {
        ProcessInfo::default()
    }
}

impl Sessions {
    pub fn new(core: CoreId) -> Rc<Sessions> {
        Rc::new(Sessions { core, next: Cell::new(1), open: RefCell::new(BTreeMap::new()) })
    }

    /// The core that a connection id belongs to.
    pub fn core_of(id: u32) -> CoreId {
        CoreId((id >> COUNTER_BITS) as u16)
    }

    /// A new connection id. `attach` follows once the session exists.
    pub fn register(self: &Rc<Sessions>) -> Result<SessionSlot> {
        let mut open = self.open.borrow_mut();
        if open.len() >= SESSIONS_MAX {
            return Err(EngineError::limit(
                "SESSIONS_MAX",
                format!("{SESSIONS_MAX} connections on core {}", self.core),
            ));
        }
        let mask = (1 << COUNTER_BITS) - 1;
        let id = loop {
            let counter = self.next.get() & mask;
            self.next.set(counter + 1);
            let id = u32::from(self.core.0) << COUNTER_BITS | counter;
            if counter > 0 && !open.contains_key(&id) {
                break id;
            }
        };
        open.insert(id, Weak::<Nobody>::new());
        Ok(SessionSlot { id, of: self.clone() })
    }

    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kills a connection of this core, or its statement. False: there is none of this id.
    pub fn kill(&self, id: u32, query_only: bool) -> bool {
        let session = self.open.borrow().get(&id).and_then(Weak::upgrade);
        if let Some(session) = &session {
            session.kill(query_only);
        }
        session.is_some()
    }

    /// Ends every connection: the node stops.
    pub fn kill_all(&self) {
        let sessions: Vec<_> = self.open.borrow().values().filter_map(Weak::upgrade).collect();
        sessions.iter().for_each(|session| session.kill(false));
    }

    /// The process list of this core.
    pub fn list(&self) -> Vec<ProcessInfo> {
        let sessions: Vec<_> = self.open.borrow().iter().filter_map(|(id, s)| Some((*id, s.upgrade()?))).collect();
        sessions.into_iter().map(|(id, session)| ProcessInfo { id, ..session.describe() }).collect()
    }
}
