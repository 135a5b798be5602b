//! What `SqlToRel` asks us while it binds expressions: operators and type names.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, TypePlanner};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, Operator, binary_expr, lit};
use datafusion::sql::sqlparser::ast::{BinaryOperator, DataType as SqlType, ExactNumberInfo, ObjectName};

use super::arith::Arith;
use super::coercion::{self, ArithOp, PRECISION_MAX};
use super::{DATETIME, LARGEINT};

/// Binds operators by our rules.
#[derive(Debug)]
pub(super) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        if let Some(op) = arithmetic(&op) {
            return Ok(PlannerResult::Planned(Arith::call(op, left, right)));
        }
        if let Some(op) = comparison(&op) {
            return compare(op, left, right, schema).map(PlannerResult::Planned);
        }
        let logical = match op {
            BinaryOperator::And | BinaryOperator::PGOverlap => Operator::And,
            // Concatenation only under sql_mode PIPES_AS_CONCAT.
            BinaryOperator::Or | BinaryOperator::StringConcat => Operator::Or,
            BinaryOperator::Xor => Operator::NotEq,
            _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
        };
        Ok(PlannerResult::Planned(binary_expr(truth(left, schema)?, logical, truth(right, schema)?)))
    }
}

fn arithmetic(op: &BinaryOperator) -> Option<ArithOp> {
    Some(match op {
        BinaryOperator::Plus => ArithOp::Add,
        BinaryOperator::Minus => ArithOp::Subtract,
        BinaryOperator::Multiply => ArithOp::Multiply,
        BinaryOperator::Divide => ArithOp::Divide,
        BinaryOperator::MyIntegerDivide | BinaryOperator::DuckIntegerDivide => ArithOp::IntDivide,
        BinaryOperator::Modulo => ArithOp::Modulo,
        BinaryOperator::BitwiseAnd => ArithOp::BitAnd,
        BinaryOperator::BitwiseOr => ArithOp::BitOr,
        BinaryOperator::BitwiseXor => ArithOp::BitXor,
        BinaryOperator::PGBitwiseShiftLeft => ArithOp::ShiftLeft,
        BinaryOperator::PGBitwiseShiftRight => ArithOp::ShiftRight,
        _ => return None,
    })
}

fn comparison(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::Spaceship => Operator::IsNotDistinctFrom,
        _ => return None,
    })
}

/// A comparison as a plain operator, which the analyzer rule types. Where DataFusion would refuse the pair of types
/// before the rule sees it, both sides are cast here.
fn compare(op: Operator, left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
    let (l, r) = (left.get_type(schema)?, right.get_type(schema)?);
    if BinaryTypeCoercer::new(&l, &op, &r).get_result_type().is_ok() {
        return Ok(binary_expr(left, op, right));
    }
    if let Some((left, right)) = with_boolean_literal(&left, &l, &right, &r) {
        return Ok(binary_expr(left, op, right));
    }
    let common = coercion::comparison_type(&l, &r).ok_or_else(|| no_comparison(&l, &r))?;
    let cast = |expr: Expr| Expr::Cast(Cast::new(Box::new(expr), common.clone()));
    Ok(binary_expr(cast(left), op, cast(right)))
}

/// `flag = 1`: the literal becomes a BOOLEAN, so that the column stays bare.
fn with_boolean_literal(left: &Expr, l: &DataType, right: &Expr, r: &DataType) -> Option<(Expr, Expr)> {
    let truth = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(value @ 0..=1)), _) => Some(lit(*value == 1)),
        _ => None,
    };
    match (l, r) {
        (DataType::Boolean, _) => Some((left.clone(), truth(right)?)),
        (_, DataType::Boolean) => Some((truth(left)?, right.clone())),
        _ => None,
    }
}

pub(super) fn no_comparison(left: &DataType, right: &DataType) -> DataFusionError {
    DataFusionError::Plan(format!(
        "types {} and {} cannot be compared; cast one of them",
        super::type_name(left),
        super::type_name(right)
    ))
}

