//! IF, IFNULL, NULLIF, COALESCE: planned as functions whose type is the branches' common one, and turned into CASE by
//! the analyzer rule, so that a branch is evaluated only where it is chosen.

use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::types::coercion;

/// A conditional function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// `if(condition, then, else)`
    If,
    /// `nullif(a, b)`
    NullIf,
    /// `coalesce(a, ...)`, `ifnull(a, b)`, `nvl(a, b)`
    Coalesce,
}

/// A call that the analyzer rule replaces.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Conditional {
    name: &'static str,
    /// Which one.
    pub choice: Choice,
    arguments: std::ops::RangeInclusive<usize>,
    signature: Signature,
}

impl Conditional {
    fn function(name: &'static str, choice: Choice, arguments: std::ops::RangeInclusive<usize>) -> ScalarUDF {
        let signature = Signature::user_defined(Volatility::Immutable);
        ScalarUDF::from(Conditional { name, choice, arguments, signature })
    }
}

/// All conditional functions.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Conditional::function("if", Choice::If, 3..=3),
        Conditional::function("nullif", Choice::NullIf, 2..=2),
        Conditional::function("ifnull", Choice::Coalesce, 2..=2),
        Conditional::function("nvl", Choice::Coalesce, 2..=2),
        Conditional::function("coalesce", Choice::Coalesce, 1..=usize::MAX),
    ]
}

impl ScalarUDFImpl for Conditional {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.return_type(types)?;
        Ok(types.to_vec())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let none = || DataFusionError::Plan(super::no_matching_function(self.name, types));
        if !self.arguments.contains(&types.len()) {
            return Err(none());
        }
        let branches = match self.choice {
            Choice::If => &types[1..],
            Choice::NullIf => &types[..1],
            Choice::Coalesce => types,
        };
        coercion::supertype_of(branches).ok_or_else(none)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal(format!("{} was not replaced by the analyzer", self.name)))
    }

    fn short_circuits(&self) -> bool {
        true
    }
}
