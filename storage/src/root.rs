//! The root record (R16, R17).
