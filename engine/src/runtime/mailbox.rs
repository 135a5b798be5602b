//! Lanes between cores (R8), and reply slots.
//!
//! A core has three inboxes, all bounded:
//! - **requests** (stage, turns, labels, DDL) and **queries** (fragments): senders are session, load and query tasks, which may wait;
//! - **control** (numbers, publish, applied, release, kill): senders never wait. It has room for all that can be in flight, because
//!   each core bounds its commits and its other control messages, so a full control lane is a bug, not load.
//!
//! A reply does not travel in a lane: the requester makes its slot before it asks (`reply`). The slot is a one-shot channel without a
//! lock, safe between threads of different priority. Dropping a `Reply` unanswered tells the requester so.

use futures::channel::oneshot;
use starling_storage::ids::CoreId;

use super::fatal::fatal;
use crate::error::{EngineError, Result};
use crate::limits::{COMMITS_IN_FLIGHT_MAX, CONTROL_EXTRA_MAX, QUERY_LANE_MAX, REQUEST_LANE_MAX};
use crate::shard::message::{Control, Query, Request};

/// The answering side of a reply slot.
#[must_use]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Answers. A requester that is gone is no error.
    pub fn send(self, value: T) {
        drop(self.0.send(value));
    }

    /// Whether the requester is gone.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_canceled()
    }
}

/// The waiting side of a reply slot.
pub struct ReplySlot<T>(oneshot::Receiver<T>);

impl<T> ReplySlot<T> {
    /// The answer; an error when the other side went away without one.
    pub async fn recv(self) -> Result<T> {
        self.0.await.map_err(|_| EngineError::unanswered())
    }
}

/// A reply slot for one request.
pub fn reply<T>() -> (Reply<T>, ReplySlot<T>) {
    let (sender, receiver) = oneshot::channel();
    (Reply(sender), ReplySlot(receiver))
}

/// Send side of one core's lanes.
#[derive(Clone)]
pub struct Mailbox {
    core: CoreId,
    requests: flume::Sender<Request>,
    queries: flume::Sender<Query>,
    control: flume::Sender<Control>,
}

/// Receive side.
pub struct Inbox {
    pub requests: flume::Receiver<Request>,
    pub queries: flume::Receiver<Query>,
    pub control: flume::Receiver<Control>,
}

/// The lanes of one core of `cores`.
pub fn mailbox(core: CoreId, cores: u16) -> (Mailbox, Inbox) {
    let (requests, requests_in) = flume::bounded(REQUEST_LANE_MAX);
    let (queries, queries_in) = flume::bounded(QUERY_LANE_MAX);
    // A commit has at most four control messages waiting at one core: number, publish, applied and release.
    let control_max = usize::from(cores) * (4 * COMMITS_IN_FLIGHT_MAX + CONTROL_EXTRA_MAX);
    let (control, control_in) = flume::bounded(control_max);
    let inbox = Inbox { requests: requests_in, queries: queries_in, control: control_in };
    (Mailbox { core, requests, queries, control }, inbox)
}

impl Mailbox {
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// For session, load and query tasks only: waits while the lane is full (R8).
    pub async fn request(&self, message: Request) -> Result<()> {
        self.requests.send_async(message).await.map_err(|_| EngineError::shutting_down())
    }

    /// As `request`.
    pub async fn query(&self, message: Query) -> Result<()> {
        self.queries.send_async(message).await.map_err(|_| EngineError::shutting_down())
    }

    /// Never waits.
    pub fn control(&self, message: Control) {
        match self.control.try_send(message) {
            Ok(()) | Err(flume::TrySendError::Disconnected(_)) => (),
            Err(flume::TrySendError::Full(_)) => {
                fatal("a control lane is full: the bound on commits in flight does not hold")
            }
        }
    }
}
