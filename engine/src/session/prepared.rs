//! Prepared statements: the text is parsed once, parameters become literals of the syntax tree at each execution.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Value, VisitMut, VisitorMut};

use super::Param;
use crate::error::{EngineError, Result};
use crate::sql::statement::{InsertSource, InsertValue, Statement};
use crate::sql::{self, Parsed};

/// A parsed statement with parameters.
pub(super) struct PreparedStatement {
    text: String,
    parsed: Parsed,
}

impl PreparedStatement {
    pub(super) fn new(text: &str) -> Result<PreparedStatement> {
        let parsed = sql::parse(text)?;
        match &parsed.statement {
            Statement::Prepare { .. } | Statement::ExecutePrepared { .. } | Statement::Deallocate(_) => {
                let text = "This command is not supported in the prepared statement protocol yet";
                Err(EngineError::new(1295, b"HY000", text))
            }
            _ => Ok(PreparedStatement { text: text.to_string(), parsed }),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn params(&self) -> usize {
        self.parsed.params
    }

    /// The statement with literals for its parameters. Error 1210 when their number is wrong.
    pub(super) fn bind(&self, params: &[Param]) -> Result<Parsed> {
        if params.len() != self.parsed.params {
            let text =
                format!("Incorrect arguments to EXECUTE: {} parameters, {} values", self.parsed.params, params.len());
            return Err(EngineError::new(1210, b"HY000", text));
        }
        let mut parsed = self.parsed.clone();
        parsed.params = 0;
        if !params.is_empty() {
            bind_statement(&mut parsed.statement, &mut Binder { params });
        }
        Ok(parsed)
    }
}

fn bind_statement(statement: &mut Statement, binder: &mut Binder) {
    match statement {
        Statement::Query(query) => binder.tree(query),
        Statement::Insert(insert) => match &mut insert.source {
            InsertSource::Query(query) => binder.tree(query),
            InsertSource::Values(rows) => rows.iter_mut().flatten().for_each(|value| binder.value(value)),
        },
        Statement::Update(update) => {
            binder.tree(&mut update.with);
            update.assignments.iter_mut().for_each(|(_, value)| binder.value(value));
            binder.tree(&mut update.from);
            binder.tree(&mut update.selection);
        }
        Statement::Delete(delete) => {
            binder.tree(&mut delete.with);
            binder.tree(&mut delete.using);
            binder.tree(&mut delete.selection);
        }
        Statement::Explain { statement, .. } => bind_statement(statement, binder),
        Statement::Show(show) => binder.tree(&mut show.filter.selection),
        _ => {}
    }
}

struct Binder<'a> {
    params: &'a [Param],
}

impl Binder<'_> {
    fn tree(&mut self, tree: &mut impl VisitMut) {
        // The visitor never breaks.
        let _ = tree.visit(self);
    }

    fn value(&mut self, value: &mut InsertValue) {
        if let InsertValue::Expr(expr) = value {
            self.tree(expr);
        }
    }
}

impl VisitorMut for Binder<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr {
            if let Value::Placeholder(name) = &value.value {
                let param =
                    name.trim_start_matches('?').parse::<usize>().ok().and_then(|n| self.params.get(n.checked_sub(1)?));
                if let Some(param) = param {
                    *expr = param.expr();
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl Param {
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
    fn text(&self) -> String {
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
