//! Prepared statements: the text is parsed once; at each execution parameters become literals of the syntax tree, or values of a plan that is kept.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;

use datafusion::common::ScalarValue;
use sqlparser::ast::{self, Expr, Value, VisitMut, VisitorMut};

use starling_storage::ids::Seq;

use super::Param;
use super::point::{self, PointRead};
use crate::catalog::Catalog;
use crate::error::{EngineError, Result};
use crate::sql::statement::{InsertSource, InsertValue, Statement};
use crate::sql::walk::walk_mut;
use crate::sql::{self, Parsed, template};

/// A parsed statement with parameters.
pub(super) struct PreparedStatement {
    text: String,
    parsed: Parsed,
    /// The read by primary key that the statement is, under one version of the catalog and in one database.
    point: RefCell<Option<(Seq, Option<String>, Option<Rc<PointRead>>)>>,
    /// Parameters that may be placeholders of a plan (`sql::template`); it may turn out that they may not.
    placeholders: RefCell<BTreeSet<usize>>,
}

impl PreparedStatement {
    pub(super) fn new(text: &str) -> Result<PreparedStatement> {
        let parsed = sql::parse(text)?;
        match &parsed.statement {
            Statement::Prepare { .. } | Statement::ExecutePrepared { .. } | Statement::Deallocate(_) => {
                let text = "This command is not supported in the prepared statement protocol yet";
                Err(EngineError::new(1295, b"HY000", text))
            }
            statement => {
                let placeholders = match statement {
                    Statement::Query(query) => template::candidates(query),
                    _ => BTreeSet::new(),
                };
                let (text, placeholders) = (text.to_string(), RefCell::new(placeholders));
                Ok(PreparedStatement { text, parsed, point: RefCell::new(None), placeholders })
            }
        }
    }

    /// The statement as a read by primary key, if it is one.
    pub(super) fn point(&self, catalog: &Catalog, database: Option<&str>) -> Option<Rc<PointRead>> {
        if let Some((version, db, point)) = &*self.point.borrow()
            && *version == catalog.version()
            && db.as_deref() == database
        {
            return point.clone();
        }
        let found = match &self.parsed.statement {
            Statement::Query(query) if self.parsed.hints.is_empty() => {
                point::recognise(query, self.parsed.texts.as_deref(), catalog, database).map(Rc::new)
            }
            _ => None,
        };
        *self.point.borrow_mut() = Some((catalog.version(), database.map(str::to_string), found.clone()));
        found
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn params(&self) -> usize {
        self.parsed.params
    }

    /// Whether plans of the statement may be kept: a query, without hints.
    pub(super) fn is_plain_query(&self) -> bool {
        matches!(self.parsed.statement, Statement::Query(_)) && self.parsed.hints.is_empty()
    }

    /// The parameters that may be placeholders and have values that may, as the binder would make literals of them.
    pub(super) fn placeholder_values(&self, params: &[Param]) -> template::Values {
        let value = |number: &usize| Some((*number, params.get(number - 1)?.literal()?));
        self.placeholders.borrow().iter().filter_map(value).collect()
    }

    /// These parameters cannot be placeholders; `None`: none can.
    pub(super) fn refuse_placeholders(&self, refused: Option<&BTreeSet<usize>>) {
        self.placeholders.borrow_mut().retain(|number| refused.is_some_and(|refused| !refused.contains(number)));
    }

    /// The statement with literals for its parameters. Error 1210 when their number is wrong.
    pub(super) fn bind(&self, params: &[Param]) -> Result<Parsed> {
        self.bind_all_but(params, &template::Values::new())
    }

    /// The statement with NULL for every parameter, and 1 where only a number can stand: what its columns are called, before there are values.
    pub(super) fn describe(&self) -> Result<Parsed> {
        let params = vec![Param::Null; self.parsed.params];
        self.bind_with(Binder { params: &params, placeholders: &template::Values::new(), describes: true })
    }

    /// As `bind`, without those that stay placeholders.
    pub(super) fn bind_all_but(&self, params: &[Param], placeholders: &template::Values) -> Result<Parsed> {
        if params.len() != self.parsed.params {
            let text =
                format!("Incorrect arguments to EXECUTE: {} parameters, {} values", self.parsed.params, params.len());
            return Err(EngineError::new(1210, b"HY000", text));
        }
        self.bind_with(Binder { params, placeholders, describes: false })
    }

    fn bind_with(&self, mut binder: Binder) -> Result<Parsed> {
        let mut parsed = self.parsed.clone();
        parsed.params = 0;
        if !binder.params.is_empty() {
            bind_statement(&mut parsed.statement, &mut binder)?;
        }
        Ok(parsed)
    }
}

fn bind_statement(statement: &mut Statement, binder: &mut Binder) -> Result<()> {
    match statement {
        Statement::Query(query) => binder.tree(query),
        Statement::Insert(insert) => match &mut insert.source {
            InsertSource::Query(query) => binder.tree(query),
            InsertSource::Values(rows) => rows.iter_mut().flatten().try_for_each(|value| binder.value(value)),
        },
        Statement::Update(update) => {
            binder.tree(&mut update.with)?;
            update.assignments.iter_mut().try_for_each(|(_, value)| binder.value(value))?;
            binder.tree(&mut update.from)?;
            binder.tree(&mut update.selection)
        }
        Statement::Delete(delete) => {
            binder.tree(&mut delete.with)?;
            binder.tree(&mut delete.using)?;
            binder.tree(&mut delete.selection)
        }
        Statement::Explain { statement, .. } => bind_statement(statement, binder),
        Statement::Show(show) => binder.tree(&mut show.filter.selection),
        _ => Ok(()),
    }
}

struct Binder<'a> {
    params: &'a [Param],
    placeholders: &'a template::Values,
    /// There are no values yet.
    describes: bool,
}

