//! The analyzer rule that types a bound plan: bottom up, it gives literals their narrowest type, brings operands,
//! branches and arguments together by `coercion`, and turns casts into those of `cast_expr`. It runs before
//! DataFusion's own type coercion, which then finds nothing to do but LIMIT and window frames.
//!
//! Output names do not change: an expression whose text changes is aliased to what it was called.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRewriter};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, Case, InList, InSubquery, Like, ScalarFunction, WindowFunction,
    WindowFunctionDefinition,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::{Join, Projection, RecursiveQuery, Subquery, Union};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, binary_expr};
use datafusion::optimizer::AnalyzerRule;

use super::arith::{self, Arith};
use super::cast_expr::cast_expr;
use super::coercion::{self, ArithOp, canonical};
use super::literal;
use super::{grouping_sets, in_lists, planner::no_comparison};
use crate::functions;
use crate::functions::conditional::{Choice, Conditional};

/// See the head of the module.
#[derive(Debug)]
pub(super) struct TypeRules;

impl AnalyzerRule for TypeRules {
    fn name(&self) -> &str {
        "starling_types"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let zone = functions::zone_of(config);
        Ok(plan.transform_up_with_subqueries(|plan| type_plan(plan, zone))?.data)
    }
}

fn type_plan(plan: LogicalPlan, zone: &str) -> Result<Transformed<LogicalPlan>> {
    if matches!(plan, LogicalPlan::Limit(_) | LogicalPlan::EmptyRelation(_)) {
        return Ok(Transformed::no(plan));
    }
    let plan = type_grouping_sets(plan, zone)?;
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
    }
    let names = NamePreserver::new(&plan);
    // The schema of VALUES is fixed when it is bound: its literals keep the type they were bound with.
    let narrow = !matches!(plan, LogicalPlan::Values(_));
    let mut typing = Typing { schema: &schema, narrow, zone };
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        expr.rewrite(&mut typing).map(|typed| typed.update_data(|expr| name.restore(expr)))
    })?;
    let plan = plan.map_data(|plan| match plan {
        LogicalPlan::Filter(mut filter) => {
            filter.predicate = truth(filter.predicate, &schema)?;
            Ok(LogicalPlan::Filter(filter))
        }
        LogicalPlan::Join(join) => type_join(join, &schema).map(LogicalPlan::Join),
        LogicalPlan::Union(union) => type_union(union),
        LogicalPlan::RecursiveQuery(query) => type_recursive(query),
        other => Ok(other),
    })?;
    plan.map_data(|plan| match plan {
        LogicalPlan::Union(_) | LogicalPlan::RecursiveQuery(_) => Ok(plan),
        plan => plan.recompute_schema(),
    })
}

fn type_grouping_sets(plan: LogicalPlan, zone: &str) -> Result<LogicalPlan> {
    grouping_sets::over_columns(plan, |expr, schema| Ok(expr.rewrite(&mut Typing { schema, narrow: true, zone })?.data))
}

/// Types one expression, children first.
struct Typing<'a> {
    schema: &'a DFSchema,
    narrow: bool,
    /// The session's time zone.
    zone: &'a str,
}

