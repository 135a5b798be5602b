//! The one CAST routine: for expressions ([`cast_values`]), and for INSERT and loads ([`cast_array`]).

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use starling_storage::schema::ColumnType;

use super::LARGEINT;

/// What becomes of a value that cannot be cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastMode {
    /// The row is rejected (INSERT by default, loads with `strict_mode`).
    Strict,
    /// The value becomes NULL.
    Lenient,
}

/// Why a row cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The value is not one of the target type.
    Uncastable,
    /// The string has more bytes than CHAR(n) or VARCHAR(n) holds (in either mode).
    TooLong {
        /// Bytes of the value.
        bytes: u32,
        /// Bytes the column holds.
        limit: u32,
    },
    /// NULL for a NOT NULL column (in either mode).
    Null,
}

/// A row that cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Row of the input array.
    pub row: u32,
    /// Why.
    pub why: Rejection,
}

/// What [`cast_array`] gives.
#[derive(Clone, Debug)]
pub struct CastOutcome {
    /// As many rows as the input, in the storage type of the column; a rejected row holds NULL.
    pub array: ArrayRef,
    /// Rejected rows, ascending.
    pub rejected: Vec<Rejected>,
}

/// Casts values to what a column stores: `array` is of a plan's type (LARGEINT as `Decimal256(39, 0)`) or text of a
/// load. An error is a pair of types without a cast, never a value.
pub fn cast_array(array: &ArrayRef, target: ColumnType, nullable: bool, mode: CastMode) -> Result<CastOutcome> {
    let _ = (array, target, nullable, mode);
    Err(DataFusionError::NotImplemented("cast_array".into()))
}

/// CAST of expressions: a value that has no counterpart in the target type becomes NULL.
pub fn cast_values(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let _ = (array, target);
    Err(DataFusionError::NotImplemented("cast_values".into()))
}

/// The type a stored column has in a plan: storage's, but LARGEINT as `Decimal256(39, 0)`.
pub fn plan_type(column: ColumnType) -> DataType {
    match column {
        ColumnType::LargeInt => LARGEINT,
        other => other.arrow(),
    }
}

/// A stored array as a plan sees it ([`plan_type`]); only LARGEINT is converted.
pub fn from_storage(array: &ArrayRef, column: ColumnType) -> ArrayRef {
    let _ = column;
    array.clone()
}

/// The inverse of [`from_storage`].
pub fn to_storage(array: &ArrayRef, column: ColumnType) -> ArrayRef {
    let _ = column;
    array.clone()
}
