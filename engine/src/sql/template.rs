//! Plans of prepared statements that serve for other values of their parameters: optimised once, made physical at each execution.
//!
//! A parameter has no type of its own in SQL; the rules of `types` give a literal the narrowest type of its value and bring it to the type of the column it
//! is compared with. So that a plan means for every value what it would mean with the literal in the text, only parameters of this form take part: an
//! operand of a comparison, of BETWEEN or of an IN list with a plain column, in WHERE, whose literal the rules turn into a constant of the column's own type.
//! From there on the constant is a placeholder of that type, opaque to the optimiser. A later value that is not exactly one of the column's type (`'abc'`
//! for a number, 300 for a TINYINT) is planned as the literal it is, and so is everything of any other form: LIMIT, arguments, select lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{InList, Placeholder};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use sqlparser::ast;

use super::bind::{self, BindContext};
use super::walk::walk_mut;
use crate::error::{EngineError, Result};
use crate::plan::{self, DistributedPlan, PlanContext};
use crate::session::ColumnMeta;
use crate::types;

/// Values of parameters by their number, from 1.
pub type Values = BTreeMap<usize, ScalarValue>;

/// An optimised plan with typed placeholders. `Send` and `Sync`.
#[derive(Debug)]
pub struct Template {
    plan: LogicalPlan,
    /// The type that each placeholder has.
    types: BTreeMap<usize, DataType>,
    pub columns: Vec<ColumnMeta>,
}

/// What came of making a template.
pub enum Made {
    Template(Template),
    /// These parameters must be literals.
    Refused(BTreeSet<usize>),
    /// The statement is another plan each time.
    Volatile,
}

/// Plans a query in which the parameters of `values` are placeholders `?1`, `?2`, and all others literals.
pub fn make(query: ast::Query, texts: Option<&[String]>, values: &Values, context: &BindContext) -> Result<Made> {
    let last = values.keys().last().copied().unwrap_or_default();
    let field = |number| Some(Arc::new(Field::new("", values.get(&number)?.data_type(), false)));
    let params: Vec<_> = (1..=last).map(field).collect();
    let bound = bind::bind(query, texts, &params, context)?;
    if bound.is_volatile || bind::is_in_system_database(context) {
        return Ok(Made::Volatile);
    }
    let plan = bind::analyse(with_marked_literals(bound.plan, values)?, &bound.options)?;
    let types = comparable(&plan)?;
    let refused: BTreeSet<usize> = values.keys().filter(|number| !types.contains_key(number)).copied().collect();
    if !refused.is_empty() {
        return Ok(Made::Refused(refused));
    }
    let plan = bind::optimise(with_placeholders(plan)?, &bound.options)?;
    let columns = bind::retyped(bound.columns, &bound.types, &plan);
    Ok(Made::Template(Template { plan, types, columns }))
}

impl Template {
    /// The plan for other values; `None`: one of them is not a value of its column's type.
    pub fn plan(&self, values: &Values, context: &PlanContext) -> Result<Option<Arc<DistributedPlan>>> {
        let mut fitted = BTreeMap::new();
        for (number, ty) in &self.types {
            match values.get(number).and_then(|value| types::as_compared(value, ty)) {
                Some(value) => fitted.insert(*number, value),
                None => return Ok(None),
            };
        }
        let literal = |expr| match &expr {
            Expr::Placeholder(placeholder) => {
                let value = number_of(placeholder).and_then(|number| fitted.get(&number).cloned());
                let value = value.ok_or_else(|| EngineError::internal("a placeholder without value"))?;
                Ok(Transformed::yes(Expr::Literal(value, None)))
            }
            _ => Ok(Transformed::no(expr)),
        };
        plan::plan_query(&replace(self.plan.clone(), &literal)?, context).map(Some)
    }
}

/// The key under which a literal says which parameter it is.
const MARK: &str = "starling.parameter";

fn number_of(placeholder: &Placeholder) -> Option<usize> {
    placeholder.id.get(1..)?.parse().ok()
}

fn mark_of(expr: &Expr) -> Option<(usize, &ScalarValue)> {
    match expr {
        Expr::Literal(value, Some(metadata)) => Some((metadata.inner().get(MARK)?.parse().ok()?, value)),
        _ => None,
    }
}

/// Placeholders become the literals they stand for, marked: the type rules see what they would see without parameters.
fn with_marked_literals(plan: LogicalPlan, values: &Values) -> Result<LogicalPlan> {
    replace(plan, &|expr| match &expr {
        Expr::Placeholder(placeholder) => {
            let number = number_of(placeholder).ok_or_else(|| EngineError::internal("a placeholder without number"))?;
            let value = values.get(&number).ok_or_else(|| EngineError::internal("a placeholder without value"))?;
            let mark = BTreeMap::from([(MARK.to_string(), number.to_string())]);
            Ok(Transformed::yes(Expr::Literal(value.clone(), Some(FieldMetadata::new(mark)))))
        }
        _ => Ok(Transformed::no(expr)),
    })
}

