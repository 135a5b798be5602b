//! Transactions: numbers, loads, labels, turns and pins (protocol R1 to R13).
//!
//! | file | part |
//! |---|---|
//! | `pin` | `Pin`, `Watermark`, the `oldest` slots (R11) |
//! | `sequencer` | numbers, `prev` per core, W (R4, R5); core 0 |
//! | `load` | `Load`: push, commit, abort; on the coordinator |
//! | `route` | cutting rows by bucket |
//! | `commit` | from the number to the answer; cannot fail |
//! | `ddl` | changes of the catalog; core 0 |
//! | `labels` | the hidden table of labels and its reservations (R9) |
//! | `turns` | exclusive and shared write turns (R7) |

mod commit;
pub(crate) mod ddl;
pub(crate) mod labels;
mod load;
mod pin;
mod route;
mod sequencer;
mod turns;

pub use load::{Committed, Load, LoadKind, LoadOptions};
pub use pin::{Oldest, Pin, Pins, Watermark};
pub(crate) use route::bytes_of;
pub use sequencer::{Numbered, Sequencer};
pub use turns::{Mode, TurnGuard, TurnTable, Turns};
