//! What no client should send: it costs its own connection, nobody else's.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use starling_wire::MysqlClient;
use starling_wire::constants::{capability, com};
use starling_wire::handshake::HandshakeResponse;
use starling_wire::packet::{PacketDecoder, PacketWriter};
use starling_wire::reply::decode_err;

use crate::support::{connect, eventually, http, server};

fn raw() -> TcpStream {
    let stream = TcpStream::connect(server().mysql_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Everything the server says until it closes, as packets.
fn rest(mut stream: TcpStream) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    // A reset after the last packet is as good as a close.
    drop(stream.read_to_end(&mut bytes));
    let mut decoder = PacketDecoder::new(1 << 24);
    decoder.feed(&bytes);
    std::iter::from_fn(|| decoder.next_packet().unwrap()).map(|packet| packet.payload.to_vec()).collect()
}

fn last_error(stream: TcpStream) -> u16 {
    let packets = rest(stream);
    decode_err(packets.last().unwrap()).unwrap().0
}

/// A login's bytes, numbered as the first answer to a greeting.
fn login() -> Vec<u8> {
    let response = HandshakeResponse {
        capabilities: capability::SERVER & !capability::CONNECT_WITH_DB,
        user: "root".into(),
        plugin: Some("mysql_native_password".into()),
        ..HandshakeResponse::default()
    };
    let mut writer = PacketWriter::new();
    writer.set_sequence(1);
    writer.packet(|out| response.encode(out));
    writer.bytes().to_vec()
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let mut stream = raw();
    stream.set_nodelay(true).unwrap();
    let mut bytes = login();
    bytes.extend_from_slice(&[9, 0, 0, 0, com::QUERY]);
    bytes.extend_from_slice(b"SELECT 5");
    bytes.extend_from_slice(&[1, 0, 0, 0, com::QUIT]);
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
    }
    let packets = rest(stream);
    assert!(packets.iter().any(|packet| packet == b"\x015"), "{packets:?}");
}

#[test]
fn half_a_packet_and_gone() {
    for cut in 0..login().len() {
        let mut stream = raw();
        stream.write_all(&login()[..cut]).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    let client = connect();
    client.stream().write_all(&[200, 0, 0, 0, com::QUERY, b'S']).unwrap();
    drop(client);
    eventually("half-open sessions ended", || {
        let mut watcher = connect();
        let open = server().stats().sum(|core| &core.mysql_open);
        watcher.ping().unwrap();
        // Other tests of this binary have a few open at the same time.
        open < 40
    });
}

#[test]
fn an_oversized_packet_is_error_1153() {
    let client = connect();
    let mut stream = client.stream().try_clone().unwrap();
    let writer = std::thread::spawn({
        let mut stream = stream.try_clone().unwrap();
        move || {
            // 80 MiB in parts of 16 MiB - 1: over the limit of 64 MiB with the fifth header. The server must let us finish.
            let part = vec![b' '; 0xFF_FFFF];
            for number in 0..5u8 {
                stream.write_all(&[0xFF, 0xFF, 0xFF, number]).unwrap();
                stream.write_all(&part).unwrap();
            }
        }
    });
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut header = [0; 4];
    stream.read_exact(&mut header).unwrap();
    let mut payload = vec![0; usize::from(header[0]) | usize::from(header[1]) << 8];
    stream.read_exact(&mut payload).unwrap();
    let (code, state, message) = decode_err(&payload).unwrap();
    assert_eq!((code, state.as_str()), (1153, "08S01"), "{message}");
    writer.join().unwrap();
    connect().ping().unwrap();
}

#[test]
fn a_large_statement_within_the_limit_is_run() {
    let text = "x".repeat(20 << 20);
    let result = connect().query(&format!("SELECT '{text}'")).unwrap();
    assert_eq!(result.rows[0][0].to_string().len(), text.len());
}

#[test]
fn a_wrong_sequence_number_is_error_1156() {
    let mut stream = raw();
    stream.write_all(&login()).unwrap();
    stream.write_all(&[1, 0, 0, 7, com::PING]).unwrap();
    assert_eq!(last_error(stream), 1156);
}

#[test]
fn commands_that_are_cut_short_are_malformed_and_survived() {
    let mut client = connect();
    for (code, body) in [
        (com::STMT_EXECUTE, &[1, 0][..]),
        (com::STMT_CLOSE, &[1]),
        (com::PROCESS_KILL, &[]),
        (com::SET_OPTION, &[0]),
        (com::STMT_SEND_LONG_DATA, &[1, 0, 0, 0, 0]),
    ] {
        let error = client.command(code, body).unwrap_err();
        assert_eq!(error.code(), Some(1835), "{code:#x}: {error}");
    }
    client.ping().unwrap();
}

#[test]
fn a_client_that_wants_tls_or_an_old_protocol_is_told() {
    for capabilities in [capability::SSL | capability::PROTOCOL_41, 0u32] {
        let mut stream = raw();
        let mut packet = vec![32, 0, 0, 1];
        packet.extend_from_slice(&capabilities.to_le_bytes());
        packet.resize(36, 0);
        stream.write_all(&packet).unwrap();
        assert_eq!(last_error(stream), 1043);
    }
}

/// Found cases are kept beside this file.
fn runner() -> TestRunner {
    let kept = FileFailurePersistence::Direct(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/edges/hostile.proptest-regressions"
    ));
    TestRunner::new(Config { cases: 300, failure_persistence: Some(Box::new(kept)), ..Config::default() })
}

#[test]
fn mutated_logins_and_noise_cost_only_their_connection() {
    let mut runner = runner();
    let edits = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let noise = proptest::collection::vec(any::<u8>(), 0..300);
    runner
        .run(&(edits, noise), |(edits, noise)| {
            let mut stream = raw();
            let mut bytes = login();
            for (at, byte) in edits {
                let index = at.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.extend_from_slice(&noise);
            // The server may have closed already.
            drop(stream.write_all(&bytes));
            drop(stream.shutdown(Shutdown::Write));
            rest(stream);
            Ok(())
        })
        .unwrap();
    assert_eq!(server().stats().sum(|core| &core.panics), 0);
    connect().ping().unwrap();
}

#[test]
fn mutated_commands_cost_only_their_connection() {
    let mut runner = runner();
    let commands = proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..10);
    runner
        .run(&commands, |commands| {
            let mut client = connect();
            for (code, body) in &commands {
                client.queue(*code, body);
            }
            drop(client.flush());
            drop(client.stream().shutdown(Shutdown::Write));
            rest(client.stream().try_clone().unwrap());
            Ok(())
        })
        .unwrap();
    assert_eq!(server().stats().sum(|core| &core.panics), 0);
    connect().ping().unwrap();
}

#[test]
fn a_client_that_does_not_read_holds_only_itself() {
    let mut deaf = connect();
    // 64 MiB of answers that nobody reads.
    let text = "y".repeat(1 << 20);
    for _ in 0..64 {
        deaf.queue_query(&format!("SELECT '{text}'"));
    }
    deaf.stream().set_nonblocking(true).unwrap();
    drop(deaf.flush());
    let mut other = MysqlClient::connect(server().mysql_address()).unwrap();
    for _ in 0..20 {
        assert_eq!(other.query("SELECT 1").unwrap().text(), [["1"]]);
    }
    assert_eq!(http().get("/api/health").unwrap().status, 200);
}
