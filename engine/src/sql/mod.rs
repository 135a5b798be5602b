//! SQL text to statements to plans.
//!
//! | file | part |
//! |---|---|
//! | `split` | a text into statements |
//! | `dialect`, `depth`, `parser`, `ddl`, `dml`, `show`, `set` | a statement's text into a `Statement` |
//! | `statement`, `walk` | the syntax trees; passes over them |
//! | `labels`, `names`, `context`, `bind` | a query into an optimised logical plan and the metadata of its columns |
//! | `subqueries` | IN (SELECT ...) and EXISTS as values |
//! | `template` | plans of prepared statements that serve for other values of their parameters |
//! | `errors` | sqlparser's and DataFusion's errors as ours |

pub mod bind;
mod context;
pub mod ddl;
pub mod depth;
pub mod dialect;
mod dml;
mod errors;
pub mod labels;
pub mod names;
pub mod parser;
mod set;
mod show;
pub mod split;
pub mod statement;
mod subqueries;
pub mod template;
pub mod walk;

pub use parser::{Parsed, parse, parse_expression};
pub use split::split;
pub use statement::Statement;
