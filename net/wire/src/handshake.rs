//! The connection phase: greeting (HandshakeV10), response 41, AuthSwitch, and COM_CHANGE_USER, which repeats it.

use crate::auth::NONCE_BYTES;
use crate::codec::{Reader, lossy, put_lenenc_bytes, put_lenenc_int, put_nul_bytes};
use crate::constants::capability;
use crate::error::{Result, WireError};

const PROTOCOL_VERSION: u8 = 10;

/// What the server says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Server version; clients parse the digits before the first dot.
    pub version: String,
    pub connection_id: u32,
    pub nonce: [u8; NONCE_BYTES],
    pub capabilities: u32,
    pub collation: u8,
    pub status: u16,
    pub plugin: String,
}

impl Greeting {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let capabilities = self.capabilities.to_le_bytes();
        out.push(PROTOCOL_VERSION);
        put_nul_bytes(out, self.version.as_bytes());
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        out.extend_from_slice(&self.nonce[..8]);
        out.push(0);
        out.extend_from_slice(&capabilities[..2]);
        out.push(self.collation);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&capabilities[2..]);
        out.push(NONCE_BYTES as u8 + 1);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(&self.nonce[8..]);
        out.push(0);
        put_nul_bytes(out, self.plugin.as_bytes());
    }

    /// Reads a server's greeting.
    pub fn decode(payload: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != PROTOCOL_VERSION {
            return Err(WireError::Malformed("not a HandshakeV10 greeting"));
        }
        let version = lossy(reader.nul_bytes()?);
        let connection_id = reader.u32()?;
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(reader.bytes(8)?);
        reader.u8()?;
        let low = u32::from(reader.u16()?);
        let collation = reader.u8()?;
        let status = reader.u16()?;
        let capabilities = low | u32::from(reader.u16()?) << 16;
        reader.u8()?;
        reader.bytes(10)?;
        nonce[8..].copy_from_slice(reader.bytes(NONCE_BYTES - 8)?);
        reader.u8()?;
        let plugin = lossy(reader.nul_bytes_or_rest());
        Ok(Self { version, connection_id, nonce, capabilities, collation, status, plugin })
    }
}

/// What the client answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HandshakeResponse {
    /// As sent; the effective ones are these AND the server's.
    pub capabilities: u32,
    pub packet_bytes_max: u32,
    pub collation: u8,
    pub user: String,
    /// The answer to the nonce.
    pub token: Vec<u8>,
    pub database: Option<String>,
    pub plugin: Option<String>,
    pub attributes: Vec<(String, String)>,
}

impl HandshakeResponse {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.capabilities.to_le_bytes());
        out.extend_from_slice(&self.packet_bytes_max.to_le_bytes());
        out.push(self.collation);
        out.extend_from_slice(&[0; 23]);
        put_nul_bytes(out, self.user.as_bytes());
        if self.has(capability::PLUGIN_AUTH_LENENC) {
            put_lenenc_bytes(out, &self.token);
        } else if self.has(capability::SECURE_CONNECTION) {
            out.push(self.token.len() as u8);
            out.extend_from_slice(&self.token);
        } else {
            put_nul_bytes(out, &self.token);
        }
        if self.has(capability::CONNECT_WITH_DB) {
            put_nul_bytes(out, self.database.as_deref().unwrap_or_default().as_bytes());
        }
        if self.has(capability::PLUGIN_AUTH) {
            put_nul_bytes(out, self.plugin.as_deref().unwrap_or_default().as_bytes());
        }
        if self.has(capability::CONNECT_ATTRS) {
            put_attributes(out, &self.attributes);
        }
    }

    /// Reads a client's answer. Only the capabilities that `offered` holds shape it, as clients send bits nobody asked for.
    pub fn decode(payload: &[u8], offered: u32) -> Result<Self> {
        let mut reader = Reader::new(payload);
        let capabilities = reader.u32()?;
        if capabilities & capability::PROTOCOL_41 == 0 {
            return Err(WireError::Malformed("the client does not speak protocol 4.1"));
        }
        let effective = capabilities & offered;
        let has = |bit| effective & bit != 0;
        let mut out = Self { capabilities, packet_bytes_max: reader.u32()?, ..Self::default() };
        out.collation = reader.u8()?;
        reader.bytes(23)?;
        out.user = lossy(reader.nul_bytes()?);
        out.token = if has(capability::PLUGIN_AUTH_LENENC) {
            reader.lenenc_bytes()?.to_vec()
        } else if has(capability::SECURE_CONNECTION) {
            let len = usize::from(reader.u8()?);
            reader.bytes(len)?.to_vec()
        } else {
            reader.nul_bytes()?.to_vec()
        };
        if has(capability::CONNECT_WITH_DB) && !reader.is_empty() {
            out.database = Some(lossy(reader.nul_bytes_or_rest())).filter(|db| !db.is_empty());
        }
        if has(capability::PLUGIN_AUTH) && !reader.is_empty() {
            out.plugin = Some(lossy(reader.nul_bytes_or_rest()));
        }
        if has(capability::CONNECT_ATTRS) && !reader.is_empty() {
            out.attributes = attributes(&mut reader)?;
        }
        Ok(out)
    }

    fn has(&self, bit: u32) -> bool {
        self.capabilities & bit != 0
    }
}

/// COM_CHANGE_USER's body (after the command byte).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeUser {
    pub user: String,
    pub token: Vec<u8>,
    pub database: Option<String>,
    pub plugin: Option<String>,
}

