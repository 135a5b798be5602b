//! CAST in a plan. A cast that Arrow's kernel does by our rules is an ordinary one, so that DataFusion's rules about
//! casts in comparisons keep working; any other is [`CastFunction`]. Constants are cast at once.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TryCast, Volatility,
};
use std::sync::Arc;

use super::cast::cast_values;
use super::coercion::{canonical, integer_rank, is_decimal, is_float};
use super::{DATETIME, LARGEINT};

/// `expr`, of type `from`, as `to`.
pub fn cast_expr(expr: Expr, from: &DataType, to: &DataType) -> Result<Expr> {
    if from == to {
        return Ok(expr);
    }
    if let Expr::Literal(value, metadata) = &expr {
        return Ok(Expr::Literal(cast_scalar(value, to)?, metadata.clone()));
    }
    Ok(match kernel(from, to) {
        Kernel::Widening => Expr::Cast(Cast::new(Box::new(expr), to.clone())),
        Kernel::Fallible => Expr::TryCast(TryCast::new(Box::new(expr), to.clone())),
        Kernel::Ours => {
            // A pair of types without a cast is an error of the statement, not of its first row.
            cast_values(&datafusion::arrow::array::new_empty_array(from), to)?;
            CastFunction::call(expr, to)
        }
    })
}

/// A constant as another type; NULL when it has no counterpart.
pub fn cast_scalar(value: &ScalarValue, to: &DataType) -> Result<ScalarValue> {
    ScalarValue::try_from_array(&cast_values(&value.to_array()?, to)?, 0)
}

/// What does a cast by our rules.
enum Kernel {
    /// Arrow's, on every value.
    Widening,
    /// Arrow's, with NULL for what it refuses.
    Fallible,
    /// [`cast_values`].
    Ours,
}

fn kernel(from: &DataType, to: &DataType) -> Kernel {
    let small = |ty: &DataType| matches!(integer_rank(ty), Some(1..=4));
    match (from, to) {
        _ if *from == LARGEINT || *to == LARGEINT || canonical(from) != *from => Kernel::Ours,
        _ if small(from) && small(to) => {
            if integer_rank(from) < integer_rank(to) {
                Kernel::Widening
            } else {
                Kernel::Fallible
            }
        }
        _ if (small(from) || *from == DataType::Float32) && *to == DataType::Float64 => Kernel::Widening,
        _ if is_float(from) && small(to) => Kernel::Fallible,
        (DataType::Boolean, _) if small(to) => Kernel::Widening,
        (DataType::Date32, _) if *to == DATETIME => Kernel::Widening,
        (_, DataType::Date32) if *from == DATETIME => Kernel::Fallible,
        (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) if t >= s && *q as i8 - t >= *p as i8 - s => {
            Kernel::Widening
        }
        _ if is_decimal(from) && (is_decimal(to) || is_float(to)) => Kernel::Fallible,
        (_, DataType::Decimal128(..)) if small(from) => Kernel::Fallible,
        (_, DataType::Decimal256(..)) if small(from) || is_decimal(from) => Kernel::Fallible,
        _ => Kernel::Ours,
    }
}

/// CAST by [`cast_values`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CastFunction {
    to: DataType,
    signature: Signature,
}

impl CastFunction {
    fn call(expr: Expr, to: &DataType) -> Expr {
        let function = CastFunction { to: to.clone(), signature: Signature::any(1, Volatility::Immutable) };
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![expr]))
    }
}

impl ScalarUDFImpl for CastFunction {
    fn name(&self) -> &str {
        "cast"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let value = args.first().map(|expr| expr.to_string()).unwrap_or_default();
        Ok(format!("CAST({value} AS {})", super::type_name(&self.to)))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(cast_values(array, &self.to)?)),
            [ColumnarValue::Scalar(value)] => Ok(ColumnarValue::Scalar(cast_scalar(value, &self.to)?)),
            other => Err(DataFusionError::Internal(format!("cast of {} values", other.len()))),
        }
    }
}
