//! A running statement ends when its client is gone, or somebody kills it.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use starling_wire::MysqlClient;

use crate::support::{connect, eventually};

/// A statement that runs for a long time: a product of 10^12 rows.
const LONG: &str = "SELECT COUNT(*) FROM cancel.n a, cancel.n b, cancel.n c, cancel.n d, cancel.n e, cancel.n f \
    WHERE a.k + b.k + c.k + d.k + e.k + f.k = 7";

fn prepare_table() -> MysqlClient {
    let mut client = connect();
    client.query("CREATE DATABASE IF NOT EXISTS cancel").unwrap();
    client
        .query("CREATE TABLE IF NOT EXISTS cancel.n (k INT NOT NULL) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 2")
        .unwrap();
    let values: Vec<_> = (0..100).map(|k| format!("({k})")).collect();
    client.query(&format!("INSERT INTO cancel.n VALUES {}", values.join(","))).unwrap();
    client
}

/// Whether a connection of that id is in the process list, running something.
fn is_running(client: &mut MysqlClient, id: u32) -> bool {
    let list = client.query("SHOW PROCESSLIST").unwrap().text();
    list.iter().any(|row| row[1] == id.to_string() && row.iter().any(|field| field.contains("cancel.n")))
}

#[test]
fn kill_query_answers_1317_and_the_session_goes_on() {
    let mut killer = prepare_table();
    let mut client = connect();
    let id = client.connection_id();
    client.send_query(LONG).unwrap();
    eventually("the statement runs", || is_running(&mut killer, id));
    let begun = Instant::now();
    killer.query(&format!("KILL QUERY {id}")).unwrap();
    let error = client.read_result().unwrap_err();
    assert_eq!(error.code(), Some(1317), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(client.query("SELECT 1").unwrap().text(), [["1"]]);
    eventually("the statement is over", || !is_running(&mut killer, id));
}

/// Each level doubles the time its planning takes: a minute or more for 24.
fn long_to_plan(marker: u32) -> String {
    let nested = (0..24).fold(marker.to_string(), |inner, level| format!("(SELECT {inner} + {level})"));
    format!("SELECT /* cancel.n */ {nested}")
}

#[test]
fn a_statement_that_is_being_planned_ends_as_well_and_keeps_nobody_waiting() {
    let mut killer = prepare_table();
    let mut client = connect();
    let id = client.connection_id();
    client.send_query(&long_to_plan(1)).unwrap();
    eventually("the statement runs", || is_running(&mut killer, id));
    let begun = Instant::now();
    killer.query(&format!("KILL QUERY {id}")).unwrap();
    assert_eq!(client.read_result().unwrap_err().code(), Some(1317));
    client.query("SET query_timeout = 1").unwrap();
    assert_eq!(client.query(&long_to_plan(2)).unwrap_err().code(), Some(5024));
    // What has to be planned next, on whichever core, does not wait for either.
    for n in 0..4 {
        assert_eq!(
            connect().query(&format!("SELECT {n} + COUNT(*) FROM cancel.n")).unwrap().text(),
            [[(100 + n).to_string()]]
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn kill_ends_the_connection() {
    let mut killer = prepare_table();
    let mut client = connect();
    let id = client.connection_id();
    client.send_query(LONG).unwrap();
    eventually("the statement runs", || is_running(&mut killer, id));
    killer.query(&format!("KILL {id}")).unwrap();
    assert!(client.read_result().is_err());
    assert!(client.query("SELECT 1").is_err());
    eventually("the connection is gone", || !is_running(&mut killer, id));
    // An idle one, too.
    let mut idle = connect();
    killer.query(&format!("KILL {}", idle.connection_id())).unwrap();
    eventually("the idle connection is gone", || idle.ping().is_err());
    assert_eq!(killer.query("KILL 999999").unwrap_err().code(), Some(1094));
}

#[test]
fn a_closed_socket_cancels_what_runs_for_it() {
    let mut watcher = prepare_table();
    for how in [Shutdown::Both, Shutdown::Write] {
        let mut client = connect();
        let id = client.connection_id();
        client.send_query(LONG).unwrap();
        eventually("the statement runs", || is_running(&mut watcher, id));
        client.stream().shutdown(how).unwrap();
        eventually("the statement is cancelled", || !is_running(&mut watcher, id));
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_result() {
    let mut watcher = prepare_table();
    let mut client = connect();
    let id = client.connection_id();
    client.send_query("SELECT a.k, b.k, c.k, d.k FROM cancel.n a, cancel.n b, cancel.n c, cancel.n d").unwrap();
    let mut first = [0; 100];
    std::io::Read::read_exact(&mut client.stream(), &mut first).unwrap();
    drop(client);
    eventually("the statement is cancelled", || !is_running(&mut watcher, id));
}

#[test]
fn pipelined_commands_after_a_close_are_not_waited_for() {
    let mut watcher = prepare_table();
    let mut client = connect();
    let id = client.connection_id();
    client.queue_query(LONG);
    client.queue_query("SELECT 1");
    client.flush().unwrap();
    eventually("the statement runs", || is_running(&mut watcher, id));
    drop(client);
    eventually("the statement is cancelled", || !is_running(&mut watcher, id));
}