impl TreeNodeRewriter for Typing<'_> {
    type Node = Expr;

    fn f_up(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let typed = match expr {
            Expr::Literal(value, metadata) if self.narrow => Expr::Literal(literal::narrowed(value), metadata),
            Expr::Cast(cast) => self.cast(*cast.expr, cast.field.data_type())?,
            Expr::TryCast(cast) => self.cast(*cast.expr, cast.field.data_type())?,
            Expr::Negative(inner) => self.negative(*inner)?,
            Expr::Not(inner) => Expr::Not(Box::new(truth(*inner, self.schema)?)),
            Expr::IsTrue(inner) => Expr::IsTrue(Box::new(truth(*inner, self.schema)?)),
            Expr::IsFalse(inner) => Expr::IsFalse(Box::new(truth(*inner, self.schema)?)),
            Expr::IsNotTrue(inner) => Expr::IsNotTrue(Box::new(truth(*inner, self.schema)?)),
            Expr::IsNotFalse(inner) => Expr::IsNotFalse(Box::new(truth(*inner, self.schema)?)),
            Expr::IsUnknown(inner) => Expr::IsUnknown(Box::new(truth(*inner, self.schema)?)),
            Expr::IsNotUnknown(inner) => Expr::IsNotUnknown(Box::new(truth(*inner, self.schema)?)),
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::Between(between) => self.between(between)?,
            Expr::InList(list) => self.in_list(list)?,
            Expr::InSubquery(query) => self.in_subquery(query)?,
            Expr::Like(like) => self.like(like)?,
            Expr::Case(case) => self.case(case)?,
            Expr::ScalarFunction(call) => self.scalar(call)?,
            Expr::AggregateFunction(call) => Expr::AggregateFunction(self.aggregate(call)?),
            Expr::WindowFunction(call) => Expr::WindowFunction(Box::new(self.window(*call)?)),
            other => return Ok(Transformed::no(other)),
        };
        Ok(Transformed::yes(typed))
    }
}

