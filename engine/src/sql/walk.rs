//! Walks over syntax trees. A pass implements sqlparser's `VisitorMut`; it is run by [`walk_mut`] and not by `tree.visit(..)`.
//!
//! Why: sqlparser generates the walk over its whole tree, some hundred types, once for each type of visitor, with the growth of the stack in each
//! step of each. That is about one megabyte of code for every pass. Here all passes share one walk, behind one dynamic call for each node.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, ObjectName, Query, Select, TableFactor, Visit, VisitMut, Visitor, VisitorMut};

/// Runs `pass` over `tree`; what it breaks with.
pub fn walk_mut<B>(tree: &mut impl VisitMut, pass: &mut dyn VisitorMut<Break = B>) -> ControlFlow<B> {
    let mut kept = Kept { pass, broken: None };
    let _ = tree.visit(&mut Erased(&mut kept));
    kept.broken.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}

/// Calls `change` with every expression of `tree`, the inner ones first.
pub fn change_exprs<B>(
    tree: &mut impl VisitMut,
    change: &mut dyn FnMut(&mut Expr) -> ControlFlow<B>,
) -> ControlFlow<B> {
    walk_mut(tree, &mut ChangeExprs(change))
}

/// Whether an expression of `tree` is one that `is_sought` accepts.
pub fn any_expr(tree: &impl Visit, is_sought: &mut dyn FnMut(&Expr) -> bool) -> bool {
    tree.visit(&mut Search { expr: is_sought, relation: &mut |_| false }).is_break()
}

/// Whether a table that `tree` names is one that `is_sought` accepts.
pub fn any_relation(tree: &impl Visit, is_sought: &mut dyn FnMut(&ObjectName) -> bool) -> bool {
    tree.visit(&mut Search { expr: &mut |_| false, relation: is_sought }).is_break()
}

/// Hands each hook that a pass of ours implements on to another visitor.
macro_rules! hand_on {
    ($($hook:ident: $node:ty),+ $(,)?) => {
        $(fn $hook(&mut self, node: &mut $node) -> ControlFlow<()> {
            self.hand_on(|pass| pass.$hook(node))
        })+
    };
}

macro_rules! all_hooks {
    () => {
        hand_on! {
            pre_visit_query: Query, post_visit_query: Query, pre_visit_select: Select, post_visit_select: Select,
            pre_visit_relation: ObjectName, post_visit_relation: ObjectName, pre_visit_table_factor: TableFactor,
            post_visit_table_factor: TableFactor, pre_visit_expr: Expr, post_visit_expr: Expr,
        }
    };
}

/// A pass whose break value is kept aside, so that all passes look alike to the walk.
struct Kept<'a, B> {
    pass: &'a mut dyn VisitorMut<Break = B>,
    broken: Option<B>,
}

impl<B> Kept<'_, B> {
    fn hand_on(&mut self, call: impl FnOnce(&mut dyn VisitorMut<Break = B>) -> ControlFlow<B>) -> ControlFlow<()> {
        match call(self.pass) {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(value) => {
                self.broken = Some(value);
                ControlFlow::Break(())
            }
        }
    }
}

impl<B> VisitorMut for Kept<'_, B> {
    type Break = ();
    all_hooks!();
}

/// The one type of visitor that sqlparser's walk is compiled for.
struct Erased<'a>(&'a mut dyn VisitorMut<Break = ()>);

impl Erased<'_> {
    fn hand_on(&mut self, call: impl FnOnce(&mut dyn VisitorMut<Break = ()>) -> ControlFlow<()>) -> ControlFlow<()> {
        call(self.0)
    }
}

impl VisitorMut for Erased<'_> {
    type Break = ();
    all_hooks!();
}

struct ChangeExprs<'a, B>(&'a mut dyn FnMut(&mut Expr) -> ControlFlow<B>);

impl<B> VisitorMut for ChangeExprs<'_, B> {
    type Break = B;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<B> {
        (self.0)(expr)
    }
}

/// The one type of reading visitor.
struct Search<'a> {
    expr: &'a mut dyn FnMut(&Expr) -> bool,
    relation: &'a mut dyn FnMut(&ObjectName) -> bool,
}

impl Visitor for Search<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if (self.expr)(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if (self.relation)(relation) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse_expression;

    #[test]
    fn a_pass_sees_inner_expressions_first_and_its_break_comes_back() {
        let mut tree = parse_expression("f(a, 1 + b)").unwrap();
        let mut seen = Vec::new();
        let end = change_exprs::<String>(&mut tree, &mut |expr| {
            seen.push(expr.to_string());
            if seen.len() == 4 { ControlFlow::Break("four".to_string()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(seen, ["a", "1", "b", "1 + b"]);
        assert_eq!(end, ControlFlow::Break("four".to_string()));
    }

    #[test]
    fn a_search_goes_into_subqueries() {
        let tree = parse_expression("x IN (SELECT y FROM d.t WHERE z = 3)").unwrap();
        assert!(any_expr(&tree, &mut |expr| expr.to_string() == "z = 3"));
        assert!(!any_expr(&tree, &mut |expr| expr.to_string() == "z = 4"));
        assert!(any_relation(&tree, &mut |name| name.to_string() == "d.t"));
        assert!(!any_relation(&tree, &mut |name| name.to_string() == "d.u"));
    }
}
