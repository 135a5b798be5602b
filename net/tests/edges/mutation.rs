//! Conversations of real clients, changed byte by byte, over real sockets: whatever comes costs its own connection, and no more.
//!
//! `tests/corpus/mysql` holds what clients sent from their first packet on, `tests/corpus/http` whole requests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use starling_wire::packet::PacketDecoder;

use crate::fuzz::{Form, Fuzz};
use crate::support::{connect, http, server};

fn corpus(edge: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(edge)
}

/// Sends all, says that no more comes, and gives what is answered until the server closes.
fn converse(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // The server may have closed already.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    let (mut answer, mut piece) = (Vec::new(), [0; 16 << 10]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(len) => answer.extend_from_slice(&piece[..len]),
            Err(error) => {
                let hangs = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!hangs, "the server neither answers nor closes");
                return answer;
            }
        }
    }
}

fn panics() -> u64 {
    server().stats().sum(|core| &core.panics)
}

#[test]
fn changed_conversations_cost_only_their_connection() {
    let mut setup = connect();
    for sql in [
        "CREATE DATABASE IF NOT EXISTS fuzz",
        "CREATE TABLE IF NOT EXISTS fuzz.t (k BIGINT NOT NULL, v VARCHAR(20), d DATETIME) PRIMARY KEY(k) DISTRIBUTED BY HASH(k) BUCKETS 1",
    ] {
        setup.query(sql).unwrap();
    }
    Fuzz::new("mysql", Form::Bytes, &corpus("mysql")).run(300, |bytes| {
        let answer = converse(server().mysql_address(), bytes);
        // What is answered is whole packets, the first of them a greeting.
        let mut decoder = PacketDecoder::new(1 << 24);
        decoder.feed(&answer);
        let first = decoder.next_packet().unwrap().unwrap();
        assert_eq!(first.payload.first(), Some(&10));
        assert_eq!(panics(), 0);
    });
    connect().ping().unwrap();
}

#[test]
fn changed_requests_cost_only_their_connection() {
    Fuzz::new("http", Form::Bytes, &corpus("http")).run(300, |bytes| {
        let answer = converse(server().http_address(), bytes);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
        assert_eq!(panics(), 0);
    });
    assert_eq!(http().get("/api/health").unwrap().status, 200);
}
