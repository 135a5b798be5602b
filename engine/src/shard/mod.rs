//! A shard: one core's executor and all it owns.
//!
//! | file | part |
//! |---|---|
//! | `core` | `Core`: the state of a core, reached through `Rc` on its own thread only |
//! | `message` | what crosses between cores |
//! | `sessions` | connections of a core: ids, KILL, process list |

pub mod core;
pub mod message;
pub mod sessions;

pub use self::core::Core;
pub use sessions::{ProcessInfo, SessionControl, SessionSlot};
