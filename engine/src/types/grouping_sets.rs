//! Expressions inside GROUPING SETS, ROLLUP and CUBE, computed below the aggregation.
//!
//! The outputs of a grouping set are named after its expressions, and an expression in it cannot carry an alias. So one that typing rewrites would lose
//! the name that the SELECT list knows it by. Here it becomes a column of a projection, under that name.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::logical_plan::{Aggregate, Projection};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// `plan`, and when it is an aggregation with grouping sets over expressions, one over columns; `typed` types an expression over the schema of
/// the plan's input.
pub(super) fn over_columns(plan: LogicalPlan, typed: impl Fn(Expr, &DFSchema) -> Result<Expr>) -> Result<LogicalPlan> {
    let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(plan) };
    if !aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let mut computed = Computed::default();
    let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
    let group_expr = group_expr.into_iter().map(|expr| computed.group(expr)).collect();
    let aggr_expr = aggr_expr.into_iter().map(|expr| computed.aggregate(expr)).collect::<Result<Vec<_>>>()?;
    let input = if computed.0.is_empty() { input } else { Arc::new(with_columns(input, computed, typed)?) };
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, aggr_expr)?))
}

/// The expressions that become columns, by the name of the column.
#[derive(Default)]
struct Computed(Vec<(String, Expr)>);

impl Computed {
    fn group(&mut self, expr: Expr) -> Expr {
        let Expr::GroupingSet(set) = expr else { return expr };
        Expr::GroupingSet(match set {
            GroupingSet::Rollup(exprs) => GroupingSet::Rollup(self.columns(exprs)),
            GroupingSet::Cube(exprs) => GroupingSet::Cube(self.columns(exprs)),
            GroupingSet::GroupingSets(sets) => {
                GroupingSet::GroupingSets(sets.into_iter().map(|exprs| self.columns(exprs)).collect())
            }
        })
    }

    fn columns(&mut self, exprs: Vec<Expr>) -> Vec<Expr> {
        exprs.into_iter().map(|expr| self.column(expr)).collect()
    }

    fn column(&mut self, expr: Expr) -> Expr {
        if matches!(expr, Expr::Column(_)) {
            return expr;
        }
        let name = expr.schema_name().to_string();
        if !self.0.iter().any(|(known, _)| *known == name) {
            self.0.push((name.clone(), expr));
        }
        Expr::Column(Column::new_unqualified(name))
    }

    /// `grouping(..)` asks about grouping expressions: it has to name them as they are grouped by.
    fn aggregate(&self, expr: Expr) -> Result<Expr> {
        let rewritten = expr.transform_up(|expr| match expr {
            Expr::AggregateFunction(mut call) if call.func.name() == "grouping" => {
                for argument in &mut call.params.args {
                    if let Some((name, _)) = self.0.iter().find(|(_, computed)| computed == argument) {
                        *argument = Expr::Column(Column::new_unqualified(name));
                    }
                }
                Ok(Transformed::yes(Expr::AggregateFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.data)
    }
}

fn with_columns(
    input: Arc<LogicalPlan>,
    computed: Computed,
    typed: impl Fn(Expr, &DFSchema) -> Result<Expr>,
) -> Result<LogicalPlan> {
    let mut exprs: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    for (name, expr) in computed.0 {
        exprs.push(typed(expr, input.schema())?.alias(name));
    }
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, input)?))
}
