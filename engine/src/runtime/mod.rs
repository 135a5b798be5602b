//! The runtime: what turns a process into cores. glommio appears here and in storage's and net's thin types only.
//!
//! | file | part |
//! |---|---|
//! | `node` | `Node`: starts the cores in order, stops them in reverse |
//! | `classes` | scheduling classes and their shares |
//! | `mailbox` | lanes between cores, reply slots |
//! | `task` | spawning: detached, panics caught, polls measured |
//! | `clock` | wall clock, randomness |
//! | `event` | waiting inside one core |
//! | `planner` | the planner thread of a core |
//! | `slow_lane` | the low-priority tokio runtime of a core |
//! | `pause` | the rule that gives both of them time |
//! | `timer` | deadlines, yielding |
//! | `heartbeat` | ends parks that should not be |
//! | `first` | starting an executor until one runs |
//! | `fatal` | the end of the process, with its reason |
//!
//! Traps of glommio 0.9 that this folder keeps from everybody else: every task is detached and none is ever cancelled; no spinning;
//! a panic in a bare task would take the core away; foreign wakes are seen at yields only, hence the 1 ms preempt timer; it may park
//! with work to do, hence the heartbeat.

pub mod classes;
pub mod clock;
pub mod event;
pub mod fatal;
mod first;
pub(crate) mod heartbeat;
pub mod mailbox;
pub mod node;
pub mod pause;
pub mod planner;
pub mod slow_lane;
pub mod task;
mod thread;
pub mod timer;

pub use classes::Class;
pub use mailbox::{Reply, ReplySlot, reply};
pub use node::{Node, NodeOptions, StopReport};
pub use planner::Planner;
pub use slow_lane::{SlowLane, SlowTask};