impl ChangeUser {
    /// Reads the body; several clients leave out everything after the database.
    pub fn decode(body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let user = lossy(reader.nul_bytes()?);
        let len = usize::from(reader.u8()?);
        let token = reader.bytes(len)?.to_vec();
        let database = Some(lossy(reader.nul_bytes_or_rest())).filter(|db| !db.is_empty());
        let mut plugin = None;
        if reader.remaining() > 2 {
            reader.u16()?;
            plugin = Some(lossy(reader.nul_bytes_or_rest()));
        }
        Ok(Self { user, token, database, plugin })
    }
}

/// Asks the client to answer a new nonce with another plugin.
pub fn encode_auth_switch(out: &mut Vec<u8>, plugin: &str, nonce: &[u8; NONCE_BYTES]) {
    out.push(0xFE);
    put_nul_bytes(out, plugin.as_bytes());
    out.extend_from_slice(nonce);
    out.push(0);
}

/// Reads an AuthSwitchRequest (after checking its first byte, 0xFE): plugin and nonce.
pub fn decode_auth_switch(payload: &[u8]) -> Result<(String, [u8; NONCE_BYTES])> {
    let mut reader = Reader::new(payload);
    if reader.u8()? != 0xFE {
        return Err(WireError::Malformed("not an AuthSwitchRequest"));
    }
    let plugin = lossy(reader.nul_bytes()?);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(reader.bytes(NONCE_BYTES)?);
    Ok((plugin, nonce))
}

fn put_attributes(out: &mut Vec<u8>, attributes: &[(String, String)]) {
    let mut body = Vec::new();
    for (key, value) in attributes {
        put_lenenc_bytes(&mut body, key.as_bytes());
        put_lenenc_bytes(&mut body, value.as_bytes());
    }
    put_lenenc_int(out, body.len() as u64);
    out.extend_from_slice(&body);
}

fn attributes(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>> {
    let mut body = Reader::new(reader.lenenc_bytes()?);
    let mut out = Vec::new();
    while !body.is_empty() {
        let key = lossy(body.lenenc_bytes()?);
        out.push((key, lossy(body.lenenc_bytes()?)));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::NATIVE_PASSWORD;

    fn response(capabilities: u32) -> HandshakeResponse {
        HandshakeResponse {
            capabilities,
            packet_bytes_max: 1 << 24,
            collation: 45,
            user: "root".into(),
            token: vec![7; 20],
            database: (capabilities & capability::CONNECT_WITH_DB != 0).then(|| "db".into()),
            plugin: (capabilities & capability::PLUGIN_AUTH != 0).then(|| NATIVE_PASSWORD.into()),
            attributes: if capabilities & capability::CONNECT_ATTRS != 0 {
                vec![("_client_name".into(), "test".into())]
            } else {
                vec![]
            },
        }
    }

    #[test]
    fn greeting_round_trips_and_has_the_fixed_layout() {
        let greeting = Greeting {
            version: "8.0.33".into(),
            connection_id: 0x0102_0304,
            nonce: *b"abcdefghijklmnopqrst",
            capabilities: capability::SERVER,
            collation: 45,
            status: 2,
            plugin: NATIVE_PASSWORD.into(),
        };
        let mut out = Vec::new();
        greeting.encode(&mut out);
        assert_eq!(&out[..8], b"\x0a8.0.33\0");
        assert_eq!(&out[8..12], &[4, 3, 2, 1]);
        assert_eq!(Greeting::decode(&out).unwrap(), greeting);
    }

    #[test]
    fn responses_round_trip_with_and_without_each_optional_field() {
        use capability::*;
        let base = PROTOCOL_41;
        for bits in
            [SECURE_CONNECTION, SECURE_CONNECTION | CONNECT_WITH_DB, SERVER, 0, PLUGIN_AUTH_LENENC | PLUGIN_AUTH]
        {
            let sent = response(base | bits);
            let mut out = Vec::new();
            sent.encode(&mut out);
            assert_eq!(HandshakeResponse::decode(&out, SERVER).unwrap(), sent);
        }
    }

    #[test]
    fn bits_that_were_not_offered_do_not_shape_the_packet() {
        let mut out = Vec::new();
        let sent = response(capability::PROTOCOL_41 | capability::SECURE_CONNECTION | capability::CONNECT_WITH_DB);
        sent.encode(&mut out);
        out[2] |= 0x20; // PLUGIN_AUTH_LENENC claimed, yet a server that did not offer it must not use it
        let got = HandshakeResponse::decode(&out, capability::SERVER & !capability::PLUGIN_AUTH_LENENC).unwrap();
        assert_eq!(got.database.as_deref(), Some("db"));
    }

    #[test]
    fn a_response_without_its_last_nul_is_read() {
        let mut out = Vec::new();
        let caps = capability::PROTOCOL_41 | capability::SECURE_CONNECTION | capability::CONNECT_WITH_DB;
        response(caps).encode(&mut out);
        out.pop();
        assert_eq!(HandshakeResponse::decode(&out, caps).unwrap().database.as_deref(), Some("db"));
    }

    #[test]
    fn auth_switch_and_change_user_are_read() {
        let mut out = Vec::new();
        encode_auth_switch(&mut out, NATIVE_PASSWORD, b"abcdefghijklmnopqrst");
        let (plugin, nonce) = decode_auth_switch(&out).unwrap();
        assert_eq!((plugin.as_str(), &nonce), (NATIVE_PASSWORD, b"abcdefghijklmnopqrst"));
        let got = ChangeUser::decode(b"root\0\0db\0\x2d\0mysql_native_password\0").unwrap();
        assert_eq!((got.user.as_str(), got.database.as_deref()), ("root", Some("db")));
        assert_eq!(got.plugin.as_deref(), Some(NATIVE_PASSWORD));
        assert!(ChangeUser::decode(b"root\0\x05ab").is_err());
    }
}
