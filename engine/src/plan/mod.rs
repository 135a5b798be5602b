//! Planning: from a logical plan to fragments.
