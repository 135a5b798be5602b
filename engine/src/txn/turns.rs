//! Write turns (R7).

/// Exclusive write turns of some tablets. Released on drop, or by the commit that takes them.
pub struct Turns {}
