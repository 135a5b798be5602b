//! Filters that storage evaluates itself: a logical expression becomes a conjunction of [`Predicate`]s, or nothing. The conversion is
//! exact or does not happen, so that the filter need not be evaluated again above the scan.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like, Placeholder};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use starling_storage::schema::{ColumnType, CompareOp, Predicate, Scalar, TabletSchema};

/// The predicates equal to `expr`, all of which must hold; `None` when storage cannot evaluate it.
pub fn predicates(expr: &Expr, schema: &TabletSchema) -> Option<Vec<Predicate>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let mut all = predicates(left, schema)?;
            all.extend(predicates(right, schema)?);
            Some(all)
        }
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => one_of(expr, schema).map(|p| vec![p]),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let op = compare(*op)?;
            comparison(left, op, right, schema)
                .or_else(|| comparison(right, mirrored(op), left, schema))
                .map(|p| vec![p])
        }
        Expr::Between(Between { expr, negated: false, low, high }) => {
            Some(vec![comparison(expr, CompareOp::Ge, low, schema)?, comparison(expr, CompareOp::Le, high, schema)?])
        }
        Expr::InList(list) => in_list(list, schema).map(|p| vec![p]),
        Expr::IsNull(inner) => Some(vec![Predicate::IsNull { column: column(inner, schema)? }]),
        Expr::IsNotNull(inner) => Some(vec![Predicate::IsNotNull { column: column(inner, schema)? }]),
        Expr::Like(like) => prefix(like, schema).map(|p| vec![p]),
        // What the optimiser proves after it gave the filter to the scan, as `k IS NOT NULL` of a column without NULLs.
        Expr::Literal(ScalarValue::Boolean(Some(true)), _) => Some(Vec::new()),
        Expr::Literal(ScalarValue::Boolean(_), _) => Some(vec![Predicate::In { column: 0, values: Vec::new() }]),
        Expr::Column(_) => boolean(expr, true, schema),
        Expr::Not(inner) if matches!(**inner, Expr::Column(_)) => boolean(inner, false, schema),
        _ => None,
    }
}

fn compare(op: Operator) -> Option<CompareOp> {
    Some(match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::Ne,
        Operator::Lt => CompareOp::Lt,
        Operator::LtEq => CompareOp::Le,
        Operator::Gt => CompareOp::Gt,
        Operator::GtEq => CompareOp::Ge,
        _ => return None,
    })
}

fn mirrored(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
        same => same,
    }
}

fn column(expr: &Expr, schema: &TabletSchema) -> Option<u32> {
    match expr {
        Expr::Column(column) => schema.columns.iter().position(|c| c.name == column.name).map(|at| at as u32),
        _ => None,
    }
}

fn literal(expr: &Expr, column: u32, schema: &TabletSchema) -> Option<Scalar> {
    match expr {
        Expr::Literal(value, _) => scalar(value, schema.columns[column as usize].ty),
        Expr::Placeholder(placeholder) => stand_in(placeholder, schema.columns[column as usize].ty),
        _ => None,
    }
}

/// Some value for a placeholder of the column's own type, where storage can evaluate every value of that type: what it will be is known when the plan is
/// made physical. Not FLOAT and DOUBLE, whose zeros and NaN are left to expressions.
fn stand_in(placeholder: &Placeholder, ty: ColumnType) -> Option<Scalar> {
    if placeholder.field.as_ref()?.data_type() != &super::table::sql_type(ty) {
        return None;
    }
    Some(match ty {
        ColumnType::Boolean => Scalar::Bool(true),
        ColumnType::LargeInt | ColumnType::Decimal { .. } => Scalar::Wide(1),
        ColumnType::Char(_) | ColumnType::Varchar(_) => Scalar::Text(String::new()),
        ColumnType::Float | ColumnType::Double => return None,
        _ => Scalar::Int(1),
    })
}

fn comparison(left: &Expr, op: CompareOp, right: &Expr, schema: &TabletSchema) -> Option<Predicate> {
    let column = column(left, schema)?;
    Some(Predicate::Compare { column, op, value: literal(right, column, schema)? })
}

fn boolean(expr: &Expr, wanted: bool, schema: &TabletSchema) -> Option<Vec<Predicate>> {
    let column = column(expr, schema)?;
    if schema.columns[column as usize].ty != ColumnType::Boolean {
        return None;
    }
    Some(vec![Predicate::Compare { column, op: CompareOp::Eq, value: Scalar::Bool(wanted) }])
}

/// `x = a OR x = b OR x IN (c)`, which the optimiser makes of short IN lists, is `x IN (a, b, c)` again.
fn one_of(expr: &Expr, schema: &TabletSchema) -> Option<Predicate> {
    let (mut sought, mut values) = (None, Vec::new());
    let mut rest = vec![expr];
    while let Some(expr) = rest.pop() {
        if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) = expr {
            rest.extend([right.as_ref(), left.as_ref()]);
            continue;
        }
        let term = predicates(expr, schema)?;
        let (column, found) = match <[Predicate; 1]>::try_from(term).ok()? {
            [Predicate::Compare { column, op: CompareOp::Eq, value }] => (column, vec![value]),
            [Predicate::In { column, values }] => (column, values),
            _ => return None,
        };
        if *sought.get_or_insert(column) != column {
            return None;
        }
        values.extend(found);
    }
    Some(Predicate::In { column: sought?, values })
}

