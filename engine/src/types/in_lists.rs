//! Two IN lists over one operand.
//!
//! DataFusion's simplifier makes `x IN (A and B)` of `x IN A AND x IN B`, and the same of `x NOT IN A OR x NOT IN B`. When the lists have nothing in
//! common it takes the empty list for FALSE (NOT IN: TRUE), also when x is NULL; but then both sides are NULL. So the lists are joined here,
//! before it sees them.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Expr, Operator, binary_expr};

/// `left AND right` or `left OR right`.
pub(super) fn joined(left: Expr, op: Operator, right: Expr) -> Expr {
    match (&left, &right) {
        (Expr::InList(a), Expr::InList(b)) if can_be_joined(a, op, b) => in_both(a, op, b),
        _ => binary_expr(left, op, right),
    }
}

fn can_be_joined(a: &InList, op: Operator, b: &InList) -> bool {
    let constant = |item: &Expr| matches!(item, Expr::Literal(value, _) if !value.is_null());
    a.expr == b.expr
        && !a.expr.is_volatile()
        && a.negated == b.negated
        && a.negated == (op == Operator::Or)
        && a.list.iter().chain(&b.list).all(constant)
}

fn in_both(a: &InList, op: Operator, b: &InList) -> Expr {
    let list: Vec<Expr> = a.list.iter().filter(|item| b.list.contains(item)).cloned().collect();
    let operand = a.expr.as_ref().clone();
    if !list.is_empty() {
        return Expr::InList(InList { expr: Box::new(operand), list, negated: a.negated });
    }
    // TRUE or FALSE of every value, NULL of NULL.
    let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
    if a.negated {
        binary_expr(operand.is_not_null(), op, unknown)
    } else {
        binary_expr(operand.is_null(), op, unknown)
    }
}
