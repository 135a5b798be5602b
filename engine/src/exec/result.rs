//! `ResultStream`: the rows of a query on the session's core. It pulls, so a slow client slows the query down; it watches the time and the
//! cancel flag; dropping it ends the query.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::{Either, select};

use super::budget::Admission;
use super::channel::Inlet;
use super::profile::FragmentProfile;
use super::query::{QueryHandle, Shared};
use super::site::SiteRef;
use crate::error::{EngineError, Result};

/// How soon a cancel is seen while no rows come: a client has its error within 10 ms of KILL QUERY (design 6.8).
const LOOK: Duration = Duration::from_millis(4);

/// Rows of a running query.
pub struct ResultStream {
    site: Option<SiteRef>,
    schema: SchemaRef,
    /// Rows that were there from the start.
    ready: VecDeque<RecordBatch>,
    inlet: Inlet,
    shared: Option<Arc<Shared>>,
    query: Option<QueryHandle>,
    admission: Option<Admission>,
    fragments: usize,
    over: bool,
}

impl ResultStream {
    pub(super) fn new(
        site: SiteRef,
        schema: SchemaRef,
        inlet: Inlet,
        shared: Arc<Shared>,
        query: QueryHandle,
        admission: Admission,
        fragments: usize,
    ) -> ResultStream {
        let (site, shared, query, admission) = (Some(site), Some(shared), Some(query), Some(admission));
        ResultStream { site, schema, ready: VecDeque::new(), inlet, shared, query, admission, fragments, over: false }
    }

    /// A stream of rows that are there already (SHOW, DESC, point reads).
    pub fn of(schema: SchemaRef, batches: Vec<RecordBatch>) -> ResultStream {
        let inlet = Inlet::new(Vec::new(), Arc::default());
        let ready = batches.into();
        ResultStream {
            site: None,
            schema,
            ready,
            inlet,
            shared: None,
            query: None,
            admission: None,
            fragments: 0,
            over: false,
        }
    }

    /// What the rows look like.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; `None` at the end. After an error there are no more.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.over {
            return None;
        }
        if let Some(batch) = self.ready.pop_front() {
            return Some(Ok(batch));
        }
        let next = self.wait().await;
        if !matches!(next, Some(Ok(_))) {
            self.end();
        }
        next
    }

    async fn wait(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if let (Some(shared), Some(query)) = (&self.shared, &self.query) {
                if let Err(error) = shared.check() {
                    return Some(Err(error));
                }
                if query.left() == Some(Duration::ZERO) {
                    return Some(Err(EngineError::query_timeout(query.timeout.unwrap_or_default().as_secs())));
                }
            }
            let next = match &self.site {
                None => self.inlet.next().await,
                Some(site) => match select(pin!(self.inlet.next()), pin!(site.sleep(LOOK))).await {
                    Either::Left((next, _)) => next,
                    Either::Right(_) => continue,
                },
            };
            // Senders of a query that failed go away too.
            let failed = self.shared.as_ref().and_then(|shared| shared.check().err());
            return match (next, failed) {
                (_, Some(error)) => Some(Err(error)),
                (next, None) => next.map(Ok),
            };
        }
    }

    /// Ends the query and lets go of its snapshot.
    fn end(&mut self) {
        self.over = true;
        if let Some(shared) = &self.shared {
            shared.stop();
        }
        self.inlet = Inlet::new(Vec::new(), Arc::default());
        self.query = None;
        self.admission = None;
    }

    /// Profiles of all fragments, once they have ended; those that are still busy after a second are left out.
    pub(super) async fn profiles(&self) -> Vec<FragmentProfile> {
        let (Some(site), Some(profile)) = (&self.site, self.shared.as_ref().and_then(|s| s.profile.as_ref())) else {
            return Vec::new();
        };
        for _ in 0..250 {
            if profile.len() >= self.fragments {
                break;
            }
            site.sleep(LOOK).await;
        }
        profile.take()
    }
}

impl Drop for ResultStream {
    fn drop(&mut self) {
        if !self.over {
            self.end();
        }
    }
}
