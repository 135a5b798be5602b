//! Packets on their way out. They gather in one buffer and leave in writes of 16 to 64 KiB; the write waits for the socket, which is
//! the back-pressure on the query behind it.

use std::io;
use std::rc::Rc;

use starling_engine::error::EngineError;
use starling_wire::packet::PacketWriter;
use starling_wire::reply::{self, OkPacket};

use crate::socket::Socket;

/// A full buffer: what is gathered is sent.
const SEND_BYTES: usize = 32 << 10;

/// Error numbers that MariaDB's client library keeps for itself: an answer with one of them is to it a malformed packet, and its users,
/// the mariadb command line among them, never see the message. They are StarRocks' numbers, so there is no way around both.
const MARIADB_CLIENT_CODES: std::ops::RangeInclusive<u16> = 5000..=5029;
/// MySQL's number for a statement whose time is over, and StarRocks'.
const QUERY_TIMEOUT: (u16, u16) = (3024, 5024);
/// MySQL's number for anything else.
const UNKNOWN_ERROR: u16 = 1105;

/// The sending side of a connection.
pub struct Output {
    socket: Rc<Socket>,
    writer: PacketWriter,
    /// Effective capabilities of the connection.
    pub capabilities: u32,
    /// The client is MariaDB's library.
    pub mariadb: bool,
}

impl Output {
    pub fn new(socket: Rc<Socket>) -> Output {
        Output { socket, writer: PacketWriter::new(), capabilities: 0, mariadb: false }
    }

    /// The packets that follow answer a command whose last part had number `last`.
    pub fn answer(&mut self, last: u8) {
        self.writer.set_sequence(last.wrapping_add(1));
    }

    /// Appends a packet.
    pub fn packet(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        self.writer.packet(fill);
    }

    pub fn ok(&mut self, ok: &OkPacket) {
        self.packet(|out| ok.encode(out));
    }

    pub fn error(&mut self, error: &EngineError) {
        let code = self.code(error.code);
        self.packet(|out| reply::encode_err(out, code, &error.state, &error.message));
    }

    /// An error's number as this client can read it.
    fn code(&self, code: u16) -> u16 {
        match code {
            code if !self.mariadb || !MARIADB_CLIENT_CODES.contains(&code) => code,
            code if code == QUERY_TIMEOUT.1 => QUERY_TIMEOUT.0,
            _ => UNKNOWN_ERROR,
        }
    }

    /// Ends the rows of a result.
    pub fn end_of_rows(&mut self, status: u16) {
        let capabilities = self.capabilities;
        self.packet(|out| reply::encode_end_of_rows(out, capabilities, status, 0));
    }

    /// Ends column definitions, for clients that expect it.
    pub fn end_of_columns(&mut self, status: u16) {
        if self.capabilities & starling_wire::constants::capability::DEPRECATE_EOF == 0 {
            self.packet(|out| reply::encode_eof(out, status, 0));
        }
    }

    /// Whether enough is gathered for a send.
    pub fn is_full(&self) -> bool {
        self.writer.pending() >= SEND_BYTES
    }

    /// Sends what is gathered if it is enough.
    pub async fn relieve(&mut self) -> io::Result<()> {
        if self.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Sends what is gathered.
    pub async fn flush(&mut self) -> io::Result<()> {
        if self.writer.pending() > 0 {
            self.socket.write_all(self.writer.bytes()).await?;
            self.writer.clear();
        }
        Ok(())
    }
}
