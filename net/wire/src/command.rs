//! What a client may send once it is connected.

use bytes::Bytes;

use crate::codec::{Reader, lossy};
use crate::constants::com;
use crate::error::{Result, WireError};
use crate::handshake::ChangeUser;

/// A decoded command packet. Statement texts stay bytes: whether they are UTF-8 is the session's question.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Quit,
    InitDb(String),
    Query(Bytes),
    FieldList {
        table: String,
        wildcard: String,
    },
    Statistics,
    ProcessInfo,
    ProcessKill(u32),
    Debug,
    Ping,
    ChangeUser(ChangeUser),
    Prepare(Bytes),
    /// The body after the command byte; `execute` reads it once the statement is known.
    Execute(Bytes),
    SendLongData {
        statement: u32,
        parameter: u16,
        data: Bytes,
    },
    CloseStatement(u32),
    ResetStatement(u32),
    /// 0 turns multi-statements on, 1 off.
    SetOption(u16),
    Fetch {
        statement: u32,
        rows: u32,
    },
    ResetConnection,
    /// A command this server does not know.
    Unknown(u8),
}

impl Command {
    /// Reads a command packet's payload.
    pub fn decode(payload: &Bytes) -> Result<Self> {
        let code = *payload.first().ok_or(WireError::Malformed("an empty command packet"))?;
        let body = payload.slice(1..);
        let mut reader = Reader::new(&body);
        Ok(match code {
            com::QUIT => Self::Quit,
            com::INIT_DB => Self::InitDb(lossy(reader.rest())),
            com::QUERY => Self::Query(body),
            com::FIELD_LIST => {
                let table = lossy(reader.nul_bytes_or_rest());
                Self::FieldList { table, wildcard: lossy(reader.rest()) }
            }
            com::STATISTICS => Self::Statistics,
            com::PROCESS_INFO => Self::ProcessInfo,
            com::PROCESS_KILL => Self::ProcessKill(reader.u32()?),
            com::DEBUG => Self::Debug,
            com::PING => Self::Ping,
            com::CHANGE_USER => Self::ChangeUser(ChangeUser::decode(&body)?),
            com::STMT_PREPARE => Self::Prepare(body),
            com::STMT_EXECUTE => Self::Execute(body),
            com::STMT_SEND_LONG_DATA => {
                let (statement, parameter) = (reader.u32()?, reader.u16()?);
                Self::SendLongData { statement, parameter, data: body.slice(6..) }
            }
            com::STMT_CLOSE => Self::CloseStatement(reader.u32()?),
            com::STMT_RESET => Self::ResetStatement(reader.u32()?),
            com::SET_OPTION => Self::SetOption(reader.u16()?),
            com::STMT_FETCH => Self::Fetch { statement: reader.u32()?, rows: reader.u32()? },
            com::RESET_CONNECTION => Self::ResetConnection,
            other => Self::Unknown(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(payload: &'static [u8]) -> Result<Command> {
        Command::decode(&Bytes::from_static(payload))
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(decode(b"\x03select 1").unwrap(), Command::Query(Bytes::from_static(b"select 1")));
        assert_eq!(decode(b"\x02shop").unwrap(), Command::InitDb("shop".into()));
        assert_eq!(
            decode(b"\x04orders\0%").unwrap(),
            Command::FieldList { table: "orders".into(), wildcard: "%".into() }
        );
        assert_eq!(
            decode(b"\x18\x01\0\0\0\x02\0abc").unwrap(),
            Command::SendLongData { statement: 1, parameter: 2, data: Bytes::from_static(b"abc") }
        );
        assert_eq!(decode(b"\x19\x07\0\0\0").unwrap(), Command::CloseStatement(7));
        assert_eq!(decode(b"\x55").unwrap(), Command::Unknown(0x55));
    }

    #[test]
    fn short_commands_are_malformed() {
        for payload in [&b""[..], b"\x0c\x01", b"\x18\x01\0\0\0\x02", b"\x19", b"\x1b\x01", b"\x11root"] {
            assert!(Command::decode(&Bytes::copy_from_slice(payload)).is_err());
        }
    }
}
