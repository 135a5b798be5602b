//! Names, variables and session functions, resolved in the syntax tree before DataFusion sees it.
//!
//! - Column names and aliases lose their case, in backticks too; table and database names keep it. What a client sees as labels is kept elsewhere.
//! - `@@x`, `@x`, DATABASE(), USER() and their like become literals.
//! - Two equal items of one SELECT list, which MySQL allows and DataFusion does not, get names of their own.
//! - `FROM dual` goes; `||` and `&&` become OR and AND.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, Expr, FunctionArguments, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    TableFactor, VisitMut, VisitorMut,
};

use super::parser::DEFAULT_CATALOG;
use super::walk::{any_expr, change_exprs, walk_mut};
use crate::admin::information_schema::INFORMATION_SCHEMA;
use crate::error::{EngineError, Result};
use crate::functions::registry;

/// What a session contributes to the meaning of a statement. `Send`.
pub trait SessionValues {
    /// A system variable; `None`: there is none of that name.
    fn system(&self, name: &str, global: bool) -> Option<ast::Value>;
    /// A user variable; NULL when it was never set.
    fn user_variable(&self, name: &str) -> ast::Value;
    /// A function without arguments that speaks of the session, by lower-case name.
    fn function(&self, name: &str) -> Option<ast::Value>;
}

/// What resolving found out.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Names as they were written, by their lower-case form.
    pub written: HashMap<String, String>,
    /// Something in the statement is another value each time: a variable, the time, a random number.
    pub is_volatile: bool,
}

/// Functions whose value is not fixed by their arguments.
const VOLATILE: [&str; 24] = [
    "now",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "sysdate",
    "curdate",
    "current_date",
    "curtime",
    "current_time",
    "utc_timestamp",
    "utc_date",
    "utc_time",
    "unix_timestamp",
    "rand",
    "random",
    "uuid",
    "uuid_numeric",
    "uuid_v7",
    "sleep",
    "last_query_id",
    "query_id",
    "convert_tz",
    "from_unixtime",
    "current_timezone",
];

/// Resolves names in `query`.
pub fn resolve_query(query: &mut Query, values: &dyn SessionValues) -> Result<Resolved> {
    run(query, values)
}

/// As [`resolve_query`], for an expression.
pub fn resolve_expr(expr: &mut Expr, values: &dyn SessionValues) -> Result<()> {
    run(expr, values).map(drop)
}

fn run<T: VisitMut>(tree: &mut T, values: &dyn SessionValues) -> Result<Resolved> {
    let mut pass = Names { values, found: Resolved::default() };
    match walk_mut(tree, &mut pass) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(pass.found),
    }
}

struct Names<'a> {
    values: &'a dyn SessionValues,
    found: Resolved,
}

