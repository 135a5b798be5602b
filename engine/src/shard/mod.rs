//! A shard: one core's executor and all it owns.
//!
//! | file | part |
//! |---|---|
//! | `core` | `Core`: the state of a core, reached through `Rc` on its own thread only |
//! | `message` | what crosses between cores |
//! | `pump` | takes messages out of the lanes |
//! | `handle_stage`, `handle_turns`, `handle_publish`, `handle_report` | one kind of message each |
//! | `tablets` | the tablets a core owns |
//! | `boot` | how a core starts and stops |
//! | `background` | flush, compaction, reclaim, recycling, expiry |
//! | `sessions` | connections of a core: ids, KILL, process list |

mod background;
pub(crate) mod boot;
pub mod core;
mod handle_publish;
mod handle_report;
mod handle_stage;
mod handle_turns;
pub mod message;
mod pump;
pub mod sessions;
mod tablets;

pub(crate) use self::core::Boot;
pub use self::core::{Budgets, Core};
pub use sessions::{ProcessInfo, SessionControl, SessionSlot};
