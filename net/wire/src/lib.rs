//! The MySQL wire codec, and small blocking MySQL and HTTP clients over std sockets.
//!
//! | part | what it holds |
//! |---|---|
//! | `packet` | framing: 16 MiB parts, sequence numbers, incremental decoder, writer |
//! | `handshake`, `auth` | greeting, response 41, AuthSwitch, scrambles of both password plugins |
//! | `command`, `execute` | what a client sends: COM_* and prepared-statement parameters |
//! | `reply`, `column`, `row`, `value` | what a server answers: OK, ERR, EOF, definitions, text and binary rows |
//! | `client` | `MysqlClient` and `HttpClient` for load generators, the demo and the tests |
//!
//! The crate is passive: it turns bytes into values and back, owns no socket (the clients apart), links no engine, and
//! every decoder is bounds-checked: bytes from outside give a `WireError`, never a panic (P6).

pub mod auth;
pub mod client;
mod codec;
pub mod column;
pub mod command;
pub mod constants;
mod error;
pub mod execute;
pub mod handshake;
pub mod packet;
pub mod reply;
pub mod row;
pub mod value;

pub use client::{
    ClientError, ConnectOptions, HttpClient, HttpResponse, MysqlClient, PutBody, QueryResult, ServerError, Statement,
};
pub use codec::{Reader, put_lenenc_bytes, put_lenenc_int};
pub use error::{Result, WireError};
pub use value::Value;
