//! The rewrite of a parsed statement before it is bound: whatever MySQL writes in a way that `SqlToRel` has no hook for
//! becomes a call of a function or a plain operator. Names that begin with `__` are ours and cannot be called by users
//! (a binder must refuse them in the text it is given).

use std::ops::ControlFlow;

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, DataType as SqlType, DateTimeField, DuplicateTreatment, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, Interval,
    JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SetExpr, SetOperator, Statement,
    TrimWhereField, UnaryOperator, Value, ValueWithSpan, Values, VisitorMut,
};

use crate::sql::walk::walk_mut;

/// Rewrites a parsed statement into the form that `SqlToRel` with our planners understands. Idempotent. An error is a
/// user's error (1064).
pub fn prepare(statement: &mut Statement) -> Result<()> {
    match walk_mut(statement, &mut Rewrite) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(message) => Err(DataFusionError::Plan(message)),
    }
}

/// [`prepare`] for one expression.
pub fn prepare_expr(expr: &mut Expr) -> Result<()> {
    match walk_mut(expr, &mut Rewrite) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(message) => Err(DataFusionError::Plan(message)),
    }
}

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        // A minus belongs to the number before the number is typed: -9223372036854775808 is a BIGINT.
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } = expr
            && let Expr::Value(ValueWithSpan { value: Value::Number(digits, long), span }) = inner.as_mut()
            && !digits.starts_with('-')
        {
            let value = Value::Number(format!("-{digits}"), *long);
            *expr = Expr::Value(ValueWithSpan { value, span: *span });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        match rewrite(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(message) => ControlFlow::Break(message),
        }
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<String> {
        if let SetExpr::Values(values) = query.body.as_mut() {
            text_columns(values);
        }
        except_for_minus(&mut query.body);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<String> {
        for condition in [&mut select.selection, &mut select.having, &mut select.qualify].into_iter().flatten() {
            as_condition(condition);
        }
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            if let Some(JoinConstraint::On(condition)) = constraint(&mut join.join_operator) {
                as_condition(condition);
            }
        }
        ControlFlow::Continue(())
    }
}

/// MINUS is EXCEPT under another name, which the binder does not know.
fn except_for_minus(body: &mut SetExpr) {
    if let SetExpr::SetOperation { op, left, right, .. } = body {
        if *op == SetOperator::Minus {
            *op = SetOperator::Except;
        }
        except_for_minus(left);
        except_for_minus(right);
    }
}

/// A column of VALUES with texts among other values is text, which the binder does not see for itself.
fn text_columns(values: &mut Values) {
    let is_text = |expr: &Expr| {
        matches!(
            expr,
            Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(_) | Value::DoubleQuotedString(_), .. })
        )
    };
    let is_null = |expr: &Expr| matches!(expr, Expr::Value(ValueWithSpan { value: Value::Null, .. }));
    let width = values.rows.first().map_or(0, |row| row.content.len());
    for column in 0..width {
        let mut items: Vec<&mut Expr> = values.rows.iter_mut().filter_map(|row| row.content.get_mut(column)).collect();
        if !items.iter().any(|item| is_text(item)) {
            continue;
        }
        let others = items.iter_mut().filter(|item| !is_text(item) && !is_null(item) && !is_cast_to_text(item));
        for item in others {
            let inner = std::mem::replace(*item, null());
            **item = cast(inner, SqlType::Varchar(None));
        }
    }
}

fn is_cast_to_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Cast { data_type: SqlType::Varchar(_), .. })
}

fn constraint(join: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match join {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c)
        | JoinOperator::Semi(c)
        | JoinOperator::LeftSemi(c)
        | JoinOperator::RightSemi(c)
        | JoinOperator::Anti(c)
        | JoinOperator::LeftAnti(c)
        | JoinOperator::RightAnti(c) => Some(c),
        _ => None,
    }
}

/// A condition that may be a number (`WHERE 1`) is compared with zero by `__bool`.
fn as_condition(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => as_condition(inner),
        // Their operands are looked at when the operator is bound.
        Expr::BinaryOp { op, .. } if is_logical(op) => {}
        Expr::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, .. } => {}
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. }
        | Expr::Exists { .. }
        | Expr::AnyOp { .. }
        | Expr::AllOp { .. }
        | Expr::Value(ValueWithSpan { value: Value::Boolean(_), .. }) => {}
        Expr::Function(function) if is_call(function, "__bool") || is_call(function, "__regexp") => {}
        other => wrap(other, "__bool"),
    }
}

