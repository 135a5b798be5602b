//! Small blocking clients over std sockets, for load generators, the demo and the tests. One thread owns a client.

mod http;
mod mysql;

pub use http::{HttpClient, HttpResponse, PutBody};
pub use mysql::{ConnectOptions, MysqlClient, QueryResult, Statement};

use crate::error::WireError;

/// An error the server answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// MySQL's or StarRocks' number.
    pub code: u16,
    /// SQLSTATE, five characters.
    pub state: String,
    pub message: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.state, self.message)
    }
}

/// Why a call failed. After anything but `Server` the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    #[error("protocol: {0}")]
    Wire(#[from] WireError),
    #[error("server: {0}")]
    Server(ServerError),
}

impl ClientError {
    /// The server's error, if it is one.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }

    /// The server's error number, if it is one.
    pub fn code(&self) -> Option<u16> {
        self.server().map(|error| error.code)
    }
}
