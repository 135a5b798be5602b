//! Loads from outside: formats and Stream Load.
