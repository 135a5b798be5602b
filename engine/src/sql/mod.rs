//! SQL text to statements to plans.
