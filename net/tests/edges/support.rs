//! One server for all tests of this binary, on free ports and a directory of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use starling_net::serve::{ServeOptions, Server};
use starling_wire::{ClientError, HttpClient, MysqlClient, QueryResult};

/// Options of a server on free ports in a new directory.
pub fn options(name: &str, cores: u16) -> ServeOptions {
    remove_those_of_ended_runs();
    let data = directories().join(format!("edges-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&data));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    ServeOptions { data, cores, mysql: any, http: any, memory: 1 << 30 }
}

fn directories() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// The shared server is never dropped, so the next run removes what this one leaves.
fn remove_those_of_ended_runs() {
    for entry in std::fs::read_dir(directories()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("edges-").and_then(|rest| rest.rsplit('-').next());
        if process.is_some_and(|id| !PathBuf::from("/proc").join(id).exists()) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// The shared server; it lives as long as the process.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(options("shared", 2)).unwrap())
}

pub fn connect() -> MysqlClient {
    let client = MysqlClient::connect(server().mysql_address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client
}

pub fn http() -> HttpClient {
    let client = HttpClient::connect(server().http_address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client
}

/// The server's error number of a call that must fail.
pub fn code(result: Result<QueryResult, ClientError>) -> u16 {
    result.unwrap_err().code().unwrap()
}

/// Waits for a condition, and says which when it does not come.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
