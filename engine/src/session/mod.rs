//! A session: what one connection may say, in order, and what it is told.
//!
//! | file | part |
//! |---|---|
//! | `outcome` | results, column metadata, parameters |
//! | `variables` | system variables |
//! | `values` | what of a session goes into a statement as literals |
//! | `execute` | a parsed statement to its outcome |
//! | `create_table` | the clauses of CREATE TABLE into a table of the catalog |
//! | `rows` | plan batches and literals into rows of a table: defaults, casts, what is refused |
//! | `insert`, `literals`, `sink`, `partial` | INSERT, its fast exit; its options and where rows go; columns that are left out (R7) |
//! | `change` | UPDATE and DELETE (R7) |
//! | `point` | reads by primary key without planner |
//! | `prepared`, `bound` | `?` parameters; queries that have some |
//! | `plan_cache` | plans of identical texts |
//!
//! Core: the one that accepted the connection; `Rc`, never sent. `execute` runs one statement at a time; `cancel` may be called from another task of
//! the core while it runs.

mod bound;
mod change;
mod create_table;
mod execute;
mod insert;
mod literals;
pub mod outcome;
mod partial;
mod plan_cache;
mod point;
mod prepared;
mod rows;
mod sink;
mod values;
pub mod variables;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sqlparser::ast;

pub use outcome::{ColumnMeta, Done, Outcome, Param, Prepared, RowSet, ServerStatus, SqlType};
pub use variables::Variables;

use crate::admin::information_schema;
use crate::error::{EngineError, Result};
use crate::limits::{PREPARED_BYTES_MAX, PREPARED_STATEMENTS_MAX, USER_VARIABLE_BYTES_MAX, USER_VARIABLES_MAX};
use crate::shard::{Core, ProcessInfo, SessionControl, SessionSlot};
use crate::sql::{self, parser};
use prepared::PreparedStatement;

/// How a session came about.
#[derive(Debug, Clone)]
pub struct ConnectInfo {
    pub user: String,
    /// Address of the client, `host:port`.
    pub peer: String,
    /// The database named in the handshake.
    pub database: Option<String>,
    pub kind: ConnectionKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    Mysql,
    Http,
    /// Statements of the server's own.
    Internal,
}

/// A line of SHOW WARNINGS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// `Note`, `Warning` or `Error`.
    pub level: &'static str,
    pub code: u16,
    pub message: String,
}

/// The statement that runs, or whose rows are being read.
struct Running {
    number: u64,
    text: String,
    since: Instant,
    cancel: Arc<AtomicBool>,
}

/// What statements change.
struct State {
    database: Option<String>,
    variables: Variables,
    user_variables: HashMap<String, ast::Value>,
    prepared: HashMap<u32, Rc<PreparedStatement>>,
    /// `PREPARE name FROM ...`.
    named: HashMap<String, Rc<PreparedStatement>>,
    warnings: Vec<Warning>,
    in_transaction: bool,
    /// ROW_COUNT() of the last statement.
    row_count: i64,
}

/// One connection's state. See the head of the module.
pub struct Session {
    me: Weak<Session>,
    core: Rc<Core>,
    slot: SessionSlot,
    info: ConnectInfo,
    hang_up: Box<dyn Fn()>,
    killed: Cell<bool>,
    next: Cell<u64>,
    running: RefCell<Option<Running>>,
    /// When the last statement ended.
    idle_since: Cell<Instant>,
    state: RefCell<State>,
}

impl Session {
    /// A session for a registered connection; enters its database, where one is named (error 5501 if it is unknown). `hang_up` is called once, by
    /// KILL, after the running statement is cancelled.
    pub async fn open(
        core: &Rc<Core>,
        slot: SessionSlot,
        info: ConnectInfo,
        hang_up: Box<dyn Fn()>,
    ) -> Result<Rc<Session>> {
        let state = State {
            database: None,
            variables: Variables::begin(),
            user_variables: HashMap::new(),
            prepared: HashMap::new(),
            named: HashMap::new(),
            warnings: Vec::new(),
            in_transaction: false,
            row_count: -1,
        };
        let session = Rc::new_cyclic(|me| Session {
            me: me.clone(),
            core: core.clone(),
            slot,
            info,
            hang_up,
            killed: Cell::new(false),
            next: Cell::new(1),
            running: RefCell::new(None),
            idle_since: Cell::new(Instant::now()),
            state: RefCell::new(state),
        });
        let control: Weak<dyn SessionControl> = session.me.clone();
        session.slot.attach(control);
        if let Some(database) = session.info.database.clone().filter(|d| !d.is_empty()) {
            session.init_db(&database).await?;
        }
        Ok(session)
    }