fn is_logical(op: &BinaryOperator) -> bool {
    use BinaryOperator as B;
    matches!(
        op,
        B::And
            | B::Or
            | B::Xor
            | B::Eq
            | B::NotEq
            | B::Lt
            | B::LtEq
            | B::Gt
            | B::GtEq
            | B::Spaceship
            | B::PGOverlap
            | B::StringConcat
    )
}

fn is_call(function: &Function, name: &str) -> bool {
    function.name.to_string().eq_ignore_ascii_case(name)
}

/// `expr` becomes `name(expr)`.
fn wrap(expr: &mut Expr, name: &str) {
    let inner = std::mem::replace(expr, null());
    *expr = call(name, vec![inner]);
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

fn text(value: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.into()).into())
}

fn number(value: i64) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).into())
}

/// A call of a function.
fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn cast(expr: Expr, data_type: SqlType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, format: None, array: false }
}

fn take(expr: &mut Box<Expr>) -> Expr {
    std::mem::replace(expr.as_mut(), null())
}

fn rewrite(expr: &mut Expr) -> Result<(), String> {
    let new = match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => match number_literal(digits) {
            Some(new) => new,
            None => return Ok(()),
        },
        Expr::BinaryOp { left, op, right } => match binary(left, op, right)? {
            Some(new) => new,
            None => return Ok(()),
        },
        Expr::UnaryOp { op, expr: inner } => match op {
            UnaryOperator::Minus => call("__negative", vec![take(inner)]),
            UnaryOperator::Plus => take(inner),
            UnaryOperator::BitwiseNot => call("bitnot", vec![take(inner)]),
            UnaryOperator::Not | UnaryOperator::BangNot => {
                as_condition(inner);
                *op = UnaryOperator::Not;
                return Ok(());
            }
            _ => return Ok(()),
        },
        Expr::Function(function) => match self::function(function)? {
            Some(new) => new,
            None => return Ok(()),
        },
        Expr::Convert { expr: inner, data_type, .. } => match data_type.take() {
            Some(ty) => cast(take(inner), ty),
            None => take(inner),
        },
        Expr::RLike { negated, expr: value, pattern, .. } => {
            let matched = call("__regexp", vec![take(value), take(pattern)]);
            if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(matched) } } else { matched }
        }
        Expr::Extract { field, expr: value, .. } => call("__extract", vec![text(unit(field)?), take(value)]),
        Expr::Position { expr: needle, r#in } => call("locate", vec![take(needle), take(r#in)]),
        Expr::Substring { expr: value, substring_from, substring_for, .. } => {
            let mut args = vec![take(value)];
            args.push(substring_from.take().map_or_else(|| number(1), |from| *from));
            args.extend(substring_for.take().map(|length| *length));
            call("substr", args)
        }
        Expr::Trim { expr: value, trim_where, trim_what, trim_characters } => {
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "trim",
            };
            let mut args = vec![take(value)];
            args.extend(trim_what.take().map(|what| *what));
            args.extend(trim_characters.take().into_iter().flatten());
            call(name, args)
        }
        Expr::Ceil { expr: value, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            call("ceil", vec![take(value)])
        }
        Expr::Floor { expr: value, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
            call("floor", vec![take(value)])
        }
        Expr::Collate { expr: value, .. } | Expr::Prefixed { value, .. } => take(value),
        Expr::InList { expr: value, list, negated } => match tuple_list(value, list, *negated) {
            Some(new) => new,
            None => return Ok(()),
        },
        Expr::Interval(interval) => {
            interval_parts(interval)?;
            return Ok(());
        }
        _ => return Ok(()),
    };
    *expr = new;
    Ok(())
}

