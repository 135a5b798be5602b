//! HTTP: routes, and requests that are not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use starling_wire::{HttpClient, PutBody};

use crate::support::{connect, http, server};

#[test]
fn health_and_metrics_on_one_connection() {
    let mut client = http();
    let health = client.get("/api/health").unwrap();
    assert_eq!(health.status, 200);
    assert!(health.text().contains("\"status\":\"OK\""), "{}", health.text());
    let mut session = connect();
    session.ping().unwrap();
    let metrics = client.get("/metrics").unwrap();
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = metrics.text();
    assert!(text.contains("starling_mysql_connections{core=\"0\"}"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        value.parse::<f64>().unwrap();
    }
}

#[test]
fn unknown_paths_and_methods() {
    let mut client = http();
    let answer = client.get("/nothing").unwrap();
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("no such path"), "{}", answer.text());
    assert_eq!(client.get("/api/db/t/_stream_load").unwrap().status, 405);
    let answer = client.request("DELETE", "/metrics", &[], PutBody::Sized(b"body"), false).unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
    assert_eq!(client.get("/api/_load_error_log").unwrap().status, 400);
    assert_eq!(client.get("/api/_load_error_log?file=..%2F..%2Fetc%2Fpasswd").unwrap().status, 404);
    // All of it on the same connection.
    assert_eq!(client.get("/api/health").unwrap().status, 200);
}

fn raw(request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server().http_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request).unwrap();
    drop(stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn what_is_no_request_is_refused() {
    assert!(raw(b"\x00\x01\x02 nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    let long = format!("GET /api/health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(200 << 10));
    assert!(raw(long.as_bytes()).starts_with("HTTP/1.1 431"), "{}", &raw(long.as_bytes()));
    let many: String = (0..300).map(|i| format!("X{i}: y\r\n")).collect();
    assert!(raw(format!("GET /api/health HTTP/1.1\r\n{many}\r\n").as_bytes()).starts_with("HTTP/1.1 431"));
    // A bare connect and close, as some clients choose a host.
    drop(TcpStream::connect(server().http_address()).unwrap());
    assert_eq!(http().get("/api/health").unwrap().status, 200);
}

#[test]
fn loads_need_a_known_user() {
    let mut client = http();
    for (name, value) in [("X", "y"), ("Authorization", "Basic cm9vdDpndWVzcw=="), ("Authorization", "Bearer x")] {
        let answer = client.put("/api/db/t/_stream_load", &[(name, value)], b"1,2").unwrap();
        assert_eq!(answer.status, 401, "{name}: {value}");
        assert!(answer.text().contains("Access denied"), "{}", answer.text());
    }
}

#[test]
fn a_refused_load_is_told_before_its_body() {
    // The client waits for 100 Continue; it gets the final answer instead, and the connection ends.
    let mut client = http();
    let body = vec![b'x'; 1 << 20];
    let answer = client.request("PUT", "/api/db/t/_stream_load", &[], PutBody::Sized(&body), true).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
}

#[test]
fn a_load_into_nowhere_fails_in_json() {
    let authorization = ("Authorization", "Basic cm9vdDo=");
    for expect in [false, true] {
        let mut client = HttpClient::connect(server().http_address()).unwrap();
        let path = "/api/no_such_db/t/_stream_load";
        let answer = client.request("PUT", path, &[authorization], PutBody::Sized(b"1,2\n"), expect).unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains("\"Status\": \"Fail\""), "{}", answer.text());
    }
}

#[test]
fn a_head_is_an_answer_without_its_body() {
    for path in ["/api/health", "/metrics"] {
        let answer = raw(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

/// https://prometheus.io/docs/practices/naming: a prefix, base units, `_total` for counters; and a help and a type for each family.
#[test]
fn metrics_are_named_as_prometheus_wants_it() {
    let text = http().get("/metrics").unwrap().text();
    let word = |line: &str, at: usize| line.split(' ').nth(at).unwrap_or_default().to_string();
    let mut families = std::collections::HashMap::new();
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            assert!(line.split(' ').count() > 3, "{line}");
            assert_eq!(families.insert(word(line, 2), String::new()), None, "twice: {line}");
        } else if line.starts_with("# TYPE ") {
            families.insert(word(line, 2), word(line, 3));
        } else {
            let name = line.split(['{', ' ']).next().unwrap().to_string();
            let bare = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count")).unwrap_or(&name);
            let kind = families.get(&name).or_else(|| families.get(bare)).unwrap_or_else(|| panic!("no head: {line}"));
            assert!(name.starts_with("starling_") || name.starts_with("process_"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let units = ["_micros", "_millis", "_ms", "_us", "_kb", "_mb", "_percent"];
            assert!(!units.iter().any(|unit| name.ends_with(unit)), "seconds and bytes: {line}");
        }
    }
    for needed in ["process_resident_memory_bytes", "process_cpu_seconds_total", "starling_query_seconds"] {
        assert!(families.contains_key(needed), "{needed}");
    }
}