    /// The connection id: what KILL names.
    pub fn id(&self) -> u32 {
        self.slot.id()
    }

    /// COM_INIT_DB and USE. `catalog.db` is understood.
    pub async fn init_db(&self, database: &str) -> Result<()> {
        let database = parser::database_of(database);
        if !information_schema::has_database(&self.core.catalog(), database) {
            return Err(EngineError::unknown_database(database));
        }
        self.state.borrow_mut().database = Some(database.to_string());
        Ok(())
    }

    /// Cuts a text into statements, minding quotes and comments. Empty ones are left out.
    pub fn split(&self, text: &str) -> Result<Vec<String>> {
        Ok(sql::split(text).into_iter().map(str::to_string).collect())
    }

    /// Runs one statement. An error leaves the session usable.
    pub async fn execute(&self, sql: &str) -> Result<Outcome> {
        let run = self.begin(sql)?;
        let result = self.execute_text(sql, &run).await;
        self.finish(run, result)
    }

    /// Parses and plans a statement with `?` parameters.
    pub async fn prepare(&self, sql: &str) -> Result<Prepared> {
        self.check_prepared(sql)?;
        let run = self.begin(sql)?;
        let statement = PreparedStatement::new(sql)?;
        let columns = self.describe_prepared(&statement, &run).await?;
        let id = self.next.get() as u32;
        self.next.set(self.next.get() + 1);
        let params = statement.params();
        self.state.borrow_mut().prepared.insert(id, Rc::new(statement));
        Ok(Prepared { id, params, columns })
    }

    /// Whether one more statement may be kept, by number or by name (P5).
    fn check_prepared(&self, sql: &str) -> Result<()> {
        let state = self.state.borrow();
        let kept = state.prepared.values().chain(state.named.values());
        let (count, bytes) = kept.fold((0, sql.len()), |(count, bytes), one| (count + 1, bytes + one.text().len()));
        let text = "close statements that are not needed, or reset the connection";
        match (count < PREPARED_STATEMENTS_MAX, bytes <= PREPARED_BYTES_MAX) {
            (true, true) => Ok(()),
            (false, _) => Err(EngineError::limit("PREPARED_STATEMENTS_MAX", text)),
            (true, false) => Err(EngineError::limit("PREPARED_BYTES_MAX", text)),
        }
    }

    /// Runs a prepared statement. The number of parameters must be that of `Prepared::params`.
    pub async fn execute_prepared(&self, id: u32, params: Vec<Param>) -> Result<Outcome> {
        let statement = self.state.borrow().prepared.get(&id).cloned();
        let statement = statement.ok_or_else(|| EngineError::new(1243, b"HY000", "Not Found prepared statement"))?;
        let run = self.begin(statement.text())?;
        let result = self.execute_bound(&statement, params, &run).await;
        self.finish(run, result)
    }

    pub fn close_prepared(&self, id: u32) {
        self.state.borrow_mut().prepared.remove(&id);
    }

    /// COM_RESET_CONNECTION: variables, user variables and prepared statements go; the database stays.
    pub fn reset(&self) {
        let mut state = self.state.borrow_mut();
        state.variables = Variables::begin();
        state.user_variables.clear();
        state.prepared.clear();
        state.named.clear();
        state.warnings.clear();
        state.in_transaction = false;
    }

    /// No database is current any more: COM_CHANGE_USER begins without one.
    pub fn leave_database(&self) {
        self.state.borrow_mut().database = None;
    }

    pub fn status(&self) -> ServerStatus {
        let state = self.state.borrow();
        ServerStatus { autocommit: state.variables.is_on("autocommit"), in_transaction: state.in_transaction }
    }

    /// Cancels the running statement: the socket closed, or KILL. What has its commit number runs on (R2).
    pub fn cancel(&self) {
        if let Some(running) = &*self.running.borrow() {
            running.cancel.store(true, Ordering::SeqCst);
        }
    }

    pub fn info(&self) -> &ConnectInfo {
        &self.info
    }

    pub fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// The current database.
    pub fn database(&self) -> Option<String> {
        self.state.borrow().database.clone()
    }

