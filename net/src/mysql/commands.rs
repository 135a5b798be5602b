//! Each command of a client, turned into calls of the session and an answer.
//!
//! Errors of a statement are answers; `Ended` is for what ends the connection: the socket is gone, the client said goodbye, a panic.

use std::io;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Instant;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::FutureExt;
use starling_engine::error::EngineError;
use starling_engine::limits::TIME_SLICE;
use starling_engine::runtime::task::panic_text;
use starling_engine::session::{ColumnMeta, Outcome, RowSet, ServerStatus, Session};
use starling_wire::column::ColumnRef;
use starling_wire::command::Command;
use starling_wire::constants::{capability, status};
use starling_wire::reply::OkPacket;
use starling_wire::{execute, put_lenenc_int, reply};

use crate::mysql::columns::definition;
use crate::mysql::output::Output;
use crate::mysql::rows::{BinaryRows, TextRows};
use crate::mysql::statements::{Statements, malformed};
use crate::socket::Socket;
use crate::stats::count;

/// Rows between two looks at the clock.
const ROWS_PER_LOOK: usize = 64;

/// Why a connection ends.
#[derive(Debug)]
pub enum Ended {
    /// COM_QUIT.
    Quit,
    /// The socket is gone.
    Socket(io::Error),
    /// A panic was caught; its text is logged and the client told.
    Panic,
    /// The client's bytes cannot be followed; it was told why.
    Unfollowable,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Socket(error)
    }
}

/// How rows travel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Text,
    Binary,
}

/// An authenticated connection's commands.
pub struct Commands<'o> {
    pub session: Rc<Session>,
    pub output: &'o mut Output,
    socket: Rc<Socket>,
    statements: Statements,
    multi_statements: bool,
}

