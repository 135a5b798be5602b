//! Bytes from outside never panic a decoder (P6): the packets of `corpus/packets` with bytes flipped, cut, doubled and inserted go through
//! every decoder, and found cases are kept there.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../../../tests/src/fuzz.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod fuzz;
#[path = "../../../tests/src/random.rs"]
mod random;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use fuzz::{Form, Fuzz};
use starling_wire::column::{ColumnDef, ColumnRef};
use starling_wire::command::Command;
use starling_wire::constants::capability;
use starling_wire::handshake::{ChangeUser, Greeting, HandshakeResponse, decode_auth_switch};
use starling_wire::packet::{PacketDecoder, PacketWriter};
use starling_wire::reply::{self, OkPacket};
use starling_wire::{Reader, Value, execute, row};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/packets")
}

fn kept(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// One valid packet of every kind a decoder sees, as the code writes it today, and its name in the corpus.
fn packets_of_today() -> Vec<(&'static str, Vec<u8>)> {
    let mut out = Vec::new();
    let mut add = |name, fill: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        fill(&mut bytes);
        out.push((name, bytes));
    };
    let greeting = Greeting {
        version: "8.0.33".into(),
        connection_id: 9,
        nonce: [65; 20],
        capabilities: capability::SERVER,
        collation: 45,
        status: 2,
        plugin: "mysql_native_password".into(),
    };
    let response = HandshakeResponse {
        capabilities: capability::SERVER,
        user: "root".into(),
        token: vec![1; 20],
        database: Some("db".into()),
        plugin: Some("caching_sha2_password".into()),
        attributes: vec![("_client_name".into(), "x".into())],
        ..HandshakeResponse::default()
    };
    let values = [
        Value::Int(1),
        Value::Null,
        Value::from("text"),
        Value::DateTime { year: 2026, month: 1, day: 2, hour: 3, minute: 4, second: 5, micros: 6 },
        Value::Time { negative: true, hours: 30, minute: 1, second: 2, micros: 3 },
    ];
    add("greeting", &|b| greeting.encode(b));
    add("response", &|b| response.encode(b));
    add("change_user", &|b| b.extend_from_slice(b"root\0\x03abcdb\0\x2d\0mysql_native_password\0"));
    add("execute", &|b| execute::encode(b, 1, &values));
    add("query", &|b| b.extend_from_slice(b"\x03select 1; select 2"));
    add("long_data", &|b| b.extend_from_slice(b"\x18\x01\0\0\0\x02\0abc"));
    add("ok", &|b| OkPacket { affected: 1 << 40, info: "info".into(), ..OkPacket::default() }.encode(b));
    add("error", &|b| reply::encode_err(b, 1064, b"42000", "near 'x'"));
    add("column", &|b| ColumnRef::parameter().encode_with_default(b));
    add("two_packets", &|b| {
        let mut writer = PacketWriter::new();
        writer.packet(|out| out.extend_from_slice(b"\x03select 1"));
        writer.packet(|out| out.extend_from_slice(b"\x0e"));
        b.extend_from_slice(writer.bytes());
    });
    out
}

/// Every decoder over the same bytes; results do not matter, panics do.
fn decode_everything(bytes: &[u8]) {
    let shared = Bytes::copy_from_slice(bytes);
    let _ = Command::decode(&shared);
    let _ = Greeting::decode(bytes);
    let _ = ChangeUser::decode(bytes);
    let _ = decode_auth_switch(bytes);
    for offered in [0, capability::SERVER, u32::MAX] {
        let _ = HandshakeResponse::decode(bytes, offered);
        let _ = reply::decode_end_of_rows(bytes, offered);
        let _ = reply::is_end_of_rows(bytes, offered);
    }
    let _ = OkPacket::decode(bytes);
    let _ = reply::decode_err(bytes);
    let _ = ColumnDef::decode(bytes);
    for count in [0, 1, 5, 4000] {
        let _ = execute::decode_parameters(bytes, count, &mut vec![(12, false); count], &[Some(vec![1])]);
        let _ = execute::decode_parameters(bytes, count, &mut Vec::new(), &[]);
        let _ = row::decode_text(bytes, count);
    }
    for ty in 0..=255 {
        let column = ColumnDef { ty, ..ColumnDef::default() };
        let _ = row::decode_binary(bytes, &[column.clone(), column]);
        let _ = Value::decode(&mut Reader::new(bytes), ty, ty % 2 == 0);
    }
}

fn packets(bytes: &[u8], step: usize) -> (Vec<Bytes>, bool) {
    let mut decoder = PacketDecoder::new(1 << 20);
    let mut found = Vec::new();
    for chunk in bytes.chunks(step) {
        decoder.feed(chunk);
        loop {
            match decoder.next_packet() {
                Ok(Some(packet)) => found.push(packet.payload),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

#[test]
fn no_decoder_panics_on_mutated_packets() {
    Fuzz::new("packets", Form::Bytes, &folder()).run(6_000, |bytes| {
        decode_everything(bytes);
        // What is a packet does not depend on how the bytes arrive.
        assert_eq!(packets(bytes, 1 + bytes.len() % 39), packets(bytes, usize::MAX));
    });
}

#[test]
fn every_prefix_of_every_packet_is_survived() {
    for (_, packet) in packets_of_today() {
        for len in 0..=packet.len() {
            decode_everything(&packet[..len]);
        }
    }
}

/// A packet that is missing in the corpus is written, and the test fails once.
#[test]
fn the_corpus_is_what_is_sent_today() {
    for (name, packet) in packets_of_today() {
        let path = folder().join(name);
        if !path.exists() {
            std::fs::write(&path, &packet).unwrap();
            panic!("{name} was missing and is written now: look at it, and add it");
        }
        assert_eq!(kept(name), packet, "{name}");
    }
}

#[test]
fn kept_packets_decode_as_what_they_are() {
    assert_eq!(Greeting::decode(&kept("greeting")).unwrap().connection_id, 9);
    assert_eq!(HandshakeResponse::decode(&kept("response"), capability::SERVER).unwrap().user, "root");
    assert_eq!(execute::decode_parameters(&kept("execute"), 5, &mut Vec::new(), &[]).unwrap().len(), 5);
}
