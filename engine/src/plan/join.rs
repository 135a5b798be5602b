//! Join modes. In this order: both inputs on one core; colocated, when equal keys are on one core already; one small side broadcast to
//! a table that all cores read; towards the buckets of the side that is bucketed by join keys; both sides by hash.
//!
//! The left input of a join is its build side. With a broadcast all partitions of the one plan share the build table, which is what
//! makes unmatched build rows come out once; so such joins are right for every join type.

use std::sync::Arc;

use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, execution_plan::replace_children_if_necessary};

use super::distribute::{Node, Pass, class_of};
use super::placement::{Bucketed, Distribution, Routing, hashed_column};

type Keys = Vec<Arc<dyn PhysicalExpr>>;

/// The two sides' keys, as expressions and as the columns whose hash they keep.
struct JoinKeys {
    left: Keys,
    right: Keys,
    left_columns: Vec<Option<usize>>,
    right_columns: Vec<Option<usize>>,
}

impl JoinKeys {
    fn of(join: &HashJoinExec, left: &Node, right: &Node) -> JoinKeys {
        let (l, r): (Keys, Keys) = join.on().iter().cloned().unzip();
        let columns = |keys: &Keys, node: &Node| keys.iter().map(|k| hashed_column(k, &node.plan.schema())).collect();
        JoinKeys { left_columns: columns(&l, left), right_columns: columns(&r, right), left: l, right: r }
    }

    /// Whether equal keys of both sides are on one core: per hashed position one join key that is that position on both sides.
    fn colocated(&self, left: &Node, right: &Node) -> bool {
        let (Some(l), Some(r)) = (left.at.bucketed(), right.at.bucketed()) else { return false };
        let together = |(a, b): (&Vec<usize>, &Vec<usize>)| {
            let pairs = self.left_columns.iter().zip(&self.right_columns);
            pairs.into_iter().any(|(x, y)| x.is_some_and(|x| a.contains(&x)) && y.is_some_and(|y| b.contains(&y)))
        };
        l.routing == r.routing && l.classes == r.classes && l.columns.iter().zip(&r.columns).all(together)
    }

    /// The keys of the other side by which its rows find the buckets of this one; `None` when it is not bucketed by join keys.
    fn towards(
        bucketed: Option<&Bucketed>,
        columns: &[Option<usize>],
        other: &Keys,
        other_node: &Node,
    ) -> Option<Keys> {
        let bucketed = bucketed?;
        let keys: Keys = bucketed.within(columns)?.into_iter().map(|k| other[k].clone()).collect();
        let classes: Option<Vec<_>> = keys.iter().map(|key| class_of(key, &other_node.plan)).collect();
        (classes.as_ref() == Some(&bucketed.classes)).then_some(keys)
    }
}

