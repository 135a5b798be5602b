//! From a parsed query to an optimised logical plan and the metadata of its columns. Runs on the planner thread; pure computation (1 to 15 ms).
//!
//! Steps: labels are taken; names, variables and session functions resolved (`names`); `types::prepare`; DataFusion's binder; our analyzer rules, before
//! anything folds constants; DataFusion's optimiser.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use sqlparser::ast;
use starling_storage::ids::TableId;
use starling_storage::schema::{Predicate, TabletSchema};

use super::context::Context;
use super::labels::{self, Label};
use super::names::{self, SessionValues};
use super::statement::ShowFilter;
use super::subqueries;
use crate::admin::information_schema::{INFORMATION_SCHEMA, SystemState};
use crate::catalog::{Catalog, Table};
use crate::error::{EngineError, Result};
use crate::plan::{self, DistributedPlan, PlanContext};
use crate::session::{ColumnMeta, SqlType};
use crate::types;

/// Everything that planning a statement needs, frozen. `Send`.
pub struct BindContext {
    pub catalog: Arc<Catalog>,
    pub database: Option<String>,
    pub cores: u16,
    pub values: Box<dyn SessionValues + Send>,
    pub row_counts: HashMap<TableId, u64>,
    /// What information_schema shows besides the catalog.
    pub system: SystemState,
    pub plan: PlanContext,
    /// `sql_select_limit`, where it is set.
    pub row_limit: Option<u64>,
}

/// A planned query.
#[derive(Clone)]
pub struct PlannedQuery {
    pub plan: Arc<DistributedPlan>,
    pub columns: Vec<ColumnMeta>,
    /// The same text means the same plan, under the same catalog and variables.
    pub is_reusable: bool,
}

/// An optimised logical plan and what its columns are called.
pub struct BoundQuery {
    pub plan: LogicalPlan,
    pub columns: Vec<ColumnMeta>,
    pub is_volatile: bool,
}

/// Binds, optimises and distributes a query.
pub fn plan_query(query: ast::Query, texts: Option<&[String]>, context: &BindContext) -> Result<PlannedQuery> {
    let bound = bind_query(query, texts, context)?;
    let plan = plan::plan_query(&bound.plan, &context.plan)?;
    let is_reusable = !bound.is_volatile && !is_in_system_database(context) && plan.is_reusable();
    Ok(PlannedQuery { plan, columns: bound.columns, is_reusable })
}

/// Binds and optimises a query.
pub fn bind_query(query: ast::Query, texts: Option<&[String]>, context: &BindContext) -> Result<BoundQuery> {
    let bound = bind(query, texts, &[], context)?;
    let plan = analyse(bound.plan, &bound.options)?;
    let plan = optimise(plan, &bound.options)?;
    let columns = retyped(bound.columns, &bound.types, &plan);
    Ok(BoundQuery { plan, columns, is_volatile: bound.is_volatile })
}

/// A query bound to tables and functions; nothing is typed by our rules yet.
pub(super) struct Bound {
    pub plan: LogicalPlan,
    pub columns: Vec<ColumnMeta>,
    /// The types of the result's columns in `plan`.
    pub types: Vec<DataType>,
    pub is_volatile: bool,
    pub options: Arc<ConfigOptions>,
}

/// `params`: the types of placeholders that the query still has.
pub(super) fn bind(
    mut query: ast::Query,
    texts: Option<&[String]>,
    params: &[Option<FieldRef>],
    context: &BindContext,
) -> Result<Bound> {
    let labels = labels::labels(&query, texts);
    apply_row_limit(&mut query, context.row_limit);
    let resolved = names::resolve_query(&mut query, context.values.as_ref())?;
    let mut statement = ast::Statement::Query(Box::new(query));
    types::prepare(&mut statement)?;
    let config = plan::session_config(context.cores);
    let options = with_time_zone(config.options(), context.values.as_ref());
    let provider = Context::new(context, &options);
    let binder = SqlToRel::new_with_options(&provider, types::parser_options());
    let mut planner = PlannerContext::new().with_prepare_param_data_types(params.to_vec());
    let plan = binder.sql_statement_to_plan_with_context(statement, &mut planner)?;
    let columns = columns(&plan, &labels, &resolved.written);
    let types = plan.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    Ok(Bound { plan, columns, types, is_volatile: resolved.is_volatile, options })
}

/// The type rules give an expression its type; it had another while it was bound.
pub(super) fn retyped(mut columns: Vec<ColumnMeta>, bound: &[DataType], plan: &LogicalPlan) -> Vec<ColumnMeta> {
    for ((column, bound), field) in columns.iter_mut().zip(bound).zip(plan.schema().fields()) {
        if bound != field.data_type() {
            column.ty = sql_type(field.data_type());
        }
    }
    columns
}

