//! The server under measurement: a process of its own, with its files on a real disk.

use starling_tests::server::DataDir;
use starling_tests::{Server, stream_load};
use starling_wire::client::{ClientError, HttpClient, MysqlClient};

use crate::machine;
use crate::orders::{CREATE, Orders};

/// Memory of the server.
const MEMORY: &str = "12G";

/// Starts the server on a directory.
pub fn start(data: &DataDir, cores: u16) -> Result<Server, String> {
    Server::start_with(data, cores, &["--memory", MEMORY])
}

/// A connection with a database, made when it is not there.
pub fn database(server: &Server, name: &str) -> Result<MysqlClient, String> {
    let mut client = MysqlClient::connect(server.mysql()).map_err(said)?;
    client.query(&format!("CREATE DATABASE IF NOT EXISTS {name}")).map_err(said)?;
    client.init_db(name).map_err(said)?;
    Ok(client)
}

/// One load; an error unless all rows went in.
pub fn load(server: &Server, table: &str, body: &[u8]) -> Result<(), String> {
    let reply = stream_load(server.http(), table, &[("column_separator", ",")], body).map_err(said)?;
    if reply.succeeded() { Ok(()) } else { Err(reply.json) }
}

/// A connection to a database with the order table, filled by loads of `batch` rows that `make` gives.
pub fn filled(
    server: &Server,
    rows: u64,
    batch: u64,
    make: impl Fn(&mut Orders, u64) -> String,
) -> Result<(MysqlClient, Orders), String> {
    let mut sql = database(server, "test")?;
    sql.query(CREATE).map_err(said)?;
    let mut orders = Orders::new(1);
    while orders.count < rows {
        let missing = rows - orders.count;
        let csv = make(&mut orders, batch.min(missing));
        load(server, "test.orders", csv.as_bytes())?;
    }
    Ok((sql, orders))
}

/// The sum over all cores of a metric.
pub fn metric(server: &Server, name: &str) -> Result<f64, String> {
    let text = HttpClient::connect(server.http()).and_then(|mut http| http.get("/metrics")).map_err(said)?.text();
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values: Vec<f64> =
        text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    if values.is_empty() { Err(format!("the server has no metric {name}")) } else { Ok(values.iter().sum()) }
}

/// CPU seconds of the server so far.
pub fn cpu(server: &Server) -> f64 {
    machine::cpu_seconds(server.pid())
}

pub fn said(error: ClientError) -> String {
    error.to_string()
}
