//! Transactions: numbers, loads, labels, turns and pins (protocol R1 to R13).
//!
//! | file | part |
//! |---|---|
//! | `pin` | `Pin`, `Watermark`, the `oldest` slots (R11) |
//! | `sequencer` | numbers, `prev` per core, W (R4, R5); core 0 |
//! | `load` | `Load`: push, commit, abort |
//! | `turns` | exclusive and shared write turns (R7) |

mod load;
mod pin;
mod turns;

pub use load::{Committed, Load, LoadKind, LoadOptions};
pub use pin::{Oldest, Pin, Pins, Watermark};
pub use turns::Turns;
