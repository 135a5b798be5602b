//! SHOW, DESC, information_schema and the system variables.
