//! The scheduling classes of a core and their shares, all of them, in one place. Shares say how the reactor's time is divided while
//! several classes have work; an idle class costs nothing. Resource groups will become shares of these classes.

use std::time::Duration;

use glommio::{Latency, Shares, TaskQueueHandle, executor};

/// What a task is, for the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Protocol, sessions, point reads, control messages.
    Control,
    /// Numbers, publish, the log: what every commit waits for.
    Publish,
    /// Fragments of queries in the fast lane.
    Query,
    /// Parsing and staging of loads.
    Load,
    /// Flush, compaction, expiry.
    Background,
}

impl Class {
    pub const ALL: [Class; 5] = [Class::Control, Class::Publish, Class::Query, Class::Load, Class::Background];

    pub fn name(self) -> &'static str {
        match self {
            Class::Control => "control",
            Class::Publish => "publish",
            Class::Query => "query",
            Class::Load => "load",
            Class::Background => "background",
        }
    }

    fn shares(self) -> usize {
        match self {
            Class::Control => 1000,
            Class::Publish => 1000,
            Class::Query => 400,
            Class::Load => 300,
            Class::Background => 100,
        }
    }

    /// Latency classes are looked at within this long even while others are busy. Never together with spinning (lost wake-ups).
    fn latency(self) -> Latency {
        match self {
            Class::Control | Class::Publish => Latency::Matters(Duration::from_millis(1)),
            Class::Query => Latency::Matters(Duration::from_millis(10)),
            Class::Load | Class::Background => Latency::NotImportant,
        }
    }
}

/// The task queues of this core.
#[derive(Debug, Clone, Copy)]
pub struct Classes {
    queues: [TaskQueueHandle; Class::ALL.len()],
}

impl Classes {
    /// Makes the queues on the calling executor.
    pub fn create() -> Classes {
        let queue =
            |class: Class| executor().create_task_queue(Shares::Static(class.shares()), class.latency(), class.name());
        Classes { queues: Class::ALL.map(queue) }
    }

    pub fn queue(&self, class: Class) -> TaskQueueHandle {
        self.queues[class as usize]
    }
}
