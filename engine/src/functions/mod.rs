//! The functions a statement may call: an allow-list by name. A name that is not on it does not exist, whatever
//! DataFusion offers under it: names are not semantics.
//!
//! | file | part |
//! |---|---|
//! | `registry` | the list and how a binder looks names up |
//!
//! Core: any; the registry is frozen at first use and shared. Functions are pure but for `rand`, `uuid` and `sleep`.

mod registry;

pub use registry::{FunctionRegistry, no_matching_function, registry};
