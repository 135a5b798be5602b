//! Bytes from outside never panic a decoder (P6): real packets with bytes flipped, cut, doubled and inserted go through
//! every decoder. Found cases are kept by proptest in `mutation.proptest-regressions`.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use starling_wire::column::{ColumnDef, ColumnRef};
use starling_wire::command::Command;
use starling_wire::constants::capability;
use starling_wire::handshake::{ChangeUser, Greeting, HandshakeResponse, decode_auth_switch};
use starling_wire::packet::{PacketDecoder, PacketWriter};
use starling_wire::reply::{self, OkPacket};
use starling_wire::{Reader, Value, execute, row};

/// One valid packet of every kind a decoder sees.
fn seeds() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut add = |fill: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        fill(&mut bytes);
        out.push(bytes);
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
    add(&|b| greeting.encode(b));
    add(&|b| response.encode(b));
    add(&|b| b.extend_from_slice(b"root\0\x03abcdb\0\x2d\0mysql_native_password\0"));
    add(&|b| execute::encode(b, 1, &values));
    add(&|b| b.extend_from_slice(b"\x03select 1; select 2"));
    add(&|b| b.extend_from_slice(b"\x18\x01\0\0\0\x02\0abc"));
    add(&|b| OkPacket { affected: 1 << 40, info: "info".into(), ..OkPacket::default() }.encode(b));
    add(&|b| reply::encode_err(b, 1064, b"42000", "near 'x'"));
    add(&|b| ColumnRef::parameter().encode_with_default(b));
    add(&|b| {
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

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec((any::<u8>(), any::<prop::sample::Index>(), any::<u8>()), 0..8);
    (prop::sample::select(seeds()), edits).prop_map(|(mut bytes, edits)| {
        for (kind, at, byte) in edits {
            let index = at.index(bytes.len() + 1);
            match kind % 5 {
                0 if index < bytes.len() => bytes[index] = byte,
                1 if index < bytes.len() => bytes[index] ^= 1 << (byte % 8),
                2 => bytes.truncate(index),
                3 => bytes.insert(index, byte),
                4 if index < bytes.len() => bytes.extend_from_within(index..),
                _ => {}
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_decoder_panics_on_mutated_packets(bytes in mutated()) {
        decode_everything(&bytes);
    }

    #[test]
    fn no_decoder_panics_on_noise(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        decode_everything(&bytes);
    }

    #[test]
    fn framing_does_not_depend_on_how_bytes_arrive(bytes in mutated(), step in 1usize..40) {
        prop_assert_eq!(packets(&bytes, step), packets(&bytes, usize::MAX));
    }
}

#[test]
fn every_prefix_of_every_seed_is_survived() {
    for seed in seeds() {
        for len in 0..=seed.len() {
            decode_everything(&seed[..len]);
        }
    }
}

#[test]
fn seeds_decode_as_what_they_are() {
    let seeds = seeds();
    assert_eq!(Greeting::decode(&seeds[0]).unwrap().connection_id, 9);
    assert_eq!(HandshakeResponse::decode(&seeds[1], capability::SERVER).unwrap().user, "root");
    assert_eq!(execute::decode_parameters(&seeds[3], 5, &mut Vec::new(), &[]).unwrap().len(), 5);
}
