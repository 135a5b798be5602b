//! A blocking MySQL client: text and prepared statements, multi-statements, and pipelining (send several commands, then
//! read their results in order).

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::auth::{self, CACHING_SHA2_PASSWORD, NATIVE_PASSWORD};
use crate::client::{ClientError, ServerError};
use crate::codec::Reader;
use crate::column::ColumnDef;
use crate::constants::{capability, collation, com, status};
use crate::error::WireError;
use crate::handshake::{Greeting, HandshakeResponse, decode_auth_switch};
use crate::packet::{Packet, PacketDecoder, PacketWriter};
use crate::reply::{self, OkPacket};
use crate::value::Value;
use crate::{execute, row};

const READ_BYTES: usize = 64 << 10;
const PACKET_BYTES_MAX: usize = 1 << 30;

/// How to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub user: String,
    pub password: String,
    pub database: Option<String>,
    /// What the client claims to understand; only what the server offers takes effect.
    pub capabilities: u32,
    /// The plugin the first answer names.
    pub plugin: String,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            user: "root".into(),
            password: String::new(),
            database: None,
            capabilities: capability::SERVER & !(capability::CONNECT_WITH_DB | capability::FOUND_ROWS),
            plugin: NATIVE_PASSWORD.into(),
        }
    }
}

/// One result: rows, or what an OK packet says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryResult {
    /// Empty for a statement without rows.
    pub columns: Vec<ColumnDef>,
    pub rows: Vec<Vec<Value>>,
    pub affected: u64,
    pub last_insert_id: u64,
    pub warnings: u16,
    pub status: u16,
    pub info: String,
}

impl QueryResult {
    /// The rows as text, NULL as `NULL`.
    pub fn text(&self) -> Vec<Vec<String>> {
        self.rows.iter().map(|row| row.iter().map(Value::to_string).collect()).collect()
    }

    /// The only value of a result of one row and one column.
    pub fn scalar(&self) -> Option<&Value> {
        match self.rows.as_slice() {
            [row] if row.len() == 1 => row.first(),
            _ => None,
        }
    }

    /// Whether another result of the same command follows.
    pub fn more(&self) -> bool {
        self.status & status::MORE_RESULTS_EXISTS != 0
    }
}

/// A prepared statement of one connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub id: u32,
    pub parameters: usize,
    pub columns: Vec<ColumnDef>,
}

/// A connection.
pub struct MysqlClient {
    stream: TcpStream,
    decoder: PacketDecoder,
    writer: PacketWriter,
    buffer: Vec<u8>,
    capabilities: u32,
    greeting: Greeting,
}

impl MysqlClient {
    /// Connects as root without a password.
    pub fn connect(address: impl ToSocketAddrs) -> Result<Self, ClientError> {
        Self::connect_with(address, &ConnectOptions::default())
    }