impl Pass<'_> {
    pub(super) fn hash_join(&mut self, join: &HashJoinExec, left: Node, right: Node) -> Result<Node> {
        let rows = joined_rows(*join.join_type(), left.rows, right.rows);
        if join.null_aware {
            // One NULL on the probe side decides about every row, so all of it must be seen in one place.
            let (left, right) = (self.gather(left)?, self.gather(right)?);
            return one_core(join, left, right, rows);
        }
        if left.at.is_one() && right.at.is_one() {
            return one_core(join, left, right, rows);
        }
        let keys = JoinKeys::of(join, &left, &right);
        if keys.colocated(&left, &right) {
            return partitioned(join, left, right, rows);
        }
        match self.broadcast_side(&left, &right) {
            Some(Side::Left) => return self.broadcast_join(join, left, right, rows),
            Some(Side::Right) => return self.broadcast_join_swapped(join, left, right, rows),
            None => (),
        }
        if let Some(towards) = JoinKeys::towards(left.at.bucketed(), &keys.left_columns, &keys.right, &right) {
            let routing =
                left.at.bucketed().map(|b| b.routing.clone()).unwrap_or_else(|| Routing::by_core(self.context.cores));
            let right = self.hash(right, towards, routing, true)?;
            return partitioned(join, left, right, rows);
        }
        if let Some(towards) = JoinKeys::towards(right.at.bucketed(), &keys.right_columns, &keys.left, &left) {
            let routing =
                right.at.bucketed().map(|b| b.routing.clone()).unwrap_or_else(|| Routing::by_core(self.context.cores));
            let left = self.hash(left, towards, routing, true)?;
            return partitioned(join, left, right, rows);
        }
        let hashable = |(l, r): &(&Arc<dyn PhysicalExpr>, &Arc<dyn PhysicalExpr>)| {
            let class = class_of(l, &left.plan);
            class.is_some() && class == class_of(r, &right.plan)
        };
        let (l, r): (Keys, Keys) =
            keys.left.iter().zip(&keys.right).filter(hashable).map(|(l, r)| (l.clone(), r.clone())).unzip();
        if l.is_empty() {
            return self.broadcast_join(join, left, right, rows);
        }
        let routing = Routing::by_core(self.context.cores);
        let left = self.hash(left, l, routing.clone(), false)?;
        let right = self.hash(right, r, routing, false)?;
        partitioned(join, left, right, rows)
    }

    /// Joins without equal keys: the left input is one table that all cores read.
    pub(super) fn loop_join(&mut self, plan: Arc<dyn ExecutionPlan>, left: Node, right: Node) -> Result<Node> {
        let rows = left.rows.zip(right.rows).map(|(l, r)| l * r);
        if left.at.is_one() && right.at.is_one() {
            let plan = replace_children_if_necessary(plan, vec![left.plan, right.plan])?;
            return Ok(Node { plan, at: Distribution::One, rows });
        }
        let right_is_build = right.at.is_one() || right.rows.unwrap_or(f64::MAX) < left.rows.unwrap_or(f64::MAX);
        let (l, r) = if right_is_build {
            (left.plan.clone(), self.broadcast(right)?)
        } else {
            let right = if right.at.is_one() { self.gather(left.clone())? } else { right };
            (self.broadcast(left.clone())?, right.plan)
        };
        let join = replace_children_if_necessary(plan, vec![l, r])?;
        if !right_is_build {
            return Ok(Node { plan: join, at: Distribution::Spread(None), rows });
        }
        let swapped = match (join.downcast_ref::<NestedLoopJoinExec>(), join.downcast_ref::<CrossJoinExec>()) {
            (Some(join), _) => join.swap_inputs()?,
            (_, Some(join)) => join.swap_inputs()?,
            _ => join,
        };
        let at = if left.at.is_one() { Distribution::One } else { Distribution::Spread(None) };
        Ok(Node { plan: swapped, at, rows })
    }

    fn broadcast_side(&self, left: &Node, right: &Node) -> Option<Side> {
        let max = self.context.broadcast_rows_max as f64;
        let small = |node: &Node| node.rows.filter(|rows| *rows <= max);
        match (small(left), small(right)) {
            (Some(l), Some(r)) if l <= r => Some(Side::Left),
            (Some(_), None) => Some(Side::Left),
            (_, Some(_)) => Some(Side::Right),
            (None, None) => None,
        }
    }

    fn broadcast_join(&mut self, join: &HashJoinExec, left: Node, right: Node, rows: Option<f64>) -> Result<Node> {
        if right.at.is_one() {
            let left = self.gather(left)?;
            return one_core(join, left, right, rows);
        }
        let at = probe_distribution(*join.join_type(), &left, &right);
        let left = self.broadcast(left)?;
        Ok(Node { plan: rebuilt(join, left, right.plan, PartitionMode::CollectLeft)?, at, rows })
    }

    fn broadcast_join_swapped(
        &mut self,
        join: &HashJoinExec,
        left: Node,
        right: Node,
        rows: Option<f64>,
    ) -> Result<Node> {
        if left.at.is_one() {
            let right = self.gather(right)?;
            return one_core(join, left, right, rows);
        }
        let at = match *join.join_type() {
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                left.at.clone()
            }
            _ => Distribution::Spread(None),
        };
        let right = self.broadcast(right)?;
        let join = joined(join, left.plan, right, PartitionMode::CollectLeft)?;
        Ok(Node { plan: join.swap_inputs(PartitionMode::CollectLeft)?, at, rows })
    }
}