/// Literals that DataFusion types otherwise: `1e3` is a DOUBLE, an integer past BIGINT a LARGEINT.
fn number_literal(digits: &str) -> Option<Expr> {
    if digits.contains(['e', 'E']) {
        return Some(cast(text(digits), SqlType::Double(datafusion::sql::sqlparser::ast::ExactNumberInfo::None)));
    }
    let whole = digits.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
    if whole && digits.parse::<i64>().is_err() {
        let ty = if digits.parse::<i128>().is_ok() {
            SqlType::Custom(ObjectName(vec![ObjectNamePart::Identifier(Ident::new("LARGEINT"))]), Vec::new())
        } else {
            SqlType::Double(datafusion::sql::sqlparser::ast::ExactNumberInfo::None)
        };
        return Some(cast(text(digits), ty));
    }
    // DECIMAL has 38 digits; a longer literal is a DOUBLE.
    if digits.bytes().filter(u8::is_ascii_digit).count() > 38 {
        return Some(cast(text(digits), SqlType::Double(datafusion::sql::sqlparser::ast::ExactNumberInfo::None)));
    }
    None
}

/// `d + INTERVAL n unit`, and comparisons of row values.
fn binary(left: &mut Box<Expr>, op: &BinaryOperator, right: &mut Box<Expr>) -> Result<Option<Expr>, String> {
    let sum = match (op, left.as_mut(), right.as_mut()) {
        (BinaryOperator::Plus, date, Expr::Interval(interval))
        | (BinaryOperator::Plus, Expr::Interval(interval), date) => interval_sum("__interval_add", date, interval)?,
        (BinaryOperator::Minus, date, Expr::Interval(interval)) => interval_sum("__interval_sub", date, interval)?,
        (BinaryOperator::Eq, Expr::Tuple(l), Expr::Tuple(r)) if l.len() == r.len() => row_equal(l, r),
        (BinaryOperator::NotEq, Expr::Tuple(l), Expr::Tuple(r)) if l.len() == r.len() => {
            Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(row_equal(l, r)))) }
        }
        _ => return Ok(None),
    };
    Ok(Some(sum))
}

fn interval_sum(name: &str, date: &mut Expr, interval: &mut Interval) -> Result<Expr, String> {
    let (count, unit) = interval_parts(interval)?;
    let date = std::mem::replace(date, null());
    // A unit of the day makes a DATETIME of a DATE; a longer one leaves it a DATE.
    if matches!(unit, "hour" | "minute" | "second" | "millisecond" | "microsecond") {
        let direction = name.trim_start_matches("__interval_");
        return Ok(call(&format!("{unit}s_{direction}"), vec![date, count]));
    }
    Ok(call(name, vec![date, count, text(unit)]))
}

/// Count and unit of INTERVAL; `INTERVAL '1 day'` is understood as well.
fn interval_parts(interval: &Interval) -> Result<(Expr, &'static str), String> {
    if let Some(field) = &interval.leading_field {
        return Ok(((*interval.value).clone(), unit(field)?));
    }
    if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(value), .. }) = interval.value.as_ref()
        && let Some((count, name)) = value.trim().split_once(' ')
        && let Ok(count) = count.parse::<i64>()
    {
        return Ok((number(count), unit_named(name.trim())?));
    }
    Err("INTERVAL needs a unit, as in INTERVAL 1 DAY".into())
}

fn unit(field: &DateTimeField) -> Result<&'static str, String> {
    unit_named(&field.to_string())
}

fn unit_named(name: &str) -> Result<&'static str, String> {
    let name = name.to_ascii_lowercase();
    Ok(match name.strip_suffix('s').unwrap_or(&name) {
        "year" => "year",
        "quarter" => "quarter",
        "month" => "month",
        "week" => "week",
        "day" => "day",
        "hour" => "hour",
        "minute" => "minute",
        "second" => "second",
        "millisecond" => "millisecond",
        "microsecond" => "microsecond",
        "dayofweek" | "dow" => "dayofweek",
        "dayofyear" | "doy" => "dayofyear",
        "epoch" => "epoch",
        other => return Err(format!("unknown time unit {other}")),
    })
}

fn row_equal(left: &mut Vec<Expr>, right: &mut Vec<Expr>) -> Expr {
    conjunction(left.drain(..).zip(right.drain(..)).map(|(l, r)| Expr::BinaryOp {
        left: Box::new(l),
        op: BinaryOperator::Eq,
        right: Box::new(r),
    }))
}

fn conjunction(terms: impl Iterator<Item = Expr>) -> Expr {
    join_terms(terms, BinaryOperator::And)
}

