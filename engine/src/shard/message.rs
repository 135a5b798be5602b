//! What crosses between cores. Everything is `Send`: ids, frozen buffers and reply slots, never references.

use std::rc::Rc;

use super::Core;
use crate::exec::FragmentRequest;

/// From tasks that may wait (sessions, loads, queries).
pub enum Request {}

/// Of a running query.
pub enum Query {
    /// Start a fragment here. `exec` answers it.
    Fragment(FragmentRequest),
}

/// Served first, never waits.
pub enum Control {
    /// Run this on the core: how the outside (`Node`) reaches in.
    Run(Box<dyn FnOnce(&Rc<Core>) + Send>),
}