impl VisitorMut for Names<'_> {
    type Break = EngineError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<EngineError> {
        query.locks.clear();
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            cte.alias.columns.iter_mut().for_each(|column| self.lower(&mut column.name));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<EngineError> {
        select.optimizer_hints.clear();
        select.select_modifiers = None;
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.lower(alias);
            }
        }
        qualify_wildcards(select);
        for window in &mut select.named_window {
            self.lower(&mut window.0);
        }
        if let [only] = select.from.as_slice()
            && only.joins.is_empty()
            && is_dual(&only.relation)
        {
            select.from.clear();
        }
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            self.lower_using(&mut join.join_operator);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<EngineError> {
        // The names are lower-case by now.
        having_without_groups(select);
        distinct_names(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<EngineError> {
        if relation.0.len() == 3 {
            let catalog = relation.0.remove(0);
            if !catalog.as_ident().is_some_and(|c| c.value.eq_ignore_ascii_case(DEFAULT_CATALOG)) {
                return ControlFlow::Break(EngineError::new(5078, b"42000", format!("Unknown catalog '{catalog}'")));
            }
        }
        // The server's own tables change under any statement; the session's database may be theirs.
        let db = relation.0.first().and_then(|p| p.as_ident()).map(|i| i.value.as_str());
        self.found.is_volatile |= db.is_some_and(|db| db.eq_ignore_ascii_case(INFORMATION_SCHEMA));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<EngineError> {
        match factor {
            TableFactor::Table { alias, with_hints, index_hints, partitions, .. } => {
                with_hints.clear();
                index_hints.clear();
                if !partitions.is_empty() {
                    return ControlFlow::Break(EngineError::unsupported("partitions"));
                }
                self.lower_alias_columns(alias.as_mut());
            }
            TableFactor::Derived { alias, .. } => {
                if alias.is_none() {
                    let text = "Every derived table must have its own alias";
                    return ControlFlow::Break(EngineError::new(1248, b"42000", text));
                }
                self.lower_alias_columns(alias.as_mut());
            }
            TableFactor::NestedJoin { alias, table_with_joins } => {
                self.lower_alias_columns(alias.as_mut());
                for join in &mut table_with_joins.joins {
                    self.lower_using(&mut join.join_operator);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<EngineError> {
        match self.expr(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Names<'_> {
    fn lower(&mut self, name: &mut Ident) {
        // Lower-case ASCII only: what clients write is what they get for everything else.
        let lower = name.value.to_lowercase();
        if lower != name.value {
            self.found.written.entry(lower.clone()).or_insert_with(|| name.value.clone());
            name.value = lower;
        }
    }

    fn lower_alias_columns(&mut self, alias: Option<&mut ast::TableAlias>) {
        for column in alias.into_iter().flat_map(|a| &mut a.columns) {
            self.lower(&mut column.name);
        }
    }

    fn lower_using(&mut self, operator: &mut ast::JoinOperator) {
        if let Some(ast::JoinConstraint::Using(columns)) = constraint_of(operator) {
            for name in columns.iter_mut().flat_map(|c| &mut c.0) {
                if let ObjectNamePart::Identifier(name) = name {
                    self.lower(name);
                }
            }
        }
    }

    fn expr(&mut self, expr: &mut Expr) -> Result<()> {
        match expr {
            Expr::Identifier(name) if is_variable(name) => {
                self.found.is_volatile = true;
                let text = name.value.clone();
                *expr = Expr::value(match text.strip_prefix("@@") {
                    Some(system) => self.system(system, false)?,
                    None => self.values.user_variable(&text[1..].to_lowercase()),
                });
            }
            Expr::Identifier(name) if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("current_user") => {
                self.found.is_volatile = true;
                *expr = Expr::value(self.values.function("current_user").unwrap_or(ast::Value::Null));
            }
            Expr::Identifier(name) => self.lower(name),
            Expr::CompoundIdentifier(parts) if is_variable(&parts[0]) => {
                self.found.is_volatile = true;
                let global = parts[0].value.eq_ignore_ascii_case("@@global");
                let name = parts.last().map(|p| p.value.clone()).unwrap_or_default();
                *expr = Expr::value(self.system(&name, global)?);
            }
            Expr::CompoundIdentifier(parts) => {
                if parts.len() == 4 && parts[0].value.eq_ignore_ascii_case(DEFAULT_CATALOG) {
                    parts.remove(0);
                }
                // `db.t.c` of the session's own database: the table may stand in FROM without it.
                if parts.len() == 3
                    && self.values.function("database") == Some(ast::Value::SingleQuotedString(parts[0].value.clone()))
                {
                    parts.remove(0);
                }
                if let Some(column) = parts.last_mut() {
                    self.lower(column);
                }
            }
            Expr::Function(function) => {
                for part in &mut function.name.0 {
                    if let ObjectNamePart::Identifier(name) = part {
                        name.value = name.value.to_lowercase();
                    }
                }
                let bare = match &function.args {
                    FunctionArguments::None => true,
                    FunctionArguments::List(list) => list.args.is_empty() && list.clauses.is_empty(),
                    FunctionArguments::Subquery(_) => false,
                };
                let name = function.name.to_string().replace('`', "");
                self.found.is_volatile |= VOLATILE.contains(&name.as_str());
                if bare
                    && function.over.is_none()
                    && let Some(value) = self.values.function(&name)
                {
                    self.found.is_volatile = true;
                    *expr = Expr::value(value);
                }
            }
            Expr::Prefixed { value, .. } => {
                // `_utf8mb4'x'`: everything is UTF-8.
                let value = std::mem::replace(value.as_mut(), Expr::value(ast::Value::Null));
                *expr = value;
            }
            Expr::BinaryOp { op, .. } => match op {
                BinaryOperator::StringConcat => *op = BinaryOperator::Or,
                BinaryOperator::PGOverlap => *op = BinaryOperator::And,
                _ => {}
            },
            Expr::Collate { expr: inner, .. } => {
                // Collations are not honoured.
                let inner = std::mem::replace(inner.as_mut(), Expr::value(ast::Value::Null));
                *expr = inner;
                self.expr(expr)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn system(&self, name: &str, global: bool) -> Result<ast::Value> {
        let name = name.to_lowercase();
        self.values.system(&name, global).ok_or_else(|| EngineError::unknown_variable(&name))
    }
}

/// `t.*` of `FROM db.t`: the binder wants the table's whole name.
fn qualify_wildcards(select: &mut Select) {
    let mut names: Vec<ObjectName> = Vec::new();
    let mut factors: Vec<&TableFactor> = select.from.iter().map(|f| &f.relation).collect();
    factors.extend(select.from.iter().flat_map(|f| &f.joins).map(|j| &j.relation));
    for factor in factors {
        match factor {
            TableFactor::Table { name, alias: None, .. } if name.0.len() > 1 => names.push(name.clone()),
            _ => {}
        }
    }
    for item in &mut select.projection {
        if let SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(wanted), _) = item {
            let full = names.iter().find(|n| wanted.0.len() == 1 && last(n) == last(wanted));
            if let Some(full) = full {
                *wanted = full.clone();
            }
        }
    }
}

fn last(name: &ObjectName) -> Option<&str> {
    name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.as_str())
}

/// HAVING where nothing is grouped or aggregated filters rows and may name aliases (MySQL): it becomes WHERE.
fn having_without_groups(select: &mut Select) {
    let ungrouped = matches!(&select.group_by, ast::GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty());
    if !ungrouped || select.having.is_none() || aggregates(&select.projection) || aggregates(&select.having) {
        return;
    }
    let Some(mut condition) = select.having.take() else { return };
    let aliases: HashMap<&str, &Expr> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.as_str(), expr)),
            _ => None,
        })
        .collect();
    // The closure never breaks.
    let _ = change_exprs(&mut condition, &mut |expr| {
        if let Expr::Identifier(name) = expr
            && let Some(meant) = aliases.get(name.value.as_str())
        {
            *expr = Expr::Nested(Box::new((*meant).clone()));
        }
        ControlFlow::<()>::Continue(())
    });
    select.selection = Some(match select.selection.take() {
        Some(selection) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(selection))),
            op: BinaryOperator::And,
            right: Box::new(Expr::Nested(Box::new(condition))),
        },
        None => condition,
    });
}

fn aggregates(tree: &impl ast::Visit) -> bool {
    any_expr(tree, &mut |expr| {
        matches!(expr, Expr::Function(function)
            if function.over.is_none() && registry().aggregate(&function.name.to_string()).is_some())
    })
}

fn is_variable(name: &Ident) -> bool {
    name.quote_style.is_none() && name.value.starts_with('@')
}

fn is_dual(relation: &TableFactor) -> bool {
    matches!(relation, TableFactor::Table { name, .. }
        if name.0.len() == 1 && name.0[0].as_ident().is_some_and(|n| n.value.eq_ignore_ascii_case("dual")))
}

fn constraint_of(operator: &mut ast::JoinOperator) -> Option<&mut ast::JoinConstraint> {
    use ast::JoinOperator as J;
    match operator {
        J::Join(c) | J::Inner(c) | J::Left(c) | J::LeftOuter(c) | J::Right(c) | J::RightOuter(c) | J::FullOuter(c) => {
            Some(c)
        }
        J::CrossJoin(c)
        | J::Semi(c)
        | J::LeftSemi(c)
        | J::RightSemi(c)
        | J::Anti(c)
        | J::LeftAnti(c)
        | J::RightAnti(c) => Some(c),
        _ => None,
    }
}

/// Gives items of equal names names of their own; an alias keeps its name before a plain column does, because ORDER BY and HAVING mean the alias.
fn distinct_names(projection: &mut [SelectItem]) {
    name_by_text(projection);
    let wildcard = projection.iter().any(|i| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut taken: HashMap<String, usize> = HashMap::new();
    for at in 0..projection.len() {
        let Some((name, column)) = output_name(&projection[at]) else { continue };
        if column && wildcard {
            rename(&mut projection[at], &name, at);
            continue;
        }
        match taken.get(&name).copied() {
            None => {
                taken.insert(name, at);
            }
            Some(earlier) if !column && matches!(output_name(&projection[earlier]), Some((_, true))) => {
                rename(&mut projection[earlier], &name, earlier);
                taken.insert(name, at);
            }
            Some(_) => rename(&mut projection[at], &name, at),
        }
    }
}

/// The binder's own name of an expression leaves out what casts, subqueries and some operators differ in: items with such are named by their text.
fn name_by_text(projection: &mut [SelectItem]) {
    let unnamed = |item: &SelectItem| matches!(item, SelectItem::UnnamedExpr(expr) if has_short_name(expr));
    if projection.iter().filter(|item| unnamed(item)).count() < 2 {
        return;
    }
    for item in projection.iter_mut().filter(|item| unnamed(item)) {
        if let SelectItem::UnnamedExpr(expr) = item {
            let alias = Ident::with_quote('`', expr.to_string());
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

fn has_short_name(expr: &Expr) -> bool {
    any_expr(expr, &mut |expr| {
        matches!(
            expr,
            Expr::Cast { .. }
                | Expr::Convert { .. }
                | Expr::TypedString(_)
                | Expr::Subquery(_)
                | Expr::InSubquery { .. }
                | Expr::Exists { .. }
                | Expr::BinaryOp { op: ast::BinaryOperator::Modulo | ast::BinaryOperator::MyIntegerDivide, .. }
        )
    })
}

/// The name of an item and whether it is a plain column without alias.
fn output_name(item: &SelectItem) -> Option<(String, bool)> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some((alias.value.clone(), false)),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some((name.value.clone(), true)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(|p| (p.value.clone(), true)),
        // The binder's names have no parentheses of the text.
        SelectItem::UnnamedExpr(expr) => Some((expr.to_string().replace(['(', ')'], ""), false)),
        _ => None,
    }
}

fn rename(item: &mut SelectItem, name: &str, at: usize) {
    let alias = Ident::with_quote('`', format!("{name}:{at}"));
    let expr = match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
        _ => return,
    };
    *item = SelectItem::ExprWithAlias { expr, alias };
}