fn join_terms(mut terms: impl Iterator<Item = Expr>, op: BinaryOperator) -> Expr {
    let first = terms.next().unwrap_or_else(null);
    terms.fold(first, |all, term| Expr::BinaryOp { left: Box::new(all), op: op.clone(), right: Box::new(term) })
}

/// `(a, b) IN ((1, 2), (3, 4))`.
fn tuple_list(value: &mut Box<Expr>, list: &mut [Expr], negated: bool) -> Option<Expr> {
    let Expr::Tuple(columns) = value.as_ref() else {
        return None;
    };
    let rows = list.iter_mut().map(|row| match row {
        Expr::Tuple(values) if values.len() == columns.len() => Some(row_equal(&mut columns.clone(), values)),
        _ => None,
    });
    let any = join_terms(rows.collect::<Option<Vec<_>>>()?.into_iter(), BinaryOperator::Or);
    let any = Expr::Nested(Box::new(any));
    Some(if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) } } else { any })
}

/// Calls whose arguments are not all expressions.
fn function(function: &mut Function) -> Result<Option<Expr>, String> {
    let name = function.name.to_string().trim_matches('`').to_ascii_lowercase();
    let FunctionArguments::List(list) = &mut function.args else {
        return Ok(None);
    };
    match name.as_str() {
        "count" if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) && list.args.len() > 1 => {
            let tuple = call("__tuple", arguments(list)?);
            list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(tuple))];
            Ok(None)
        }
        "count_if" => {
            let condition = arguments(list)?.into_iter().next().ok_or("count_if needs a condition")?;
            let one = call("if", vec![condition, number(1), null()]);
            list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(one))];
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("count"))]);
            Ok(None)
        }
        "unix_timestamp" if list.args.is_empty() => Ok(Some(call("__unix_now", Vec::new()))),
        "group_concat" | "string_agg" => {
            group_concat(&name, list)?;
            function.name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("__group_concat"))]);
            Ok(None)
        }
        "date_add" | "adddate" | "date_sub" | "subdate" => {
            let args = arguments(list)?;
            let [date, Expr::Interval(interval)] = args.as_slice() else {
                return Ok(None);
            };
            let (count, unit) = interval_parts(interval)?;
            let direction = if matches!(name.as_str(), "date_add" | "adddate") { "add" } else { "sub" };
            Ok(Some(call(&format!("{unit}s_{direction}"), vec![date.clone(), count])))
        }
        "time_slice" | "date_slice" => {
            let args = arguments(list)?;
            let [date, Expr::Interval(interval), rest @ ..] = args.as_slice() else {
                return Ok(None);
            };
            let (count, unit) = interval_parts(interval)?;
            let bound = match rest {
                [] => text("floor"),
                [Expr::Identifier(word), ..] => text(word.value.to_ascii_lowercase()),
                [other, ..] => other.clone(),
            };
            Ok(Some(call("__time_slice", vec![date.clone(), count, text(unit), bound])))
        }
        "timestampadd" | "timestampdiff" => {
            if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = list.args.first_mut()
                && let Expr::Identifier(word) = first
            {
                *first = text(unit_named(&word.value)?);
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

fn arguments(list: &FunctionArgumentList) -> Result<Vec<Expr>, String> {
    let expr = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
        other => Err(format!("unexpected argument {other}")),
    };
    list.args.iter().map(expr).collect()
}

/// `GROUP_CONCAT([DISTINCT] a, b ORDER BY c SEPARATOR s)` becomes `__group_concat([DISTINCT] concat(a, b), s ORDER BY
/// c)`.
fn group_concat(name: &str, list: &mut FunctionArgumentList) -> Result<(), String> {
    let mut separator = None;
    list.clauses.retain(|clause| match clause {
        FunctionArgumentClause::Separator(value) => {
            separator = Some(Expr::Value(value.clone()));
            false
        }
        _ => true,
    });
    let mut args = arguments(list)?;
    if separator.is_none() && name == "string_agg" && args.len() == 2 {
        separator = args.pop();
    }
    let value = if args.len() == 1 { args.remove(0) } else { call("concat", args) };
    list.args = [value, separator.unwrap_or_else(|| text(","))]
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
        .into();
    Ok(())
}
