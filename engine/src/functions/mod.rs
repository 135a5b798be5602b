//! The functions a statement may call: an allow-list by name. A name that is not on it does not exist, whatever
//! DataFusion offers under it: names are not semantics.
//!
//! | file | part |
//! |---|---|
//! | `registry` | the list and how a binder looks names up |
//! | `builtin` | what a scalar function of ours is: overloads and routines over columns |
//! | `math`, `string`, `date`, `clock`, `encode` | scalar functions |
//! | `date_format` | the codes of DATE_FORMAT and STR_TO_DATE |
//! | `conditional` | IF, IFNULL, NULLIF, COALESCE |
//! | `aggregate`, `avg` | aggregate functions |
//! | `window` | window functions |
//!
//! Core: any; the registry is frozen at first use and shared. Functions are pure but for `rand`, `uuid` and `sleep`.

mod aggregate;
mod avg;
mod builtin;
mod clock;
pub(crate) mod conditional;
mod date;
mod date_format;
mod encode;
mod math;
mod registry;
mod string;
mod window;

use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

pub use avg::average;
pub use clock::zone_named;
pub use registry::{FunctionRegistry, no_matching_function, registry};

pub(crate) use aggregate::argument_types as aggregate_argument_types;
pub(crate) use clock::zone_of;
pub(crate) use window::argument_types as window_argument_types;

/// The function in the session's time zone, where it depends on it.
pub(crate) fn in_zone(function: &ScalarUDF, zone: &str) -> Option<ScalarUDF> {
    let inner: &dyn std::any::Any = function.inner().as_ref();
    inner.downcast_ref::<builtin::Builtin>().and_then(|builtin| builtin.in_zone(zone))
}

/// What the arguments of a scalar call are cast to; none where the function is not one of ours.
pub(crate) fn argument_types(function: &ScalarUDF, types: &[DataType]) -> Result<Option<Vec<DataType>>> {
    let inner: &dyn std::any::Any = function.inner().as_ref();
    inner.downcast_ref::<builtin::Builtin>().map(|builtin| builtin.argument_types(types)).transpose()
}