impl<'o> Commands<'o> {
    pub fn new(session: Rc<Session>, output: &'o mut Output, socket: Rc<Socket>) -> Commands<'o> {
        let multi_statements = output.capabilities & capability::MULTI_STATEMENTS != 0;
        Commands { session, output, socket, statements: Statements::default(), multi_statements }
    }

    /// Runs one command and gathers its answer. COM_CHANGE_USER is the connection's own.
    pub async fn run(&mut self, command: Command) -> Result<(), Ended> {
        let run = AssertUnwindSafe(self.dispatch(command)).catch_unwind().await;
        run.unwrap_or_else(|panic| {
            let text = panic_text(&*panic);
            count(&self.socket.stats().panics, 1);
            tracing::error!(session = self.session.id(), panic = text, "session panicked");
            self.output.error(&EngineError::internal("the session ended by a fault of the server; connect again"));
            Err(Ended::Panic)
        })
    }

    async fn dispatch(&mut self, command: Command) -> Result<(), Ended> {
        match command {
            Command::Quit => return Err(Ended::Quit),
            Command::Query(text) => self.query(&text).await?,
            Command::Execute(body) => self.execute(&body).await?,
            Command::Prepare(text) => self.prepare(&text).await,
            Command::CloseStatement(id) => {
                if self.statements.remove(id) {
                    self.session.close_prepared(id);
                }
            }
            Command::ResetStatement(id) => {
                let done = self.statements.reset(id);
                self.answer(done);
            }
            Command::SendLongData { statement, parameter, data } => {
                self.statements.append_long_data(statement, parameter, &data);
            }
            Command::InitDb(database) => {
                let done = self.session.init_db(&database).await;
                self.answer(done);
            }
            Command::Ping => self.ok(),
            Command::ResetConnection => {
                self.reset();
                self.ok();
            }
            Command::FieldList { table, .. } => self.field_list(&table).await,
            Command::Statistics => self.statistics(),
            Command::ProcessInfo => self.statement("SHOW PROCESSLIST", 0).await.map(drop)?,
            Command::ProcessKill(id) => self.statement(&format!("KILL {id}"), 0).await.map(drop)?,
            Command::SetOption(option) => self.set_option(option),
            Command::Debug => self.eof(),
            // Cursors are never opened: an execution sends all its rows.
            Command::Fetch { statement, .. } => {
                let message = format!("The statement ({statement}) has no open cursor");
                self.output.error(&EngineError::new(1421, b"HY000", message));
            }
            Command::ChangeUser(_) => self.output.error(&EngineError::unknown_command("COM_CHANGE_USER")),
            Command::Unknown(code) => self.output.error(&EngineError::unknown_command(format!("0x{code:02x}"))),
        }
        Ok(())
    }

    /// Back to the state after the login.
    pub fn reset(&mut self) {
        self.statements.clear();
        self.session.reset();
    }

    fn answer(&mut self, done: Result<(), EngineError>) {
        match done {
            Ok(()) => self.ok(),
            Err(error) => self.output.error(&error),
        }
    }

    /// An OK that says nothing but the session's status.
    pub fn ok(&mut self) {
        let ok = OkPacket { status: flags(self.session.status()), ..OkPacket::default() };
        self.output.ok(&ok);
    }

    fn eof(&mut self) {
        let status = flags(self.session.status());
        self.output.end_of_rows(status);
    }

    async fn query(&mut self, text: &Bytes) -> Result<(), Ended> {
        let statements = match utf8(text).and_then(|text| self.session.split(text)) {
            Ok(statements) => statements,
            Err(error) => {
                self.failed(&error);
                return Ok(());
            }
        };
        if statements.len() > 1 && !self.multi_statements {
            let hint = "several statements in one command; set the client's multi-statements option";
            self.failed(&EngineError::syntax(hint));
            return Ok(());
        }
        let Some(last) = statements.len().checked_sub(1) else {
            // Only comments and blanks: clients expect no error.
            self.ok();
            return Ok(());
        };
        for (index, statement) in statements.iter().enumerate() {
            let more = if index < last { status::MORE_RESULTS_EXISTS } else { 0 };
            if !self.statement(statement, more).await? {
                break;
            }
        }
        Ok(())
    }

    /// Runs one statement of the text protocol; false when it failed, which ends a text of several.
    async fn statement(&mut self, sql: &str, more: u16) -> Result<bool, Ended> {
        count(&self.socket.stats().statements, 1);
        let begun = Instant::now();
        let outcome = self.session.execute(sql).await;
        self.outcome(outcome, Protocol::Text, more, begun).await
    }

    async fn execute(&mut self, body: &Bytes) -> Result<(), Ended> {
        count(&self.socket.stats().statements, 1);
        let begun = Instant::now();
        let id = execute::statement_id(body).map_err(|error| malformed(&error));
        let bound = id.and_then(|id| Ok((id, self.statements.parameters(id, body)?)));
        let outcome = match bound {
            Ok((id, parameters)) => self.session.execute_prepared(id, parameters).await,
            Err(error) => Err(error),
        };
        self.outcome(outcome, Protocol::Binary, 0, begun).await.map(drop)
    }

    async fn outcome(
        &mut self,
        outcome: Result<Outcome, EngineError>,
        protocol: Protocol,
        more: u16,
        begun: Instant,
    ) -> Result<bool, Ended> {
        match outcome {
            Ok(Outcome::Done(done)) => {
                let ok = OkPacket {
                    affected: done.affected,
                    last_insert_id: done.last_insert_id,
                    status: flags(self.session.status()) | more,
                    warnings: done.warnings,
                    info: done.info,
                };
                self.output.ok(&ok);
                Ok(true)
            }
            Ok(Outcome::Rows(rows)) => {
                let sent = self.rows(rows, protocol, more).await?;
                if sent {
                    self.session.core().metrics().query_finished(begun.elapsed());
                }
                Ok(sent)
            }
            Err(error) => {
                self.failed(&error);
                Ok(false)
            }
        }
    }

    fn failed(&mut self, error: &EngineError) {
        self.session.core().metrics().query_failed();
        self.output.error(error);
    }

    /// Streams a result. An error in the middle takes the place of a row, as the protocol wants it.
    async fn rows(&mut self, mut rows: RowSet, protocol: Protocol, more: u16) -> Result<bool, Ended> {
        let status = flags(self.session.status());
        self.output.packet(|out| put_lenenc_int(out, rows.columns.len() as u64));
        for column in rows.columns.iter() {
            self.output.packet(|out| definition(column).encode(out));
        }
        self.output.end_of_columns(status);
        loop {
            let batch = match rows.next().await {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => {
                    self.failed(&error);
                    return Ok(false);
                }
            };
            let sent = match protocol {
                Protocol::Text => self.text_rows(&batch).await,
                Protocol::Binary => self.binary_rows(&batch, &rows.columns).await,
            };
            match sent {
                Ok(()) => count(&self.socket.stats().rows_sent, batch.num_rows() as u64),
                Err(Unsent::Ended(ended)) => return Err(ended),
                Err(Unsent::Row(error)) => {
                    self.failed(&error);
                    return Ok(false);
                }
            }
        }
        self.output.end_of_rows(flags(self.session.status()) | more);
        Ok(true)
    }

    async fn text_rows(&mut self, batch: &RecordBatch) -> Result<(), Unsent> {
        let rows = TextRows::new(batch)?;
        let mut slice = Slice::begin();
        for index in 0..batch.num_rows() {
            self.output.packet(|out| rows.write(index, out));
            self.pace(&mut slice, index).await?;
        }
        Ok(())
    }

    async fn binary_rows(&mut self, batch: &RecordBatch, columns: &[ColumnMeta]) -> Result<(), Unsent> {
        let rows = BinaryRows::new(batch, columns)?;
        let texts = rows.texts()?;
        let mut slice = Slice::begin();
        for index in 0..batch.num_rows() {
            self.output.packet(|out| rows.write(index, &texts, out));
            self.pace(&mut slice, index).await?;
        }
        Ok(())
    }

    /// Sends what is gathered once it is enough, and lets others run when the slice is over.
    async fn pace(&mut self, slice: &mut Slice, row: usize) -> Result<(), Ended> {
        self.output.relieve().await?;
        if row % ROWS_PER_LOOK == ROWS_PER_LOOK - 1 {
            slice.pause().await;
        }
        Ok(())
    }

    async fn prepare(&mut self, text: &Bytes) {
        let prepared = match self.statements.check_room().and_then(|()| utf8(text)) {
            Ok(text) => self.session.prepare(text).await,
            Err(error) => Err(error),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.failed(&error);
                return;
            }
        };
        let (Ok(parameters), Ok(columns)) = (u16::try_from(prepared.params), u16::try_from(prepared.columns.len()))
        else {
            self.session.close_prepared(prepared.id);
            self.failed(&EngineError::new(1390, b"HY000", "Prepared statement contains too many placeholders"));
            return;
        };
        self.statements.add(prepared.id, prepared.params);
        self.output.packet(|out| {
            out.push(reply::OK);
            out.extend_from_slice(&prepared.id.to_le_bytes());
            out.extend_from_slice(&columns.to_le_bytes());
            out.extend_from_slice(&parameters.to_le_bytes());
            out.extend_from_slice(&[0, 0, 0]);
        });
        let parameter = ColumnRef::parameter();
        for _ in 0..parameters {
            self.output.packet(|out| parameter.encode(out));
        }
        let status = flags(self.session.status());
        if parameters > 0 {
            self.output.end_of_columns(status);
        }
        for column in &prepared.columns {
            self.output.packet(|out| definition(column).encode(out));
        }
        if columns > 0 {
            self.output.end_of_columns(status);
        }
    }

