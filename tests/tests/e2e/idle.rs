//! What a server costs that has nothing to do. CPU time, so that other work on the machine does not count.

use std::time::Duration;

use starling_tests::server::DataDir;
use starling_tests::{Server, stream_load};

/// CPU time of a process so far, all threads, in clock ticks of 10 ms. (The unit is of the interface, not of the machine: `USER_HZ`.)
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name may hold blanks; utime and stime are the 12th and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [11, 12].iter().map(|&field| fields[field].parse::<u64>().unwrap()).sum()
}

#[test]
fn an_idle_server_uses_no_more_than_a_hundredth_of_a_cpu() {
    let data = DataDir::new("idle");
    let server = Server::start(&data, 2);
    let mut sql = server.database("test");
    sql.query("CREATE TABLE t (k BIGINT NOT NULL, v BIGINT) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 10").unwrap();
    let rows: String = (0..100_000).map(|k| format!("{k},{k}\n")).collect();
    let reply = stream_load(server.http(), "test.t", &[("column_separator", ",")], rows.as_bytes()).unwrap();
    assert!(reply.succeeded(), "{}", reply.json);
    // The connection stays open: an idle client is no work either.
    std::thread::sleep(Duration::from_secs(3));
    let (before, seconds) = (cpu_ticks(server.pid()), 10);
    std::thread::sleep(Duration::from_secs(seconds));
    let ticks = cpu_ticks(server.pid()) - before;
    assert!(ticks <= seconds, "{ticks} ms of CPU time for every {} ms", seconds * 100);
}
