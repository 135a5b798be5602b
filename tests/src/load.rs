//! Stream Load as curl does it.

use std::net::SocketAddr;

use sonic_rs::{JsonValueTrait, Value};
use starling_wire::client::{ClientError, HttpClient};

/// `root` without a password.
pub const AUTHORIZATION: (&str, &str) = ("Authorization", "Basic cm9vdDo=");

/// A reply, as a client reads it.
#[derive(Debug, Clone)]
pub struct LoadReply {
    /// The whole JSON.
    pub json: String,
    value: Value,
}

impl LoadReply {
    /// Parses the body of a response.
    pub fn parse(json: String) -> LoadReply {
        let value = sonic_rs::from_str(&json).unwrap_or_else(|error| panic!("not JSON ({error}): {json}"));
        LoadReply { json, value }
    }

    /// A text member; empty where it is missing.
    pub fn text(&self, key: &str) -> &str {
        self.value.get(key).and_then(|v| v.as_str()).unwrap_or_default()
    }

    /// A number member; -1 where it is missing.
    pub fn number(&self, key: &str) -> i64 {
        self.value.get(key).and_then(|v| v.as_i64()).unwrap_or(-1)
    }

    /// `Success`.
    pub fn succeeded(&self) -> bool {
        self.text("Status") == "Success"
    }

    /// The rows that are in the table, or a panic with the reply.
    #[track_caller]
    pub fn expect_rows(&self, rows: i64) -> &LoadReply {
        assert!(self.succeeded() && self.number("NumberLoadedRows") == rows, "expected {rows} rows: {}", self.json);
        self
    }
}

/// One load on a connection of its own. `Err`: the connection broke, so nobody knows what became of it.
pub fn stream_load(
    http: SocketAddr,
    table: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<LoadReply, ClientError> {
    load_on(&mut HttpClient::connect(http)?, table, headers, body)
}

/// One load on a connection that is there. `table` is `db.table`.
pub fn load_on(
    client: &mut HttpClient,
    table: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<LoadReply, ClientError> {
    let (db, table) = table.split_once('.').unwrap_or(("test", table));
    let mut all = vec![AUTHORIZATION];
    all.extend_from_slice(headers);
    let response = client.put(&format!("/api/{db}/{table}/_stream_load"), &all, body)?;
    Ok(LoadReply::parse(response.text()))
}