impl Typing<'_> {
    fn type_of(&self, expr: &Expr) -> Result<DataType> {
        expr.get_type(self.schema)
    }

    fn cast(&self, expr: Expr, to: &DataType) -> Result<Expr> {
        let from = self.type_of(&expr)?;
        // A type of DataFusion's own (an interval, a view) is its business.
        if canonical(to) != *to {
            return Ok(Expr::Cast(datafusion::logical_expr::Cast::new(Box::new(expr), to.clone())));
        }
        cast_expr(expr, &from, to)
    }

    fn negative(&self, inner: Expr) -> Result<Expr> {
        match self.type_of(&inner)? {
            DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) | DataType::Null => {
                Ok(Expr::Negative(Box::new(inner)))
            }
            _ => self.arithmetic(ArithOp::Multiply, Expr::Literal(ScalarValue::Int8(Some(-1)), None), inner),
        }
    }

    fn binary(&self, BinaryExpr { left, op, right }: BinaryExpr) -> Result<Expr> {
        match op {
            Operator::And | Operator::Or => {
                Ok(in_lists::joined(truth(*left, self.schema)?, op, truth(*right, self.schema)?))
            }
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom => {
                let (left, right) = self.comparable(*left, *right)?;
                Ok(binary_expr(left, op, right))
            }
            _ => Ok(Expr::BinaryExpr(BinaryExpr { left, op, right })),
        }
    }

    /// Both sides in the type in which they are compared.
    fn comparable(&self, left: Expr, right: Expr) -> Result<(Expr, Expr)> {
        let (l, r) = (self.type_of(&left)?, self.type_of(&right)?);
        if l == r {
            return Ok((left, right));
        }
        if let Expr::Literal(value, metadata) = &right
            && let Some(value) = literal::fit(value, &l)
        {
            return Ok((left, Expr::Literal(value, metadata.clone())));
        }
        if let Expr::Literal(value, metadata) = &left
            && let Some(value) = literal::fit(value, &r)
        {
            return Ok((Expr::Literal(value, metadata.clone()), right));
        }
        let common = coercion::comparison_type(&l, &r).ok_or_else(|| no_comparison(&l, &r))?;
        Ok((cast_expr(left, &l, &common)?, cast_expr(right, &r, &common)?))
    }

    fn between(&self, Between { expr, negated, low, high }: Between) -> Result<Expr> {
        let (above, low) = self.comparable((*expr).clone(), *low)?;
        let (below, high) = self.comparable(*expr, *high)?;
        Ok(if negated {
            binary_expr(binary_expr(above, Operator::Lt, low), Operator::Or, binary_expr(below, Operator::Gt, high))
        } else {
            binary_expr(
                binary_expr(above, Operator::GtEq, low),
                Operator::And,
                binary_expr(below, Operator::LtEq, high),
            )
        })
    }

    fn in_list(&self, InList { expr, list, negated }: InList) -> Result<Expr> {
        let ty = self.type_of(&expr)?;
        if let Some(list) = list.iter().map(|item| self.fitting(item, &ty)).collect::<Result<Option<Vec<_>>>>()? {
            return Ok(Expr::InList(InList { expr, list, negated }));
        }
        let mut common = ty.clone();
        let mut types = Vec::with_capacity(list.len());
        for item in &list {
            let item = self.type_of(item)?;
            common = coercion::comparison_type(&common, &item).ok_or_else(|| no_comparison(&common, &item))?;
            types.push(item);
        }
        let list = list.into_iter().zip(&types).map(|(item, from)| cast_expr(item, from, &common));
        let list = list.collect::<Result<Vec<_>>>()?;
        Ok(Expr::InList(InList { expr: Box::new(cast_expr(*expr, &ty, &common)?), list, negated }))
    }

    /// The item in a type, when it has it or is a constant that fits.
    fn fitting(&self, item: &Expr, ty: &DataType) -> Result<Option<Expr>> {
        if let Expr::Literal(value, metadata) = item {
            if value.is_null() {
                return Ok(Some(Expr::Literal(ScalarValue::try_new_null(ty)?, metadata.clone())));
            }
            return Ok(literal::fit(value, ty).map(|value| Expr::Literal(value, metadata.clone())));
        }
        Ok((self.type_of(item)? == *ty).then(|| item.clone()))
    }

    fn in_subquery(&self, InSubquery { expr, subquery, negated }: InSubquery) -> Result<Expr> {
        let from = self.type_of(&expr)?;
        let inner = subquery.subquery.schema().field(0).data_type().clone();
        let common = coercion::comparison_type(&from, &inner).ok_or_else(|| no_comparison(&from, &inner))?;
        let subquery = if inner == common {
            subquery
        } else {
            let plan = cast_columns(&subquery.subquery, std::slice::from_ref(&common))?;
            Subquery { subquery: Arc::new(plan), ..subquery }
        };
        Ok(Expr::InSubquery(InSubquery { expr: Box::new(cast_expr(*expr, &from, &common)?), subquery, negated }))
    }

    fn like(&self, like: Like) -> Result<Expr> {
        let text = |expr: Box<Expr>| -> Result<Box<Expr>> {
            let from = self.type_of(&expr)?;
            Ok(Box::new(cast_expr(*expr, &from, &DataType::Utf8)?))
        };
        Ok(Expr::Like(Like { expr: text(like.expr)?, pattern: text(like.pattern)?, ..like }))
    }

    fn case(&self, case: Case) -> Result<Expr> {
        let mut branches = Vec::with_capacity(case.when_then_expr.len());
        for (when, then) in case.when_then_expr {
            let when = match &case.expr {
                Some(operand) => {
                    let (operand, when) = self.comparable((**operand).clone(), *when)?;
                    binary_expr(operand, Operator::Eq, when)
                }
                None => truth(*when, self.schema)?,
            };
            branches.push((when, *then));
        }
        self.branches(branches, case.else_expr.map(|expr| *expr))
    }

    /// CASE with all branches in their common type.
    fn branches(&self, branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Result<Expr> {
        let values = branches.iter().map(|(_, then)| then).chain(otherwise.as_ref());
        let types = values.map(|value| self.type_of(value)).collect::<Result<Vec<_>>>()?;
        let common = coercion::supertype_of(&types)
            .ok_or_else(|| DataFusionError::Plan(format!("CASE branches have no common type: {}", listed(&types))))?;
        let as_common = |expr: Expr, from: &DataType| cast_expr(expr, from, &common).map(Box::new);
        let otherwise = otherwise.zip(types.last()).map(|(expr, from)| as_common(expr, from)).transpose()?;
        let branches = branches.into_iter().zip(&types);
        let branches = branches.map(|((when, then), from)| Ok((Box::new(when), as_common(then, from)?)));
        Ok(Expr::Case(Case::new(None, branches.collect::<Result<_>>()?, otherwise)))
    }

    fn scalar(&self, ScalarFunction { func, args }: ScalarFunction) -> Result<Expr> {
        let inner: &dyn std::any::Any = func.inner().as_ref();
        if let Some(arith) = inner.downcast_ref::<Arith>() {
            let op = arith.op();
            let [left, right] = <[Expr; 2]>::try_from(args)
                .map_err(|args| DataFusionError::Plan(format!("operator of {} operands", args.len())))?;
            return self.arithmetic(op, left, right);
        }
        if let Some(conditional) = inner.downcast_ref::<Conditional>() {
            return self.conditional(conditional.choice, args);
        }
        let types = args.iter().map(|arg| self.type_of(arg)).collect::<Result<Vec<_>>>()?;
        let args = match functions::argument_types(&func, &types)? {
            Some(wanted) => self.cast_all(args, &types, &wanted)?,
            None => args,
        };
        let func = functions::in_zone(&func, self.zone).map_or(func, Arc::new);
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(func, args)))
    }

    fn arithmetic(&self, op: ArithOp, left: Expr, right: Expr) -> Result<Expr> {
        let (l, r) = (self.type_of(&left)?, self.type_of(&right)?);
        let types = coercion::arithmetic(op, &l, &r)?;
        match arith::plain(op, &types.result) {
            Some(plain) => {
                Ok(binary_expr(cast_expr(left, &l, &types.left)?, plain, cast_expr(right, &r, &types.right)?))
            }
            None => Ok(Arith::call(op, left, right)),
        }
    }

    fn conditional(&self, choice: Choice, args: Vec<Expr>) -> Result<Expr> {
        let mut args = args.into_iter();
        let mut next = || args.next().ok_or_else(|| DataFusionError::Internal("missing argument".into()));
        match choice {
            Choice::If => {
                let condition = truth(next()?, self.schema)?;
                let then = next()?;
                self.branches(vec![(condition, then)], Some(next()?))
            }
            Choice::NullIf => {
                let value = next()?;
                let ty = self.type_of(&value)?;
                let (left, right) = self.comparable(value.clone(), next()?)?;
                let null = Expr::Literal(ScalarValue::try_new_null(&ty)?, None);
                self.branches(vec![(binary_expr(left, Operator::Eq, right), null)], Some(value))
            }
            Choice::Coalesce => {
                let mut values: Vec<Expr> = args.collect();
                let last = values.pop().ok_or_else(|| DataFusionError::Internal("missing argument".into()))?;
                if values.is_empty() {
                    return Ok(last);
                }
                let branches = values.into_iter().map(|value| (Expr::IsNotNull(Box::new(value.clone())), value));
                self.branches(branches.collect(), Some(last))
            }
        }
    }

    fn cast_all(&self, args: Vec<Expr>, from: &[DataType], to: &[DataType]) -> Result<Vec<Expr>> {
        args.into_iter().zip(from.iter().zip(to)).map(|(arg, (from, to))| cast_expr(arg, from, to)).collect()
    }

    fn aggregate(&self, mut call: AggregateFunction) -> Result<AggregateFunction> {
        call.params.args = self.aggregate_arguments(call.func.name(), call.params.args)?;
        call.params.filter = call.params.filter.map(|f| truth(*f, self.schema).map(Box::new)).transpose()?;
        Ok(call)
    }

    fn aggregate_arguments(&self, name: &str, args: Vec<Expr>) -> Result<Vec<Expr>> {
        // COUNT(*) is known by this very constant.
        if let ("count", [Expr::Literal(ScalarValue::Int8(Some(1)), metadata)]) = (name, args.as_slice()) {
            return Ok(vec![Expr::Literal(ScalarValue::Int64(Some(1)), metadata.clone())]);
        }
        let types = args.iter().map(|arg| self.type_of(arg)).collect::<Result<Vec<_>>>()?;
        match functions::aggregate_argument_types(name, &types)? {
            Some(wanted) => self.cast_all(args, &types, &wanted),
            None => Ok(args),
        }
    }

    fn window(&self, mut call: WindowFunction) -> Result<WindowFunction> {
        let args = std::mem::take(&mut call.params.args);
        call.params.args = match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => self.aggregate_arguments(function.name(), args)?,
            WindowFunctionDefinition::WindowUDF(function) => {
                let types = args.iter().map(|arg| self.type_of(arg)).collect::<Result<Vec<_>>>()?;
                let wanted = functions::window_argument_types(function.name(), &types)?;
                self.cast_all(args, &types, &wanted)?
            }
        };
        call.params.filter = call.params.filter.map(|f| truth(*f, self.schema).map(Box::new)).transpose()?;
        Ok(call)
    }
}

