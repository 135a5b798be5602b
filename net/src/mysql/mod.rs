//! The MySQL protocol, server side.
//!
//! | file | part |
//! |---|---|
//! | `inbox` | the reader of a connection: keeps pipelined packets, sees a closed socket while a statement runs |
//! | `auth` | who may connect |
//! | `connection` | one connection from greeting to goodbye |
//! | `commands` | each command turned into calls of the session and an answer |
//! | `statements` | prepared statements as the protocol needs them: bound types, long data |
//! | `output` | packets on their way out, sent in pieces of 16 to 64 KiB |
//! | `columns` | result columns as column definitions |
//! | `rows` | batches as text and binary rows |
//!
//! Core: the one the connection was handed to. A connection is two tasks, its reader and its session; both end with the socket.
//! Whatever a client sends ends at worst its own connection.

pub(crate) mod auth;
mod columns;
mod commands;
mod connection;
mod inbox;
mod output;
mod rows;
mod statements;

pub use connection::serve;

/// What clients are told the version is; drivers parse it.
pub const SERVER_VERSION: &str = "8.0.33";
/// The largest packet taken from a client, over all its parts.
pub const PACKET_BYTES_MAX: usize = 64 << 20;
/// The largest packet of a login. Its connection attributes, the longest part, have 64 KiB at most.
pub const LOGIN_PACKET_BYTES_MAX: usize = 128 << 10;
