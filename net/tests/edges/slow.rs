//! Clients that are slow, silent or do not read: what they hold is bounded, and somebody can end them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use starling_net::serve::Server;
use starling_wire::MysqlClient;
use starling_wire::constants::com;
use starling_wire::reply::decode_err;

use crate::support::{connect, eventually, options, server};

const AUTHORIZATION: &str = "Authorization: Basic cm9vdDo=";

/// The payload of the next packet.
fn packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).unwrap();
    let mut payload = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16];
    stream.read_exact(&mut payload).unwrap();
    payload
}

fn greeted() -> TcpStream {
    let mut stream = TcpStream::connect(server().mysql_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    packet(&mut stream);
    stream
}

/// How long the server takes to end a connection on which nothing is said.
fn ended_after(mut stream: TcpStream) -> Duration {
    let begun = Instant::now();
    drop(stream.read_to_end(&mut Vec::new()));
    begun.elapsed()
}

#[test]
fn who_is_not_logged_in_may_send_little() {
    let mut stream = greeted();
    // A megabyte is announced and begun; whoever knows no password must not make the server keep it.
    stream.write_all(&[0, 0, 16, 1]).unwrap();
    stream.write_all(&[b'x'; 1000]).unwrap();
    let (code, _, message) = decode_err(&packet(&mut stream)).unwrap();
    assert_eq!(code, 1153, "{message}");
}

#[test]
fn a_login_takes_ten_seconds_at_most_also_a_second_one() {
    let silent = greeted();
    // COM_CHANGE_USER asks for a password again; the answer does not come.
    let client = connect();
    let mut changing = client.stream().try_clone().unwrap();
    changing.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    changing.write_all(&[7, 0, 0, 0, com::CHANGE_USER]).unwrap();
    changing.write_all(b"root\0\0").unwrap();
    assert_eq!(packet(&mut changing)[0], 0xFE, "an AuthSwitchRequest");
    let ends = [silent, changing].map(|stream| std::thread::spawn(move || ended_after(stream)));
    for end in ends {
        let after = end.join().unwrap();
        assert!(after > Duration::from_secs(5) && after < Duration::from_secs(20), "{after:?}");
    }
}

#[test]
fn change_user_leaves_the_database_and_all_else_behind() {
    let mut client = connect();
    client.query("CREATE DATABASE IF NOT EXISTS slow").unwrap();
    client.query("USE slow").unwrap();
    client.query("SET @mine = 5").unwrap();
    let mut stream = client.stream().try_clone().unwrap();
    stream.write_all(&[7, 0, 0, 0, com::CHANGE_USER]).unwrap();
    stream.write_all(b"root\0\0").unwrap();
    assert_eq!(packet(&mut stream)[0], 0xFE, "an AuthSwitchRequest");
    // An empty password is an empty packet.
    stream.write_all(&[0, 0, 0, 2]).unwrap();
    assert_eq!(packet(&mut stream)[0], 0, "OK");
    assert_eq!(client.query("SELECT DATABASE(), @mine").unwrap().text(), [["NULL", "NULL"]]);
}

#[test]
fn kill_ends_a_client_that_does_not_read() {
    let mut killer = connect();
    killer.query("CREATE DATABASE IF NOT EXISTS slow").unwrap();
    killer.query("CREATE TABLE IF NOT EXISTS slow.n (k INT NOT NULL) PRIMARY KEY(k)").unwrap();
    let values: Vec<_> = (0..1000).map(|k| format!("({k})")).collect();
    killer.query(&format!("INSERT INTO slow.n VALUES {}", values.join(","))).unwrap();
    let mut deaf = connect();
    let id = deaf.connection_id();
    deaf.send_query("SELECT REPEAT('x', 1000) FROM slow.n a, slow.n b").unwrap();
    let mut runs = || {
        let list = killer.query("SHOW PROCESSLIST").unwrap().text();
        list.iter().any(|row| row[1] == id.to_string())
    };
    // Its send is stuck now, or will be in a moment: the socket's buffers take a few megabytes of a gigabyte.
    eventually("the query runs", &mut runs);
    std::thread::sleep(Duration::from_millis(300));
    connect().query(&format!("KILL {id}")).unwrap();
    let begun = Instant::now();
    eventually("the session is gone", || !runs());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// A load's request, but for its body.
fn load_head(table: &str, length: usize) -> String {
    format!(
        "PUT /api/{table}/_stream_load HTTP/1.1\r\nHost: x\r\n{AUTHORIZATION}\r\ncolumn_separator: ,\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

fn answer(mut stream: &TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut text = Vec::new();
    drop(stream.read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_client_that_closes_its_side_reads_the_outcome_of_its_load() {
    let mut client = connect();
    client.query("CREATE DATABASE IF NOT EXISTS slow").unwrap();
    client.query("CREATE TABLE slow.half (k INT NOT NULL, v VARCHAR(10)) PRIMARY KEY(k)").unwrap();
    for (length, want) in [(4, "\"Success\""), (400, "\"Fail\"")] {
        let mut stream = TcpStream::connect(server().http_address()).unwrap();
        stream.write_all(load_head("slow/half", length).as_bytes()).unwrap();
        stream.write_all(b"1,a\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = answer(&stream);
        assert!(answer.contains(want), "{length}: {answer:?}");
    }
    assert_eq!(client.query("SELECT COUNT(*) FROM slow.half").unwrap().text(), [["1"]]);
}

#[test]
fn an_early_refusal_is_read_by_a_client_that_sends_all_of_its_body_first() {
    let mut stream = TcpStream::connect(server().http_address()).unwrap();
    let piece = vec![b'1'; 1 << 20];
    stream.write_all(load_head("slow/no_such_table", 200 << 20).as_bytes()).unwrap();
    for _ in 0..200 {
        stream.write_all(&piece).unwrap();
    }
    let answer = answer(&stream);
    assert!(answer.contains("Unknown"), "{answer:?}");
}

#[test]
fn a_refusal_does_not_wait_for_a_body_that_does_not_come() {
    let mut stream = TcpStream::connect(server().http_address()).unwrap();
    stream.write_all(load_head("slow/no_such_table", 400).as_bytes()).unwrap();
    stream.write_all(b"1,a\n").unwrap();
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut some = [0; 64];
    let len = stream.read(&mut some).unwrap();
    assert!(some[..len].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&some[..len]));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_stop_answers_those_who_wait() {
    let server = Server::start(options("stop", 2)).unwrap();
    let mut client = MysqlClient::connect(server.mysql_address()).unwrap();
    client.query("CREATE DATABASE slow").unwrap();
    client.query("CREATE TABLE slow.n (k INT NOT NULL, v VARCHAR(10)) PRIMARY KEY(k)").unwrap();
    let values: Vec<_> = (0..100).map(|k| format!("({k}, 'x')")).collect();
    client.query(&format!("INSERT INTO slow.n VALUES {}", values.join(","))).unwrap();
    client
        .send_query(
            "SELECT COUNT(*) FROM slow.n a, slow.n b, slow.n c, slow.n d, slow.n e WHERE a.k+b.k+c.k+d.k+e.k = 7",
        )
        .unwrap();
    let mut load = TcpStream::connect(server.http_address()).unwrap();
    load.write_all(load_head("slow/n", 400).as_bytes()).unwrap();
    load.write_all(b"1,a\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    let stopping = std::thread::spawn(move || server.stop());
    let error = client.read_result().unwrap_err();
    assert_eq!(error.code(), Some(1317), "{error}");
    let answer = answer(&load);
    assert!(answer.contains("\"Fail\"") && answer.contains("did not come whole"), "{answer:?}");
    assert!(stopping.join().unwrap().errors.is_empty());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