fn with_placeholders(plan: LogicalPlan) -> Result<LogicalPlan> {
    replace(plan, &|expr| match mark_of(&expr) {
        Some((number, value)) => {
            let field = Arc::new(Field::new("", value.data_type(), false));
            Ok(Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(format!("${number}"), Some(field)))))
        }
        None => Ok(Transformed::no(expr)),
    })
}

/// Replaces expressions everywhere; names of columns stay.
fn replace(plan: LogicalPlan, with: &dyn Fn(Expr) -> Result<Transformed<Expr>>) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let replaced = expr.transform_up(|expr| {
                with(expr).map_err(|e| datafusion::common::DataFusionError::External(Box::new(e)))
            })?;
            Ok(if replaced.transformed { replaced.update_data(|expr| name.restore(expr)) } else { replaced })
        })
    })?;
    Ok(replaced.data)
}

/// The marked literals that are, wherever they stand, compared with a column of their own type and not NULL; and that type.
fn comparable(plan: &LogicalPlan) -> Result<BTreeMap<usize, DataType>> {
    // How often each is there, and how often in the right form.
    let mut seen: BTreeMap<usize, (usize, usize, DataType)> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        let is_filter = matches!(node, LogicalPlan::Filter(_));
        let schema = datafusion::logical_expr::utils::merge_schema(&node.inputs());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Some((number, value)) = mark_of(expr) {
                    seen.entry(number).or_insert((0, 0, value.data_type())).0 += 1;
                }
                if is_filter {
                    for (number, ty) in compared(expr, &schema) {
                        let entry = seen.entry(number).or_insert((0, 0, ty.clone()));
                        entry.1 += usize::from(entry.2 == ty);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(seen.into_iter().filter(|(_, (all, right, _))| *all == 1 && *right == 1).map(|(n, (.., ty))| (n, ty)).collect())
}

/// The marked literals that this very expression compares with a column.
fn compared(expr: &Expr, schema: &DFSchema) -> Vec<(usize, DataType)> {
    let of_type = |column: &Expr, literal: &Expr| {
        let (number, value) = mark_of(literal)?;
        let ty = matches!(column, Expr::Column(_)).then(|| column.get_type(schema).ok()).flatten()?;
        // Storage does not filter FLOAT and DOUBLE by a value it does not know yet: better planned with the value.
        let fits = !value.is_null() && value.data_type() == ty && !types::coercion::is_float(&ty);
        fits.then_some((number, ty))
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
            of_type(left, right).or_else(|| of_type(right, left)).into_iter().collect()
        }
        Expr::InList(InList { expr, list, .. }) => list.iter().filter_map(|item| of_type(expr, item)).collect(),
        _ => Vec::new(),
    }
}

fn is_comparison(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

/// The parameters of a query that may become placeholders, by the syntax alone.
pub fn candidates(query: &ast::Query) -> BTreeSet<usize> {
    let mut found = Candidates(BTreeSet::new());
    // The pass never breaks.
    let _ = walk_mut(&mut query.clone(), &mut found);
    found.0
}

struct Candidates(BTreeSet<usize>);

impl ast::VisitorMut for Candidates {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> std::ops::ControlFlow<()> {
        if let Some(selection) = &select.selection {
            self.condition(selection);
        }
        std::ops::ControlFlow::Continue(())
    }
}

impl Candidates {
    fn condition(&mut self, expr: &ast::Expr) {
        use ast::{BinaryOperator as B, Expr as E};
        match expr {
            E::Nested(inner) | E::UnaryOp { op: ast::UnaryOperator::Not, expr: inner } => self.condition(inner),
            E::BinaryOp { left, op: B::And | B::Or, right } => {
                self.condition(left);
                self.condition(right);
            }
            E::BinaryOp { left, op: B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq, right } => {
                if is_column(left) {
                    self.param(right);
                } else if is_column(right) {
                    self.param(left);
                }
            }
            E::Between { expr, low, high, .. } if is_column(expr) => {
                self.param(low);
                self.param(high);
            }
            E::InList { expr, list, .. } if is_column(expr) => list.iter().for_each(|item| self.param(item)),
            _ => {}
        }
    }

    fn param(&mut self, expr: &ast::Expr) {
        if let ast::Expr::Value(value) = expr
            && let ast::Value::Placeholder(name) = &value.value
        {
            self.0.extend(name.trim_start_matches('?').parse::<usize>().ok());
        }
    }
}

fn is_column(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_))
}