    /// Marks the beginning of a statement.
    fn begin(&self, text: &str) -> Result<Run> {
        if self.killed.get() {
            return Err(EngineError::killed());
        }
        let number = self.next.get();
        self.next.set(number + 1);
        let cancel = Arc::new(AtomicBool::new(false));
        // Few texts are longer; those that are not are copied at once.
        let shown = match text.len() > PROCESS_TEXT_CHARS {
            true => text.chars().take(PROCESS_TEXT_CHARS).collect(),
            false => text.to_string(),
        };
        let running = Running { number, text: shown, since: Instant::now(), cancel: cancel.clone() };
        *self.running.borrow_mut() = Some(running);
        let guard = RunGuard { session: self.me.clone(), number };
        Ok(Run {
            id: u64::from(self.id()) << 32 | (number & 0xffff_ffff),
            cancel,
            started: Instant::now(),
            guard: Some(guard),
        })
    }

    /// The guard goes with the rows, if there are any: the statement runs until they are read.
    fn finish(&self, mut run: Run, result: Result<Outcome>) -> Result<Outcome> {
        match result {
            Ok(Outcome::Rows(mut rows)) => {
                self.state.borrow_mut().row_count = -1;
                if let Some(guard) = run.guard.take() {
                    rows.hold(Box::new(guard));
                }
                Ok(Outcome::Rows(rows))
            }
            Ok(Outcome::Done(done)) => {
                self.state.borrow_mut().row_count = done.affected as i64;
                Ok(Outcome::Done(done))
            }
            Err(error) => {
                let mut state = self.state.borrow_mut();
                state.row_count = -1;
                state.warnings = vec![Warning { level: "Error", code: error.code, message: error.message.clone() }];
                Err(error)
            }
        }
    }
}

/// How much of a statement the process list keeps.
const PROCESS_TEXT_CHARS: usize = 4_096;

/// A statement on its way.
struct Run {
    /// Unique in the process.
    id: u64,
    cancel: Arc<AtomicBool>,
    started: Instant,
    guard: Option<RunGuard>,
}

impl Run {
    /// Error 1317 once the statement is cancelled.
    fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::SeqCst) { Err(EngineError::cancelled()) } else { Ok(()) }
    }
}

/// Takes the statement off the process list when it drops.
struct RunGuard {
    session: Weak<Session>,
    number: u64,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let Some(session) = self.session.upgrade() else { return };
        let mut running = session.running.borrow_mut();
        if running.as_ref().is_some_and(|r| r.number == self.number) {
            *running = None;
            session.idle_since.set(Instant::now());
        }
    }
}

impl SessionControl for Session {
    fn kill(&self, query_only: bool) {
        self.cancel();
        if !query_only && !self.killed.replace(true) {
            (self.hang_up)();
        }
    }

    fn describe(&self) -> ProcessInfo {
        let running = self.running.borrow();
        let (command, since) = match &*running {
            Some(running) => ("Query", running.since),
            None => ("Sleep", self.idle_since.get()),
        };
        ProcessInfo {
            id: self.id(),
            user: self.info.user.clone(),
            host: self.info.peer.clone(),
            db: self.database(),
            command: command.to_string(),
            seconds: since.elapsed().as_secs(),
            state: if running.is_some() { "OK" } else { "" }.to_string(),
            info: running.as_ref().map(|r| r.text.clone()),
        }
    }
}

/// Checks the bounds on user variables before `name` is set to `value` (P5).
fn check_user_variable(all: &HashMap<String, ast::Value>, name: &str, value: &ast::Value) -> Result<()> {
    let bytes = |value: &ast::Value| match value {
        ast::Value::SingleQuotedString(text) | ast::Value::Number(text, _) => text.len(),
        _ => 0,
    };
    if !all.contains_key(name) && all.len() >= USER_VARIABLES_MAX {
        let text = format!("{USER_VARIABLES_MAX} variables in one session");
        return Err(EngineError::limit("USER_VARIABLES_MAX", text));
    }
    let others: usize = all.iter().filter(|(other, _)| *other != name).map(|(_, value)| bytes(value)).sum();
    if others + bytes(value) > USER_VARIABLE_BYTES_MAX {
        let text = format!("{USER_VARIABLE_BYTES_MAX} bytes of values in one session; set some to NULL");
        return Err(EngineError::limit("USER_VARIABLE_BYTES_MAX", text));
    }
    Ok(())
}
