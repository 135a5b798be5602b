//! Starling edges: the MySQL protocol, HTTP and the `starling` binary.