    /// Connects and authenticates.
    pub fn connect_with(address: impl ToSocketAddrs, options: &ConnectOptions) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut decoder = PacketDecoder::new(PACKET_BYTES_MAX);
        let mut buffer = vec![0; READ_BYTES];
        let first = read_packet(&stream, &mut decoder, &mut buffer)?;
        if first.payload.first() == Some(&reply::ERR) {
            return Err(server_error(&first.payload)?);
        }
        let greeting = Greeting::decode(&first.payload)?;
        let wanted = options.capabilities | if options.database.is_some() { capability::CONNECT_WITH_DB } else { 0 };
        let mut client = Self {
            stream,
            decoder,
            writer: PacketWriter::new(),
            buffer,
            capabilities: wanted & greeting.capabilities,
            greeting,
        };
        client.authenticate(options, first.last.wrapping_add(1))?;
        Ok(client)
    }

    fn authenticate(&mut self, options: &ConnectOptions, sequence: u8) -> Result<(), ClientError> {
        let response = HandshakeResponse {
            capabilities: self.capabilities,
            packet_bytes_max: PACKET_BYTES_MAX as u32,
            collation: collation::UTF8MB4_GENERAL_CI,
            user: options.user.clone(),
            token: token(&options.plugin, &options.password, &self.greeting.nonce),
            database: options.database.clone(),
            plugin: Some(options.plugin.clone()),
            attributes: vec![("_client_name".into(), "starling-wire".into())],
        };
        self.writer.set_sequence(sequence);
        self.writer.packet(|out| response.encode(out));
        self.flush()?;
        loop {
            let packet = self.read()?;
            match packet.payload.first() {
                Some(&reply::OK) => return Ok(()),
                Some(&reply::ERR) => return Err(server_error(&packet.payload)?),
                Some(&0xFE) => {
                    let (plugin, nonce) = decode_auth_switch(&packet.payload)?;
                    let answer = token(&plugin, &options.password, &nonce);
                    self.writer.set_sequence(packet.last.wrapping_add(1));
                    self.writer.packet(|out| out.extend_from_slice(&answer));
                    self.flush()?;
                }
                Some(&0x01) if packet.payload.as_ref() == [1, 3] => {}
                _ => return Err(WireError::Malformed("not an answer of the authentication phase").into()),
            }
        }
    }

    /// The connection id, as KILL takes it.
    pub fn connection_id(&self) -> u32 {
        self.greeting.connection_id
    }

    /// What the server said first.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// The socket, to set timeouts or to shut it down.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Limits how long a read may take.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<(), ClientError> {
        Ok(self.stream.set_read_timeout(timeout)?)
    }

    /// Runs one statement and reads all its rows; of several statements, gives the last result.
    pub fn query(&mut self, sql: &str) -> Result<QueryResult, ClientError> {
        self.send_query(sql)?;
        let mut result = self.read_result()?;
        while result.more() {
            result = self.read_result()?;
        }
        Ok(result)
    }

    /// Runs several statements; stops at the first error, which comes last.
    pub fn query_all(&mut self, sql: &str) -> Result<Vec<Result<QueryResult, ServerError>>, ClientError> {
        self.send_query(sql)?;
        let mut results = Vec::new();
        loop {
            match self.read_result() {
                Ok(result) => {
                    let more = result.more();
                    results.push(Ok(result));
                    if !more {
                        return Ok(results);
                    }
                }
                Err(ClientError::Server(error)) => {
                    results.push(Err(error));
                    return Ok(results);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Prepares a statement.
    pub fn prepare(&mut self, sql: &str) -> Result<Statement, ClientError> {
        self.send(com::STMT_PREPARE, sql.as_bytes())?;
        let packet = self.read_checked()?;
        let mut reader = Reader::new(&packet.payload);
        reader.u8()?;
        let id = reader.u32()?;
        let columns = usize::from(reader.u16()?);
        let parameters = usize::from(reader.u16()?);
        self.read_columns(parameters)?;
        let columns = self.read_columns(columns)?;
        Ok(Statement { id, parameters, columns })
    }

    /// Runs a prepared statement and reads all its rows.
    pub fn execute(&mut self, statement: &Statement, values: &[Value]) -> Result<QueryResult, ClientError> {
        self.queue_execute(statement, values);
        self.flush()?;
        self.read_binary_result()
    }

    /// Closes a prepared statement; the server does not answer.
    pub fn close(&mut self, statement: Statement) -> Result<(), ClientError> {
        self.send(com::STMT_CLOSE, &statement.id.to_le_bytes())
    }

    /// Selects a database.
    pub fn init_db(&mut self, database: &str) -> Result<(), ClientError> {
        self.command(com::INIT_DB, database.as_bytes()).map(drop)
    }

    /// Asks whether the server is there.
    pub fn ping(&mut self) -> Result<(), ClientError> {
        self.command(com::PING, &[]).map(drop)
    }

    /// Puts the session back to its beginning.
    pub fn reset_connection(&mut self) -> Result<(), ClientError> {
        self.command(com::RESET_CONNECTION, &[]).map(drop)
    }

    /// Sends any command that is answered by one packet; gives that packet's payload.
    pub fn command(&mut self, code: u8, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.send(code, body)?;
        Ok(self.read_checked()?.payload.to_vec())
    }

    /// Says goodbye and closes the socket.
    pub fn quit(mut self) -> Result<(), ClientError> {
        self.send(com::QUIT, &[])
    }

    // Pipelining: queue or send commands, then read as many results in the same order.

    /// Sends a query without waiting.
    pub fn send_query(&mut self, sql: &str) -> Result<(), ClientError> {
        self.send(com::QUERY, sql.as_bytes())
    }

    /// Puts a query into the output buffer; `flush` sends it.
    pub fn queue_query(&mut self, sql: &str) {
        self.queue(com::QUERY, sql.as_bytes());
    }

    /// Puts an execution into the output buffer; `flush` sends it.
    pub fn queue_execute(&mut self, statement: &Statement, values: &[Value]) {
        self.writer.set_sequence(0);
        self.writer.packet(|out| {
            out.push(com::STMT_EXECUTE);
            execute::encode(out, statement.id, values);
        });
    }

    /// Puts any command into the output buffer.
    pub fn queue(&mut self, code: u8, body: &[u8]) {
        self.writer.set_sequence(0);
        self.writer.packet(|out| {
            out.push(code);
            out.extend_from_slice(body);
        });
    }

    /// Sends a command without waiting.
    pub fn send(&mut self, code: u8, body: &[u8]) -> Result<(), ClientError> {
        self.queue(code, body);
        self.flush()
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.stream.write_all(self.writer.bytes())?;
        self.writer.clear();
        Ok(())
    }

    /// Reads the next text result.
    pub fn read_result(&mut self) -> Result<QueryResult, ClientError> {
        let mut rows = Vec::new();
        let mut result = self.read_rows(|payload, columns| {
            rows.push(row::decode_text(payload, columns.len())?);
            Ok(())
        })?;
        result.rows = rows;
        Ok(result)
    }

    /// Reads the next binary result.
    pub fn read_binary_result(&mut self) -> Result<QueryResult, ClientError> {
        let mut rows = Vec::new();
        let mut result = self.read_rows(|payload, columns| {
            rows.push(row::decode_binary(payload, columns)?);
            Ok(())
        })?;
        result.rows = rows;
        Ok(result)
    }

    /// Reads the next result, handing each row's undecoded payload to `each`; the result's own `rows` stay empty.
    pub fn read_rows(
        &mut self,
        mut each: impl FnMut(&[u8], &[ColumnDef]) -> Result<(), WireError>,
    ) -> Result<QueryResult, ClientError> {
        let packet = self.read_checked()?;
        if packet.payload.first() == Some(&reply::OK) {
            let ok = OkPacket::decode(&packet.payload)?;
            return Ok(QueryResult {
                affected: ok.affected,
                last_insert_id: ok.last_insert_id,
                warnings: ok.warnings,
                status: ok.status,
                info: ok.info,
                ..QueryResult::default()
            });
        }
        let count = Reader::new(&packet.payload).lenenc_int()?;
        let count = u16::try_from(count).map_err(|_| WireError::Malformed("too many columns"))?;
        let columns = self.read_columns(usize::from(count))?;
        loop {
            let packet = self.read_checked()?;
            if reply::is_end_of_rows(&packet.payload, self.capabilities) {
                let (status, warnings) = reply::decode_end_of_rows(&packet.payload, self.capabilities)?;
                return Ok(QueryResult { columns, status, warnings, ..QueryResult::default() });
            }
            each(&packet.payload, &columns)?;
        }
    }

    fn read_columns(&mut self, count: usize) -> Result<Vec<ColumnDef>, ClientError> {
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            columns.push(ColumnDef::decode(&self.read_checked()?.payload)?);
        }
        if count > 0 && self.capabilities & capability::DEPRECATE_EOF == 0 {
            reply::decode_end_of_rows(&self.read()?.payload, 0)?;
        }
        Ok(columns)
    }

    /// The next packet, an ERR packet as an error.
    fn read_checked(&mut self) -> Result<Packet, ClientError> {
        let packet = self.read()?;
        if packet.payload.first() == Some(&reply::ERR) {
            return Err(server_error(&packet.payload)?);
        }
        Ok(packet)
    }

    fn read(&mut self) -> Result<Packet, ClientError> {
        read_packet(&self.stream, &mut self.decoder, &mut self.buffer)
    }
}

fn read_packet(mut stream: &TcpStream, decoder: &mut PacketDecoder, buffer: &mut [u8]) -> Result<Packet, ClientError> {
    loop {
        if let Some(packet) = decoder.next_packet()? {
            return Ok(packet);
        }
        match stream.read(buffer) {
            Ok(0) => return Err(ClientError::Io(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => decoder.feed(&buffer[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn token(plugin: &str, password: &str, nonce: &[u8; auth::NONCE_BYTES]) -> Vec<u8> {
    match plugin {
        CACHING_SHA2_PASSWORD => auth::sha2_token(password.as_bytes(), nonce),
        _ => auth::native_token(password.as_bytes(), nonce),
    }
}

fn server_error(payload: &[u8]) -> Result<ClientError, ClientError> {
    let (code, state, message) = reply::decode_err(payload)?;
    Ok(ClientError::Server(ServerError { code, state, message }))
}