impl Binder<'_> {
    fn tree(&mut self, tree: &mut impl VisitMut) -> Result<()> {
        match walk_mut(tree, self) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// LIMIT takes whole numbers; some drivers send every number as DOUBLE, or as text.
    fn count(&self, bound: &mut Expr) -> Result<()> {
        let Some(param) = self.param_of(bound) else { return Ok(()) };
        let number = match self.describes {
            true => 1,
            false => param.whole().ok_or_else(|| {
                let text = format!("LIMIT and OFFSET take a whole number that is not negative, and {param:?} is none");
                EngineError::syntax(text)
            })?,
        };
        *bound = Expr::value(Value::Number(number.to_string(), false));
        Ok(())
    }

    /// The parameter that a placeholder stands for.
    fn param_of(&self, expr: &Expr) -> Option<&Param> {
        let Expr::Value(value) = expr else { return None };
        let Value::Placeholder(name) = &value.value else { return None };
        let number = name.trim_start_matches('?').parse::<usize>().ok()?;
        if self.placeholders.contains_key(&number) {
            return None;
        }
        self.params.get(number.checked_sub(1)?)
    }

    fn value(&mut self, value: &mut InsertValue) -> Result<()> {
        match value {
            InsertValue::Expr(expr) => self.tree(expr),
            InsertValue::Default => Ok(()),
        }
    }
}

impl VisitorMut for Binder<'_> {
    type Break = EngineError;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<EngineError> {
        let mut bounds: Vec<&mut Expr> = Vec::new();
        match &mut query.limit_clause {
            Some(ast::LimitClause::LimitOffset { limit, offset, .. }) => {
                bounds.extend(limit.as_mut());
                bounds.extend(offset.as_mut().map(|o| &mut o.value));
            }
            Some(ast::LimitClause::OffsetCommaLimit { offset, limit }) => bounds.extend([offset, limit]),
            None => {}
        }
        match bounds.into_iter().try_for_each(|bound| self.count(bound)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<EngineError> {
        if let Some(param) = self.param_of(expr) {
            *expr = param.expr();
        }
        ControlFlow::Continue(())
    }
}

impl Param {
    /// The value as a count; `None` when it is none.
    fn whole(&self) -> Option<u64> {
        let of_float = |value: f64| (value >= 0.0 && value.fract() == 0.0 && value < 1e15).then_some(value as u64);
        match self {
            Param::Int(value) => u64::try_from(*value).ok(),
            Param::UInt(value) => Some(*value),
            Param::Float(value) => of_float(f64::from(*value)),
            Param::Double(value) => of_float(*value),
            Param::Text(_) | Param::Bytes(_) => {
                let text = self.text();
                text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
            }
            _ => None,
        }
    }

    /// What the binder makes of the literal that `expr` writes; `None` for what has more to it (NULL, DOUBLE, numbers past BIGINT).
    fn literal(&self) -> Option<ScalarValue> {
        match self {
            Param::Null | Param::Float(_) | Param::Double(_) => None,
            Param::Int(value) => Some(ScalarValue::Int64(Some(*value))),
            Param::UInt(value) => i64::try_from(*value).ok().map(|value| ScalarValue::Int64(Some(value))),
            other => Some(ScalarValue::Utf8(Some(other.text()))),
        }
    }

    /// As a literal of the syntax tree.
    fn expr(&self) -> Expr {
        let number = |text: String| match text.strip_prefix('-') {
            Some(digits) => Expr::UnaryOp {
                op: ast::UnaryOperator::Minus,
                expr: Box::new(Expr::value(Value::Number(digits.to_string(), false))),
            },
            None => Expr::value(Value::Number(text, false)),
        };
        match self {
            Param::Null => Expr::value(Value::Null),
            Param::Int(value) => number(value.to_string()),
            Param::UInt(value) => number(value.to_string()),
            // With an exponent: a DOUBLE, not a DECIMAL.
            Param::Float(value) => number(format!("{value:e}")),
            Param::Double(value) => number(format!("{value:e}")),
            other => Expr::value(Value::SingleQuotedString(other.text())),
        }
    }

    /// As text of a value that is no number.
    pub(super) fn text(&self) -> String {
        match self {
            Param::Text(text) => text.clone(),
            Param::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Param::Date { year, month, day } => format!("{year:04}-{month:02}-{day:02}"),
            Param::DateTime { year, month, day, hour, minute, second, micros } => {
                let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
                if *micros == 0 { text } else { format!("{text}.{micros:06}") }
            }
            Param::Time { negative, days, hours, minutes, seconds, micros } => {
                let sign = if *negative { "-" } else { "" };
                let hours = u64::from(*days) * 24 + u64::from(*hours);
                let text = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
                if *micros == 0 { text } else { format!("{text}.{micros:06}") }
            }
            Param::Null => String::new(),
            Param::Int(value) => value.to_string(),
            Param::UInt(value) => value.to_string(),
            Param::Float(value) => value.to_string(),
            Param::Double(value) => value.to_string(),
        }
    }

    /// The value of a user variable.
    pub(super) fn of_literal(value: Option<&Value>) -> Param {
        match value {
            Some(Value::Number(text, _)) => match text.parse() {
                Ok(number) => Param::Int(number),
                Err(_) => text.parse().map_or_else(|_| Param::Text(text.clone()), Param::Double),
            },
            Some(Value::SingleQuotedString(text)) => Param::Text(text.clone()),
            Some(Value::Boolean(value)) => Param::Int(i64::from(*value)),
            _ => Param::Null,
        }
    }
}