    /// COM_FIELD_LIST: the columns of a table. Its wildcard is not looked at: clients send an empty one.
    async fn field_list(&mut self, table: &str) {
        let quoted = table.replace('`', "``");
        match self.session.prepare(&format!("SELECT * FROM `{quoted}`")).await {
            Ok(prepared) => {
                self.session.close_prepared(prepared.id);
                for column in &prepared.columns {
                    self.output.packet(|out| definition(column).encode_with_default(out));
                }
                let status = flags(self.session.status());
                self.output.packet(|out| reply::encode_eof(out, status, 0));
            }
            Err(error) => self.output.error(&error),
        }
    }

    fn statistics(&mut self) {
        let stats = self.socket.all_stats();
        let uptime = stats.uptime().as_secs();
        let threads = stats.sum(|core| &core.mysql_open);
        let questions = stats.sum(|core| &core.commands);
        let rate = questions as f64 / stats.uptime().as_secs_f64().max(1.0);
        let text = format!(
            "Uptime: {uptime}  Threads: {threads}  Questions: {questions}  Slow queries: 0  Opens: 0  Flush tables: 0  \
             Open tables: 0  Queries per second avg: {rate:.3}"
        );
        self.output.packet(|out| out.extend_from_slice(text.as_bytes()));
    }

    fn set_option(&mut self, option: u16) {
        match option {
            0 => self.multi_statements = true,
            1 => self.multi_statements = false,
            _ => {
                self.output.error(&EngineError::unknown_command(format!("COM_SET_OPTION {option}")));
                return;
            }
        }
        self.eof();
    }
}

/// Why rows were not sent.
enum Unsent {
    /// A batch that cannot be encoded: the statement fails.
    Row(EngineError),
    /// The connection is over.
    Ended(Ended),
}

impl From<EngineError> for Unsent {
    fn from(error: EngineError) -> Unsent {
        Unsent::Row(error)
    }
}

impl From<Ended> for Unsent {
    fn from(ended: Ended) -> Unsent {
        Unsent::Ended(ended)
    }
}

/// A time slice of the reactor (P7): a socket that takes everything at once would otherwise never let go.
struct Slice {
    begun: Instant,
}

impl Slice {
    fn begin() -> Slice {
        Slice { begun: Instant::now() }
    }

    async fn pause(&mut self) {
        if self.begun.elapsed() >= TIME_SLICE {
            glommio::executor().yield_task_queue_now().await;
            self.begun = Instant::now();
        }
    }
}

fn flags(session: ServerStatus) -> u16 {
    let autocommit = if session.autocommit { status::AUTOCOMMIT } else { 0 };
    let transaction = if session.in_transaction { status::IN_TRANS } else { 0 };
    autocommit | transaction
}

/// Statements are UTF-8, whatever character set the client names.
fn utf8(text: &Bytes) -> Result<&str, EngineError> {
    std::str::from_utf8(text).map_err(|error| {
        let at = error.valid_up_to();
        let bytes: String = text[at..].iter().take(6).map(|byte| format!("\\x{byte:02X}")).collect();
        EngineError::new(1300, b"HY000", format!("Invalid utf8mb4 character string: '{bytes}' at byte {at}"))
    })
}