fn in_list(list: &InList, schema: &TabletSchema) -> Option<Predicate> {
    let column = column(&list.expr, schema)?;
    let values = list.list.iter().map(|e| literal(e, column, schema)).collect::<Option<Vec<_>>>()?;
    Some(if list.negated { Predicate::NotIn { column, values } } else { Predicate::In { column, values } })
}

/// `LIKE 'prefix%'` without any other wildcard.
fn prefix(like: &Like, schema: &TabletSchema) -> Option<Predicate> {
    if like.negated || like.case_insensitive || like.escape_char.is_some_and(|c| c != '\\') {
        return None;
    }
    let column = column(&like.expr, schema)?;
    let Scalar::Text(pattern) = literal(&like.pattern, column, schema)? else { return None };
    let prefix = pattern.strip_suffix('%')?;
    if prefix.contains(['%', '_', '\\']) {
        return None;
    }
    Some(Predicate::Prefix { column, prefix: prefix.to_string() })
}

/// A literal as a value of the column's own type; `None` for NULL and for what the type cannot hold exactly.
pub fn scalar(value: &ScalarValue, ty: ColumnType) -> Option<Scalar> {
    match ty {
        ColumnType::Boolean => match value {
            ScalarValue::Boolean(v) => v.map(Scalar::Bool),
            _ => None,
        },
        ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt => {
            let wide = integer(value)?;
            let bits = match ty {
                ColumnType::TinyInt => 8,
                ColumnType::SmallInt => 16,
                ColumnType::Int => 32,
                _ => 64,
            };
            let limit = 1i128 << (bits - 1);
            (-limit..limit).contains(&wide).then_some(Scalar::Int(wide as i64))
        }
        ColumnType::LargeInt => integer(value).map(Scalar::Wide),
        ColumnType::Float => match float(value)? {
            v if f64::from(v as f32) == v => Some(Scalar::Float(v)),
            _ => None,
        },
        ColumnType::Double => float(value).map(Scalar::Float),
        ColumnType::Decimal { scale, .. } => match value {
            ScalarValue::Decimal128(v, _, s) if *s == scale as i8 => v.map(Scalar::Wide),
            _ => integer(value)?.checked_mul(10i128.checked_pow(u32::from(scale))?).map(Scalar::Wide),
        },
        ColumnType::Date => match value {
            ScalarValue::Date32(v) => v.map(|days| Scalar::Int(i64::from(days))),
            _ => None,
        },
        ColumnType::DateTime => match value {
            ScalarValue::TimestampMicrosecond(v, None) => v.map(Scalar::Int),
            _ => None,
        },
        ColumnType::Char(_) | ColumnType::Varchar(_) => match value {
            ScalarValue::Utf8(v) | ScalarValue::Utf8View(v) | ScalarValue::LargeUtf8(v) => v.clone().map(Scalar::Text),
            _ => None,
        },
    }
}

fn integer(value: &ScalarValue) -> Option<i128> {
    match value {
        ScalarValue::Int8(v) => v.map(i128::from),
        ScalarValue::Int16(v) => v.map(i128::from),
        ScalarValue::Int32(v) => v.map(i128::from),
        ScalarValue::Int64(v) => v.map(i128::from),
        ScalarValue::UInt8(v) => v.map(i128::from),
        ScalarValue::UInt16(v) => v.map(i128::from),
        ScalarValue::UInt32(v) => v.map(i128::from),
        ScalarValue::UInt64(v) => v.map(i128::from),
        ScalarValue::Decimal128(v, _, 0) => *v,
        ScalarValue::Decimal256(v, _, 0) => v.and_then(|v| v.to_i128()),
        _ => None,
    }
}

fn float(value: &ScalarValue) -> Option<f64> {
    let v = match value {
        ScalarValue::Float32(v) => v.map(f64::from),
        ScalarValue::Float64(v) => *v,
        _ => None,
    }?;
    // NaN and the zeros compare differently by bits and by value: those stay with the expression.
    (!v.is_nan() && v != 0.0).then_some(v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::logical_expr::{binary_expr, col};
    use starling_storage::schema::{Column, TableKind};
    use std::sync::Arc;

    /// A placeholder of the column's own type is filtered by in storage, as its value will be; one of another type is not, nor one whose value decides.
    #[test]
    fn placeholders_are_taken_where_every_value_is() {
        let types = [
            (ColumnType::Boolean, true),
            (ColumnType::TinyInt, true),
            (ColumnType::Int, true),
            (ColumnType::BigInt, true),
            (ColumnType::LargeInt, true),
            (ColumnType::Decimal { precision: 10, scale: 2 }, true),
            (ColumnType::Date, true),
            (ColumnType::DateTime, true),
            (ColumnType::Varchar(10), true),
            (ColumnType::Float, false),
            (ColumnType::Double, false),
        ];
        for (ty, taken) in types {
            let column = Column { id: 0, name: "c".into(), ty, nullable: true, default: None, comment: String::new() };
            let schema = TabletSchema {
                version: 1,
                kind: TableKind::Duplicate,
                columns: vec![column],
                key_columns: 1,
                sort_columns: vec![0],
                bucket_columns: vec![],
            };
            let compared = |ty: DataType| {
                let field = Some(Arc::new(Field::new("", ty, false)));
                let placeholder = Expr::Placeholder(Placeholder::new_with_field("$1".into(), field));
                predicates(&binary_expr(col("c"), Operator::GtEq, placeholder), &schema).is_some()
            };
            assert_eq!(compared(crate::plan::table::sql_type(ty)), taken, "{ty:?}");
            assert!(!compared(DataType::UInt16), "{ty:?}");
        }
    }
}
