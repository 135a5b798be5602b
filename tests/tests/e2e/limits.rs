//! Bounds that only many clients reach.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use starling_tests::Server;
use starling_tests::server::DataDir;
use starling_wire::client::{HttpClient, MysqlClient};

/// Connections of each protocol that one core takes.
const CONNECTIONS_MAX: usize = 4096;

/// As many files as this process may have: the other ends of all connections are here.
#[expect(unsafe_code, reason = "resource limits have no safe interface in std")]
fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit, to be filled by the first call and read by the second.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    let needed = CONNECTIONS_MAX as u64 + 200;
    assert!(limit.rlim_max > needed, "the hard limit of open files is {}, {needed} are needed", limit.rlim_max);
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_connection_too_many_is_told_so() {
    raise_open_files();
    let data = DataDir::new("connections");
    let server = Server::start(&data, 1);
    let mut open: Vec<MysqlClient> = (0..CONNECTIONS_MAX).map(|_| server.connect()).collect();
    let refused = MysqlClient::connect(server.mysql()).map(drop).unwrap_err();
    assert_eq!(refused.code(), Some(1040), "{refused}");
    // Those that are in go on, and one that leaves makes room.
    assert_eq!(open[CONNECTIONS_MAX / 2].query("SELECT 1").unwrap().text(), [["1"]]);
    drop(open.pop());
    eventually("there is room again", || MysqlClient::connect(server.mysql()).is_ok());
    drop(open);

    let health = || HttpClient::connect(server.http()).and_then(|mut client| client.get("/api/health"));
    let open: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(server.http()).unwrap()).collect();
    let refused = health().unwrap();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("HTTP_CONNECTIONS_MAX"), "{}", refused.text());
    drop(open);
    eventually("there is room again", || health().is_ok_and(|answer| answer.status == 200));
    assert_eq!(server.stop(), Some(0));
}