enum Side {
    Left,
    Right,
}

/// Where the rows of a join lie when its right input stays where it is and the left one is everywhere.
fn probe_distribution(join_type: JoinType, left: &Node, right: &Node) -> Distribution {
    let width = left.plan.schema().fields().len();
    match join_type {
        JoinType::Inner | JoinType::Right => shifted(&right.at, width),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.at.clone(),
        _ => Distribution::Spread(None),
    }
}

/// A side's distribution in terms of the join's output, where its columns come after `by` others.
fn shifted(at: &Distribution, by: usize) -> Distribution {
    let Some(bucketed) = at.bucketed() else { return at.clone() };
    let columns = bucketed.columns.iter().map(|list| list.iter().map(|c| c + by).collect()).collect();
    Distribution::Spread(Some(Bucketed { columns, ..bucketed.clone() }))
}

/// Both inputs are on one core.
fn one_core(join: &HashJoinExec, left: Node, right: Node, rows: Option<f64>) -> Result<Node> {
    let swap = smaller_right(&left, &right) && !join.null_aware;
    let join = joined(join, left.plan, right.plan, PartitionMode::CollectLeft)?;
    let plan = if swap { join.swap_inputs(PartitionMode::CollectLeft)? } else { Arc::new(join) };
    Ok(Node { plan, at: Distribution::One, rows })
}

/// Each core joins its own parts of both inputs.
fn partitioned(join: &HashJoinExec, left: Node, right: Node, rows: Option<f64>) -> Result<Node> {
    let width = left.plan.schema().fields().len();
    let at = match *join.join_type() {
        JoinType::Inner => both(&left.at, &shifted(&right.at, width)),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left.at.clone(),
        JoinType::Right => shifted(&right.at, width),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right.at.clone(),
        JoinType::Full => Distribution::Spread(None),
    };
    let swap = smaller_right(&left, &right);
    let join = joined(join, left.plan, right.plan, PartitionMode::Partitioned)?;
    let plan = if swap { join.swap_inputs(PartitionMode::Partitioned)? } else { Arc::new(join) };
    Ok(Node { plan, at, rows })
}

/// Inner joins make the key columns of both sides equal, so either side's columns tell the core.
fn both(left: &Distribution, right: &Distribution) -> Distribution {
    match (left.bucketed(), right.bucketed()) {
        (Some(l), Some(r)) if l.routing == r.routing && l.columns.len() == r.columns.len() => {
            let columns =
                l.columns.iter().zip(&r.columns).map(|(a, b)| [a.as_slice(), b.as_slice()].concat()).collect();
            Distribution::Spread(Some(Bucketed { columns, ..l.clone() }))
        }
        (Some(_), _) => left.clone(),
        _ => right.clone(),
    }
}

fn smaller_right(left: &Node, right: &Node) -> bool {
    match (left.rows, right.rows) {
        (Some(l), Some(r)) => r < l,
        (None, Some(_)) => true,
        _ => false,
    }
}

fn joined(
    join: &HashJoinExec,
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    mode: PartitionMode,
) -> Result<HashJoinExec> {
    join.builder().with_new_children(vec![left, right])?.with_partition_mode(mode).recompute_properties().build()
}

fn rebuilt(
    join: &HashJoinExec,
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    mode: PartitionMode,
) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(joined(join, left, right, mode)?))
}

/// Rows that come out of a join, by the usual assumption that the bigger side's keys refer to the smaller one's.
fn joined_rows(join_type: JoinType, left: Option<f64>, right: Option<f64>) -> Option<f64> {
    match join_type {
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left,
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right,
        _ => left.zip(right).map(|(l, r)| l.max(r)),
    }
}
