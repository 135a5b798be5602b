//! The types of SQL as StarRocks and MySQL understand them, over DataFusion's planner: how literals are typed, how
//! operands are brought together, what arithmetic gives, how a value is cast and written as text.
//!
//! How a binder uses it, in order:
//! 1. [`prepare`] rewrites what DataFusion's SQL planner cannot hook (INTERVAL arithmetic, DIV, `1e3`, GROUP_CONCAT's
//!    SEPARATOR, COUNT(DISTINCT a, b), ...) in the parsed statement;
//! 2. `SqlToRel` runs with [`parser_options`], [`expr_planners`], [`type_planner`] and `functions::registry()`;
//! 3. an `Analyzer` with exactly [`analyzer_rules`], before any optimizer rule.
//!
//! | file | part |
//! |---|---|
//! | `prepare` | the rewrite of the parsed statement |
//! | `planner` | operators and type names while binding |
//! | `analyze` | the rule that types a bound plan |
//! | `coercion` | the tables: common types, comparison types, types of arithmetic |
//! | `arith` | arithmetic as functions of a plan |
//! | `cast` | the one CAST routine, for expressions, INSERT and loads |
//! | `cast_expr` | CAST in a plan |
//! | `literal` | constants in the type of the column beside them |
//! | `parse` | text to values |
//! | `text` | a value as MySQL's text protocol shows it |
//! | `civil` | the calendar |
//!
//! LARGEINT is `Decimal256(39, 0)` in a plan and a raw `i128` in a `Decimal128(38, 0)` in storage: a `Decimal256(39, 0)`
//! is never anything else. Core: any; everything here is pure.

mod analyze;
pub(crate) mod arith;
mod cast;
pub(crate) mod cast_expr;
pub mod civil;
pub mod coercion;
mod grouping_sets;
mod in_lists;
mod literal;
pub mod parse;
mod planner;
mod prepare;
pub mod text;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::planner::{ExprPlanner, TypePlanner};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::sql::planner::{NullOrdering, ParserOptions};

pub use cast::{
    CastMode, CastOutcome, Rejected, Rejection, cast_array, cast_values, from_storage, plan_type, to_storage,
};
pub use prepare::{prepare, prepare_expr};

/// The Arrow type of DATETIME.
pub const DATETIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
/// The Arrow type of LARGEINT in a plan.
pub const LARGEINT: DataType = DataType::Decimal256(39, 0);

/// The options `SqlToRel` must be built with.
pub fn parser_options() -> ParserOptions {
    ParserOptions {
        parse_float_as_decimal: true,
        enable_ident_normalization: false,
        map_string_types_to_utf8view: false,
        default_null_ordering: NullOrdering::NullsMin,
        ..ParserOptions::default()
    }
}

/// `ContextProvider::get_expr_planners`.
pub fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![
        Arc::new(planner::Operators),
        Arc::new(datafusion::functions_aggregate::planner::AggregateFunctionPlanner),
        Arc::new(datafusion::functions_window::planner::WindowFunctionPlanner),
    ]
}

/// `ContextProvider::get_type_planner`.
pub fn type_planner() -> Option<Arc<dyn TypePlanner>> {
    Some(Arc::new(planner::TypeNames))
}

/// All analyzer rules, in order, DataFusion's included: `Analyzer::with_rules(types::analyzer_rules())`.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![Arc::new(ResolveGroupingFunction::new()), Arc::new(analyze::TypeRules), Arc::new(TypeCoercion::new())]
}

/// The constant that a literal becomes when it is compared with a column of type `ty`; `None`: the two are compared as something else.
pub fn as_compared(literal: &ScalarValue, ty: &DataType) -> Option<ScalarValue> {
    literal::fit(&literal::narrowed(literal.clone()), ty)
}

/// The name of a type as messages and DESC show it, e.g. `decimal(10, 2)`.
pub fn type_name(ty: &DataType) -> String {
    match ty {
        DataType::Null => "null_type".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "tinyint(4)".into(),
        DataType::Int16 => "smallint(6)".into(),
        DataType::Int32 => "int(11)".into(),
        DataType::Int64 => "bigint(20)".into(),
        DataType::Decimal256(39, 0) => "largeint(40)".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => format!("decimal({p}, {s})"),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(..) => "datetime".into(),
        DataType::Duration(_) => "time".into(),
        DataType::Binary => "varbinary".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".into(),
        other => other.to_string().to_lowercase(),
    }
}
