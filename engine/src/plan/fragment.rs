//! What planning gives: fragments, each of which runs in one partition per core or once on the session's core, and the exchanges that
//! carry rows between them. Frozen and `Send`: state of a run lives in `exec`.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::physical_planning_context::{ScalarSubqueryResults, SubqueryIndex};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use starling_storage::ids::TabletId;

use super::lanes::{Input, Pipeline};
use super::placement::Routing;
use super::scan::ScanExec;

/// Position of an exchange in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExchangeId(pub usize);

/// Which cores run a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Every core: partition p on core p.
    EveryCore,
    /// The session's core: partition 0.
    Coordinator,
}

/// Where an exchange sends a row.
#[derive(Clone, Debug)]
pub enum Route {
    /// To the session's core.
    Gather,
    /// To one hash table that every core reads.
    Broadcast,
    /// To the core of the hash of some expressions.
    Hash {
        /// Expressions over the sender's rows.
        keys: Vec<Arc<dyn PhysicalExpr>>,
        /// Hash to core.
        routing: Routing,
        /// The routing is that of a table's buckets.
        towards_buckets: bool,
    },
    /// To the session's core, each sender's rows apart and in order.
    Merge,
    /// From one lane to the other of the same core.
    Local,
}

/// Rows on their way from one fragment to another.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Where rows go.
    pub route: Route,
    /// What they look like.
    pub schema: SchemaRef,
}

/// A part of a plan that runs without exchange.
#[derive(Debug)]
pub struct Fragment {
    /// Who runs it.
    pub at: At,
    /// Its operators; the leaves are scans (fast lane only) and sources.
    pub plan: Arc<dyn ExecutionPlan>,
    /// The fast lane's form of `plan`; `None`: it runs in the slow lane.
    pub pipeline: Option<Pipeline>,
    /// Where its rows go.
    pub output: ExchangeId,
}

impl Fragment {
    /// The cores that run it, when the session is on `coordinator`. A scan does not run where it has nothing to read.
    pub fn cores(&self, cores: u16, coordinator: u16) -> Vec<u16> {
        if self.at == At::Coordinator {
            return vec![coordinator];
        }
        match self.pipeline.as_ref().map(|p| &p.input) {
            Some(Input::Scan(scan)) => {
                (0..cores).filter(|&core| !scan.tablets()[usize::from(core)].is_empty()).collect()
            }
            _ => (0..cores).collect(),
        }
    }

    /// The partition of the plan that a core runs.
    pub fn partition(&self, core: u16) -> usize {
        match self.at {
            At::EveryCore => usize::from(core),
            At::Coordinator => 0,
        }
    }
}

/// An uncorrelated scalar subquery: it runs first, at the same snapshot.
#[derive(Debug)]
pub struct Subquery {
    /// Its plan.
    pub plan: Arc<DistributedPlan>,
    /// Which value it is.
    pub index: SubqueryIndex,
    /// Where the expressions of the main plan find the value.
    pub results: ScalarSubqueryResults,
}

/// A plan for all cores.
#[derive(Debug)]
pub struct DistributedPlan {
    /// How many cores it is for.
    pub cores: u16,
    /// Children before parents.
    pub fragments: Vec<Fragment>,
    /// By [`ExchangeId`].
    pub exchanges: Vec<Exchange>,
    /// The exchange that the client reads.
    pub result: ExchangeId,
    /// What runs first.
    pub subqueries: Vec<Subquery>,
}

impl DistributedPlan {
    /// The schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.exchanges[self.result.0].schema
    }

    /// The tablets that are read, subqueries included.
    pub fn tablets(&self) -> BTreeSet<TabletId> {
        let mut tablets = BTreeSet::new();
        for fragment in &self.fragments {
            // The visitor never fails.
            let _ = fragment.plan.apply(|node| {
                if let Some(scan) = node.downcast_ref::<ScanExec>() {
                    tablets.extend(scan.tablets().iter().flatten());
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        tablets.extend(self.subqueries.iter().flat_map(|subquery| subquery.plan.tablets()));
        tablets
    }

    /// Whether the plan may be kept and run again, also at the same time: values of subqueries are kept in the expressions of the
    /// plan, so a plan that has some runs once.
    pub fn is_reusable(&self) -> bool {
        self.subqueries.is_empty()
    }
}
