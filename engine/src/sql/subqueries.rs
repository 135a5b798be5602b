//! `x IN (SELECT y ...)` and `EXISTS (SELECT ...)` as values: in a select list, inside CASE, as an argument, under NOT or beside OR.
//!
//! DataFusion makes semi, anti and mark joins of them where they are conditions of a WHERE, and knows nothing else; its mark is true or false, never NULL. As
//! values they become counts, which are scalar subqueries and have their own way into joins:
//! - EXISTS is `count(*) > 0`;
//! - IN is true when the count of rows with `y = x` is not 0; otherwise NULL when x is NULL and there is any row, or when some y is NULL; otherwise false. What
//!   the schema says cannot be NULL is not asked for.
//!
//! The rule runs on a bound plan before anything is typed, so the comparison follows the rules of any other.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::{Aggregate, Projection, Subquery, Window};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Limit, LogicalPlan, LogicalPlanBuilder, Operator, lit, when,
};

use crate::error::{EngineError, Result};
use crate::functions::registry;

type DfResult<T> = datafusion::error::Result<T>;

/// Rewrites a bound plan and the plans of its subqueries.
pub fn as_values(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(rewrite_node)?.data)
}

fn rewrite_node(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Filter(mut filter) => {
            let schema = filter.input.schema().clone();
            filter.predicate = condition(filter.predicate, true, &schema)?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        LogicalPlan::Projection(projection) if has_predicate(&projection.expr) => {
            values(LogicalPlan::Projection(projection)).map(Transformed::yes)
        }
        LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, .. })
            if has_predicate(&group_expr) || has_predicate(&aggr_expr) =>
        {
            let (input, mut exprs) = computed_below(input.as_ref(), &[group_expr.clone(), aggr_expr].concat())?;
            let aggr_expr = exprs.split_off(group_expr.len());
            Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(input.into(), exprs, aggr_expr)?)))
        }
        LogicalPlan::Window(Window { input, window_expr, .. }) if has_predicate(&window_expr) => {
            let (input, exprs) = computed_below(input.as_ref(), &window_expr)?;
            Ok(Transformed::yes(LogicalPlan::Window(Window::try_new(exprs, input.into())?)))
        }
        LogicalPlan::Sort(sort) if sort.expr.iter().any(|key| has_predicate(std::slice::from_ref(&key.expr))) => {
            let text = "IN (SELECT ...) and EXISTS in ORDER BY; give it an alias in the select list and order by that";
            Err(external(EngineError::unsupported(text)))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn external(error: EngineError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn has_predicate(exprs: &[Expr]) -> bool {
    let is_predicate = |expr: &Expr| Ok(matches!(expr, Expr::InSubquery(_) | Expr::Exists(_)));
    // The closure never fails.
    exprs.iter().any(|expr| expr.exists(is_predicate).unwrap_or(true))
}

/// A condition of WHERE or HAVING. What DataFusion's joins do right stays: a conjunct, negated or not; and under AND and OR what is not negated, for there
/// NULL is as good as false.
fn condition(expr: Expr, is_conjunct: bool, schema: &DFSchema) -> DfResult<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let is_conjunct = is_conjunct && op == Operator::And;
            let (left, right) = (condition(*left, is_conjunct, schema)?, condition(*right, is_conjunct, schema)?);
            Ok(Expr::BinaryExpr(BinaryExpr::new(left.into(), op, right.into())))
        }
        Expr::Not(inner) if is_conjunct => match *inner {
            Expr::InSubquery(InSubquery { expr, subquery, negated }) if !is_correlated(&subquery) => {
                Ok(Expr::InSubquery(InSubquery { expr, subquery, negated: !negated }))
            }
            inner @ Expr::Exists(_) => Ok(Expr::Not(inner.into())),
            inner => value(Expr::Not(inner.into()), schema),
        },
        Expr::InSubquery(query) if !query.negated || (is_conjunct && !is_correlated(&query.subquery)) => {
            Ok(Expr::InSubquery(query))
        }
        Expr::Exists(exists) => Ok(Expr::Exists(exists)),
        other => value(other, schema),
    }
}

fn is_correlated(subquery: &Subquery) -> bool {
    !subquery.outer_ref_columns.is_empty()
}

/// Every expression of a node as values.
fn values(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        Ok(Transformed::yes(name.restore(value(expr, &schema)?)))
    })?;
    plan.data.recompute_schema()
}

/// The input of an aggregation with the predicates computed as columns of it, and the expressions over those.
fn computed_below(input: &LogicalPlan, exprs: &[Expr]) -> DfResult<(LogicalPlan, Vec<Expr>)> {
    let mut found: Vec<Expr> = Vec::new();
    let mut over = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let name = expr.schema_name().to_string();
        let replaced = expr.clone().transform_down(|expr| {
            if !matches!(expr, Expr::InSubquery(_) | Expr::Exists(_)) {
                return Ok(Transformed::no(expr));
            }
            let at = found.iter().position(|known| *known == expr).unwrap_or_else(|| {
                found.push(expr);
                found.len() - 1
            });
            Ok(Transformed::new(Expr::Column(column_name(at).into()), true, TreeNodeRecursion::Jump))
        })?;
        over.push(if replaced.transformed { replaced.data.alias(name) } else { replaced.data });
    }
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    let computed = found.into_iter().enumerate().map(|(at, expr)| expr.alias(column_name(at)));
    let below = Projection::try_new(columns.chain(computed).collect(), input.clone().into())?;
    Ok((values(LogicalPlan::Projection(below))?, over))
}