/// A condition as BOOLEAN.
fn truth(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let from = expr.get_type(schema)?;
    cast_expr(expr, &from, &DataType::Boolean)
}

fn listed(types: &[DataType]) -> String {
    types.iter().map(super::type_name).collect::<Vec<_>>().join(", ")
}

fn type_join(mut join: Join, schema: &DFSchema) -> Result<Join> {
    let mut on = Vec::with_capacity(join.on.len());
    for (left, right) in join.on {
        let (l, r) = (left.get_type(join.left.schema())?, right.get_type(join.right.schema())?);
        let common = coercion::comparison_type(&l, &r).ok_or_else(|| no_comparison(&l, &r))?;
        on.push((cast_expr(left, &l, &common)?, cast_expr(right, &r, &common)?));
    }
    join.on = on;
    join.filter = join.filter.map(|filter| truth(filter, schema)).transpose()?;
    Ok(join)
}

/// A projection of the plan's columns as the given types, with their names.
fn cast_columns(plan: &Arc<LogicalPlan>, types: &[DataType]) -> Result<LogicalPlan> {
    let columns = plan.schema().iter().zip(types).map(|((qualifier, field), to)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        if field.data_type() == to {
            return Ok(column);
        }
        Ok(cast_expr(column, field.data_type(), to)?.alias_qualified(qualifier.cloned(), field.name()))
    });
    Ok(LogicalPlan::Projection(Projection::try_new(columns.collect::<Result<Vec<_>>>()?, plan.clone())?))
}