/// An operand of AND, OR, NOT: a number is true unless it is zero.
fn truth(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    match expr.get_type(schema)? {
        DataType::Boolean | DataType::Null => Ok(expr),
        _ => Ok(Expr::Cast(Cast::new(Box::new(expr), DataType::Boolean))),
    }
}

/// Names of types in CAST and CONVERT.
#[derive(Debug)]
pub(super) struct TypeNames;

impl TypePlanner for TypeNames {
    fn plan_type_field(&self, name: &SqlType) -> Result<Option<FieldRef>> {
        let ty = sql_type(name)?;
        Ok(Some(Arc::new(Field::new("", ty, true))))
    }
}

/// The plan type of a SQL type name. Lengths of strings do not matter to CAST.
pub(crate) fn sql_type(name: &SqlType) -> Result<DataType> {
    Ok(match name {
        SqlType::Bool | SqlType::Boolean => DataType::Boolean,
        SqlType::TinyInt(_) => DataType::Int8,
        SqlType::SmallInt(_) => DataType::Int16,
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::MediumInt(_) => DataType::Int32,
        SqlType::BigInt(_) | SqlType::Signed | SqlType::SignedInteger => DataType::Int64,
        SqlType::Unsigned | SqlType::UnsignedInteger | SqlType::BigIntUnsigned(_) => DataType::Int64,
        SqlType::Float(_) | SqlType::Real => DataType::Float32,
        SqlType::Double(_) | SqlType::DoublePrecision => DataType::Float64,
        SqlType::Decimal(info) | SqlType::Numeric(info) | SqlType::Dec(info) => decimal(info)?,
        SqlType::Date => DataType::Date32,
        SqlType::Datetime(_) | SqlType::Timestamp(..) => DATETIME,
        SqlType::Char(_)
        | SqlType::Character(_)
        | SqlType::Varchar(_)
        | SqlType::Nvarchar(_)
        | SqlType::CharVarying(_)
        | SqlType::CharacterVarying(_)
        | SqlType::Text
        | SqlType::String(_) => DataType::Utf8,
        SqlType::Binary(_) | SqlType::Varbinary(_) => DataType::Binary,
        SqlType::Custom(name, arguments) => custom(name, arguments)?,
        other => return Err(unknown_type(&other.to_string())),
    })
}

fn custom(name: &ObjectName, arguments: &[String]) -> Result<DataType> {
    match name.to_string().to_ascii_uppercase().as_str() {
        "LARGEINT" => Ok(LARGEINT),
        "STRING" => Ok(DataType::Utf8),
        "SIGNED" | "UNSIGNED" => Ok(DataType::Int64),
        "DECIMALV3" | "DECIMAL32" | "DECIMAL64" | "DECIMAL128" | "DECIMALV2" => {
            let part = |at: usize| arguments.get(at).and_then(|text| text.trim().parse::<u64>().ok());
            let info = match (part(0), part(1)) {
                (Some(precision), Some(scale)) => ExactNumberInfo::PrecisionAndScale(precision, scale as i64),
                (Some(precision), None) => ExactNumberInfo::Precision(precision),
                _ => ExactNumberInfo::None,
            };
            decimal(&info)
        }
        other => Err(unknown_type(other)),
    }
}

fn unknown_type(name: &str) -> DataFusionError {
    DataFusionError::Plan(format!("Unsupported data type: {name}"))
}

/// DECIMAL(p, s), by default (10, 0).
fn decimal(info: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if precision == 0 || precision > u64::from(PRECISION_MAX) {
        return Err(DataFusionError::Plan(format!("DECIMAL's precision should range from 1 to 38, got {precision}")));
    }
    match u8::try_from(scale) {
        Ok(scale) if u64::from(scale) <= precision => Ok(DataType::Decimal128(precision as u8, scale as i8)),
        _ => Err(DataFusionError::Plan(format!("DECIMAL's scale should range from 0 to its precision, got {scale}"))),
    }
}