fn column_name(at: usize) -> String {
    format!("__predicate_{at}")
}

/// An expression without IN (SELECT ...) and EXISTS.
fn value(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let replaced = expr.transform_up(|expr| match expr {
        Expr::Exists(Exists { subquery, negated }) => {
            let rows = without_bounds(subquery.subquery.as_ref()).clone();
            let op = if negated { Operator::Eq } else { Operator::Gt };
            Ok(Transformed::yes(compare(count(rows, subquery.outer_ref_columns)?, op, lit(0i64))))
        }
        Expr::InSubquery(query) => in_value(query, schema).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(replaced.data)
}

/// EXISTS does not ask in which order rows come and, LIMIT 0 apart, how many.
fn without_bounds(plan: &LogicalPlan) -> &LogicalPlan {
    let is_zero = |limit: &Limit| match limit.fetch.as_deref() {
        Some(Expr::Literal(ScalarValue::Int64(Some(rows)), _)) => *rows <= 0,
        None => false,
        Some(_) => true,
    };
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => without_bounds(&sort.input),
        LogicalPlan::Projection(projection) if !has_outer(&projection.expr) => without_bounds(&projection.input),
        LogicalPlan::Limit(limit) if limit.skip.is_none() && !is_zero(limit) => without_bounds(&limit.input),
        other => other,
    }
}

fn has_outer(exprs: &[Expr]) -> bool {
    exprs.iter().any(|expr| expr.contains_outer())
}

fn in_value(InSubquery { expr, subquery, negated }: InSubquery, schema: &DFSchema) -> DfResult<Expr> {
    let rows = subquery.subquery.as_ref().clone();
    let [field] = rows.schema().fields().iter().collect::<Vec<_>>()[..] else {
        let text = format!("IN takes a subquery of one column, and this has {}", rows.schema().fields().len());
        return Err(external(EngineError::analyze(text)));
    };
    let (y_nullable, x_nullable) = (field.is_nullable(), expr.nullable(schema)?);
    let y = Expr::Column(rows.schema().columns().remove(0));
    let outer = subquery.outer_ref_columns;
    let (sought, mut columns) = outer_references(expr.as_ref(), schema)?;
    columns.extend(outer.iter().cloned());
    let equal = LogicalPlanBuilder::from(rows.clone()).filter(compare(y.clone(), Operator::Eq, sought))?.build()?;
    let matched = compare(count(equal, columns)?, Operator::Gt, lit(0i64));
    if !x_nullable && !y_nullable {
        return Ok(if negated { Expr::Not(matched.into()) } else { matched });
    }
    let mut cases = when(matched, lit(!negated));
    let null = || Expr::Literal(ScalarValue::Boolean(None), None);
    if x_nullable {
        let any = compare(count(rows.clone(), outer.clone())?, Operator::Gt, lit(0i64));
        let unknown = BinaryExpr::new(Expr::IsNull(expr).into(), Operator::And, any.into());
        cases = cases.when(Expr::BinaryExpr(unknown), null());
    }
    if y_nullable {
        let nulls = LogicalPlanBuilder::from(rows).filter(Expr::IsNull(y.into()))?.build()?;
        cases = cases.when(compare(count(nulls, outer)?, Operator::Gt, lit(0i64)), null());
    }
    cases.otherwise(lit(negated))
}

/// The expression as a subquery over `schema` sees it, and the columns of `schema` that it names.
fn outer_references(expr: &Expr, schema: &DFSchema) -> DfResult<(Expr, Vec<Expr>)> {
    let mut columns = Vec::new();
    let outer = expr.clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.qualified_field_from_column(&column)?.1.clone();
            let reference = Expr::OuterReferenceColumn(field, column);
            if !columns.contains(&reference) {
                columns.push(reference.clone());
            }
            Ok(Transformed::yes(reference))
        }
        Expr::OuterReferenceColumn(..) | Expr::ScalarSubquery(_) | Expr::AggregateFunction(_) => {
            let text = "IN (SELECT ...) as a value, of an operand that is a subquery or belongs to an outer query";
            Err(external(EngineError::unsupported(text)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok((outer.data, columns))
}

/// How many rows a subquery gives, as a scalar subquery.
fn count(rows: LogicalPlan, outer_ref_columns: Vec<Expr>) -> DfResult<Expr> {
    let count = registry().aggregate("count");
    let count = count.ok_or_else(|| external(EngineError::internal("there is no function count")))?;
    let count = AggregateFunction::new_udf(count, vec![lit(1i64)], false, None, Vec::new(), None);
    let plan =
        LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), [Expr::AggregateFunction(count)])?.build()?;
    Ok(Expr::ScalarSubquery(Subquery { subquery: plan.into(), outer_ref_columns, spans: Default::default() }))
}

fn compare(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(left.into(), op, right.into()))
}