/// Whether the current database is the server's own, whose tables change under any statement.
pub(super) fn is_in_system_database(context: &BindContext) -> bool {
    context.database.as_deref().is_some_and(|db| db.eq_ignore_ascii_case(INFORMATION_SCHEMA))
}

/// The options of a plan in the session's time zone.
fn with_time_zone(options: &Arc<ConfigOptions>, values: &dyn SessionValues) -> Arc<ConfigOptions> {
    let mut options = options.as_ref().clone();
    if let Some(ast::Value::SingleQuotedString(zone)) = values.system("time_zone", false) {
        options.execution.time_zone = Some(zone);
    }
    Arc::new(options)
}

/// `sql_select_limit` caps a query that has no LIMIT of its own.
fn apply_row_limit(query: &mut ast::Query, limit: Option<u64>) {
    if let (Some(limit), None) = (limit, &query.limit_clause) {
        let limit = ast::Expr::value(ast::Value::Number(limit.to_string(), false));
        query.limit_clause =
            Some(ast::LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by: Vec::new() });
    }
}

/// Types a bound plan.
pub(super) fn analyse(plan: LogicalPlan, options: &Arc<ConfigOptions>) -> Result<LogicalPlan> {
    let plan = subqueries::as_values(plan)?;
    Ok(Analyzer::with_rules(types::analyzer_rules()).execute_and_check(plan, options, |_, _| {})?)
}

pub(super) fn optimise(plan: LogicalPlan, options: &Arc<ConfigOptions>) -> Result<LogicalPlan> {
    let context = OptimizerContext::new_with_config_options(options.clone());
    Ok(Optimizer::new().optimize(plan, &context, |_, _| {})?)
}

/// The columns of a plan's result. Called before optimisation, while the qualifiers still name relations of the statement.
fn columns(plan: &LogicalPlan, labels: &[Label], written: &HashMap<String, String>) -> Vec<ColumnMeta> {
    let schema = plan.schema();
    let relations = base_relations(plan);
    let labels = spread(labels, schema);
    let column = |at: usize| {
        let (qualifier, field) = schema.qualified_field(at);
        let base = qualifier.and_then(|q| relations.get(q)).and_then(|table| {
            let column = &table.schema.columns[table.schema.position(field.name())?];
            Some((table, column))
        });
        let own_name = match base {
            Some((_, column)) => column.name.clone(),
            None => written.get(field.name()).unwrap_or(field.name()).clone(),
        };
        let name = labels.get(at).cloned().flatten().unwrap_or_else(|| own_name.clone());
        ColumnMeta {
            org_name: if base.is_some() { own_name } else { name.clone() },
            name,
            table: qualifier.map(|q| q.table().to_string()).unwrap_or_default(),
            org_table: base.map(|(table, _)| table.name.clone()).unwrap_or_default(),
            db: base.map(|(table, _)| table.db_name.clone()).unwrap_or_default(),
            ty: base.map_or_else(|| sql_type(field.data_type()), |(_, column)| SqlType::of_column(column.ty)),
            nullable: field.is_nullable(),
        }
    };
    (0..schema.fields().len()).map(column).collect()
}

fn sql_type(ty: &DataType) -> SqlType {
    SqlType::of_arrow(ty)
}

/// One label a column: a wildcard stands for the columns that the other items leave over, or for those of its relation.
fn spread(labels: &[Label], schema: &DFSchema) -> Vec<Option<String>> {
    let columns = schema.fields().len();
    let wildcards = labels.iter().filter(|l| **l == Label::Wildcard).count();
    let mut left = columns.saturating_sub(labels.len() - wildcards);
    let mut spread = Vec::with_capacity(columns);
    for label in labels {
        match label {
            Label::Text(text) => spread.push(Some(text.clone())),
            Label::Wildcard if wildcards == 1 => spread.extend(std::iter::repeat_n(None, left)),
            Label::Wildcard => {
                // Several: each takes the run of columns with one qualifier.
                let qualifier = |at: usize| schema.qualified_field(at).0;
                let start = spread.len();
                let run = (start..columns)
                    .take_while(|&at| qualifier(at).is_some() && qualifier(at) == qualifier(start))
                    .count();
                let run = run.min(left);
                left -= run;
                spread.extend(std::iter::repeat_n(None, run));
            }
        }
    }
    if spread.len() == columns { spread } else { vec![None; columns] }
}