/// `plan` with columns of the given types; itself when it has them.
fn with_types(plan: Arc<LogicalPlan>, types: &[DataType]) -> Result<Arc<LogicalPlan>> {
    if plan.schema().fields().iter().zip(types).all(|(field, ty)| field.data_type() == ty) {
        return Ok(plan);
    }
    Ok(Arc::new(cast_columns(&plan, types)?))
}

fn type_union(union: Union) -> Result<LogicalPlan> {
    let width = union.schema.fields().len();
    let mut types = Vec::with_capacity(width);
    for column in 0..width {
        let inputs = union.inputs.iter().map(|input| input.schema().field(column).data_type());
        types.push(coercion::supertype_of(inputs.clone()).ok_or_else(|| {
            let inputs: Vec<DataType> = inputs.cloned().collect();
            DataFusionError::Plan(format!("column {} of UNION has no common type: {}", column + 1, listed(&inputs)))
        })?);
    }
    let inputs = union.inputs.into_iter().map(|input| with_types(input, &types)).collect::<Result<Vec<_>>>()?;
    let nullable = |column: usize| inputs.iter().any(|input| input.schema().field(column).is_nullable());
    let schema = retyped(&union.schema, &types, nullable)?;
    Ok(LogicalPlan::Union(Union { inputs, schema }))
}

/// The work table of a recursive query was bound with the types of its schema; both terms keep to them.
fn type_recursive(query: RecursiveQuery) -> Result<LogicalPlan> {
    let types: Vec<DataType> = query.schema.fields().iter().map(|field| field.data_type().clone()).collect();
    let static_term = with_types(query.static_term, &types)?;
    let recursive_term = with_types(query.recursive_term, &types)?;
    Ok(LogicalPlan::RecursiveQuery(RecursiveQuery { static_term, recursive_term, ..query }))
}

fn retyped(schema: &DFSchemaRef, types: &[DataType], nullable: impl Fn(usize) -> bool) -> Result<DFSchemaRef> {
    let fields = schema.iter().zip(types).enumerate().map(|(at, ((qualifier, field), ty))| {
        let field = field.as_ref().clone().with_data_type(ty.clone()).with_nullable(nullable(at));
        (qualifier.cloned(), Arc::new(field) as FieldRef)
    });
    Ok(Arc::new(DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?))
}