/// The base tables of a plan by the name their columns are qualified with.
fn base_relations(plan: &LogicalPlan) -> HashMap<TableReference, Arc<Table>> {
    let mut relations = HashMap::new();
    // The visitor never fails.
    let _ = plan.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                if let Some(table) = base_table(node) {
                    relations.insert(scan.table_name.clone(), table);
                }
            }
            LogicalPlan::SubqueryAlias(alias) => {
                if let Some(table) = base_table(&alias.input) {
                    relations.insert(alias.alias.clone(), table);
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    relations
}

fn base_table(plan: &LogicalPlan) -> Option<Arc<Table>> {
    let LogicalPlan::TableScan(scan) = plan else { return None };
    let provider = datafusion::datasource::source_as_provider(&scan.source).ok()?;
    provider.downcast_ref::<plan::StarlingTable>().map(|t| t.table().clone())
}

/// The columns of a query's result, without optimising it.
pub fn describe_query(query: ast::Query, texts: Option<&[String]>, context: &BindContext) -> Result<Vec<ColumnMeta>> {
    Ok(bind_query(query, texts, context)?.columns)
}

/// The rows of `batch` that WHERE, ORDER BY and LIMIT of a SHOW statement leave. Column names of the batch are lower-case.
pub fn plan_show(batch: RecordBatch, filter: ShowFilter, context: &BindContext) -> Result<Arc<DistributedPlan>> {
    let config = plan::session_config(context.cores);
    let options = with_time_zone(config.options(), context.values.as_ref());
    let provider = Context::new(context, &options);
    let binder = SqlToRel::new_with_options(&provider, types::parser_options());
    let table = provider_as_source(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?));
    let mut rows = LogicalPlanBuilder::scan("show", table, None)?;
    if let Some(mut selection) = filter.selection {
        names::resolve_expr(&mut selection, context.values.as_ref())?;
        types::prepare_expr(&mut selection)?;
        let condition = binder.sql_to_expr(selection, rows.schema(), &mut PlannerContext::new())?;
        rows = rows.filter(condition)?;
    }
    if !filter.order_by.is_empty() {
        let sort = |(name, descending): (String, bool)| {
            let column = binder.sql_to_expr(
                ast::Expr::Identifier(ast::Ident::new(name.to_lowercase())),
                rows.schema(),
                &mut PlannerContext::new(),
            )?;
            Ok(column.sort(!descending, !descending))
        };
        let sorts = filter.order_by.into_iter().map(sort).collect::<Result<Vec<_>>>()?;
        rows = rows.sort(sorts)?;
    }
    if let Some((passed, count)) = filter.limit {
        rows = rows.limit(passed, Some(count))?;
    }
    let plan = optimise(analyse(rows.build()?, &options)?, &options)?;
    plan::plan_query(&plan, &context.plan)
}

/// `SELECT expr`.
pub fn constant_query(expr: ast::Expr) -> ast::Query {
    let mut query = super::parser::parse_query("SELECT 1").expect("the text is a query");
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![ast::SelectItem::UnnamedExpr(expr)];
    }
    query
}

/// `VALUES (...), ...`.
pub fn values_query(rows: Vec<Vec<ast::Expr>>) -> Result<ast::Query> {
    let mut query = super::parser::parse_query("VALUES (1)")?;
    if let ast::SetExpr::Values(values) = query.body.as_mut() {
        values.rows = rows.into_iter().map(ast::Parens::with_empty_span).collect();
    }
    Ok(query)
}

/// A table as an item of FROM.
pub fn table_relation(name: ast::ObjectName, alias: Option<ast::TableAlias>) -> ast::TableWithJoins {
    let mut query = super::parser::parse_query("SELECT 1 FROM t").expect("the text is a query");
    let relation = match query.body.as_mut() {
        ast::SetExpr::Select(select) => select.from.pop(),
        _ => None,
    };
    let mut relation = relation.expect("the query has one table");
    if let ast::TableFactor::Table { name: own, alias: own_alias, .. } = &mut relation.relation {
        (*own, *own_alias) = (name, alias);
    }
    relation
}

/// The conditions of `SELECT ... FROM t WHERE ...` as storage evaluates them; `None`: no row can match. Error 1064 when storage cannot.
pub fn simple_predicates(
    query: ast::Query,
    schema: &TabletSchema,
    context: &BindContext,
) -> Result<Option<Vec<Predicate>>> {
    let bound = bind_query(query, None, context)?;
    let mut predicates = Some(Vec::new());
    let mut simple = true;
    bound.plan.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                for filter in &scan.filters {
                    match (plan::pushdown::predicates(filter, schema), &mut predicates) {
                        (Some(found), Some(all)) => all.extend(found),
                        _ => simple = false,
                    }
                }
                simple &= scan.fetch.is_none();
            }
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {}
            LogicalPlan::EmptyRelation(_) => predicates = None,
            _ => simple = false,
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match simple {
        true => Ok(predicates),
        false => {
            let text = "DELETE of a table without primary key takes only column op constant, [NOT] IN and IS [NOT] NULL, joined by AND";
            Err(EngineError::analyze(text))
        }
    }
}
