//! The engine's error: what a client is told, with the number it looks for.
//!
//! One type for everything above storage. `code` and `state` are MySQL's or StarRocks' (StarRocks' own range, 5000 and up, wins
//! where both exist, as its connectors accept either). The message says what is wrong and, where it is not obvious, what to do.

use std::fmt;

use starling_storage::error::StorageError;

/// The result of everything in the engine.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError {
    /// Error number, MySQL's or StarRocks'.
    pub code: u16,
    /// SQLSTATE, five ASCII characters.
    pub state: [u8; 5],
    pub message: String,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for EngineError {}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),*) = $code:literal, $state:literal, $text:literal;)*) => {
        impl EngineError {
            $($(#[$doc])* pub fn $name($($arg: impl fmt::Display),*) -> EngineError {
                EngineError::new($code, $state, format!($text))
            })*
        }
    };
}

constructors! {
    database_exists(name) = 1007, b"HY000", "Can't create database '{name}'; database exists";
    access_denied(user, host, using_password) = 1045, b"28000", "Access denied for user '{user}'@'{host}' (using password: {using_password})";
    no_database() = 1046, b"3D000", "No database selected";
    unknown_command(name) = 1047, b"08S01", "Unknown command: {name}";
    table_exists(name) = 1050, b"42S01", "Table '{name}' already exists";
    ambiguous_column(name) = 1052, b"23000", "Column '{name}' in field list is ambiguous";
    unknown_column(name, table) = 1054, b"42S22", "Unknown column '{name}' in '{table}'";
    duplicate_column(name) = 1060, b"42S21", "Duplicate column name '{name}'";
    /// A parser's complaint.
    syntax(detail) = 1064, b"42000", "Getting syntax error. Detail message: {detail}";
    /// A statement that parses but means nothing valid.
    analyze(detail) = 1064, b"HY000", "Getting analyzing error. Detail message: {detail}";
    /// What is not built, by name.
    unsupported(what) = 1064, b"HY000", "Getting analyzing error. Detail message: not supported: {what}";
    no_matching_function(signature) = 1064, b"HY000", "Getting analyzing error. Detail message: No matching function with signature: {signature}.";
    unknown_thread(id) = 1094, b"HY000", "Unknown thread id: {id}";
    bad_database_name(name) = 1102, b"42000", "Incorrect database name '{name}'";
    bad_table_name(name) = 1103, b"42000", "Incorrect table name '{name}'";
    /// A fault of ours.
    internal(detail) = 1105, b"HY000", "Internal error: {detail}";
    bad_column_name(name) = 1166, b"42000", "Incorrect column name '{name}'";
    unknown_variable(name) = 1193, b"HY000", "Unknown system variable '{name}'";
    /// R7: the turns of the tablets were not to be had in time.
    lock_wait_timeout() = 1205, b"HY000", "Lock wait timeout exceeded; try restarting transaction";
    bad_variable_value(name, value) = 1231, b"42000", "Variable '{name}' can't be set to the value of '{value}'";
    /// KILL QUERY, a closed connection, a stop of the server.
    cancelled() = 1317, b"70100", "Query execution was interrupted";
    killed() = 1317, b"70100", "Connection was killed";
    no_default(column) = 1364, b"HY000", "Field '{column}' doesn't have a default value";
    query_timeout(seconds) = 5024, b"HY000", "Query reach its query_timeout of {seconds} seconds, please increase the 'query_timeout' session variable and retry";
    /// A load whose outcome is failure: bad data beyond the ratio, wrong column count, and so on.
    load_failed(detail) = 5609, b"22000", "{detail}";
    load_timeout(seconds) = 5609, b"22000", "load timed out after {seconds} seconds; raise its timeout or send smaller loads";
    bad_label(label, detail) = 5082, b"42000", "Incorrect label '{label}': {detail}";
    unknown_database(name) = 5501, b"3F000", "Unknown database '{name}'";
    unknown_table(name) = 5502, b"42602", "Unknown table '{name}'";
    table_gone(name) = 5502, b"42602", "Table '{name}' was dropped or truncated while this statement ran; run it again";
    bad_property(key, detail) = 5063, b"42000", "Invalid property '{key}': {detail}";
    /// A named limit (P5) was reached; the message names it.
    limit(name, detail) = 5609, b"53000", "Limit {name} reached: {detail}";
    memory_limit(who, used, limit) = 5609, b"53200", "Memory of {who} exceed limit. Used: {used}, Limit: {limit}. Retry when loads and queries before it are done, or raise --memory";
    /// R11: a snapshot older than the limit.
    snapshot_too_old(seq) = 5609, b"72000", "Snapshot too old: the statement has read at commit {seq} for so long that what it reads is no longer kept; run it again, on fewer rows or when less is being loaded";
    /// A request was dropped without an answer.
    unanswered() = 1053, b"08S01", "No answer: the server is stopping, or the task that had the request failed (see the server's log)";
    shutting_down() = 1053, b"08S01", "Server shutdown in progress";
    /// A file of the data directory does not hold what it should.
    damaged(detail) = 5609, b"XX001", "Data is damaged: {detail}";
    /// The environment refuses: disk full, a device error, a directory in use.
    environment(detail) = 5609, b"58030", "{detail}";
}

/// What became of the load that used a label first (R9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelStatus {
    Running,
    Finished,
}

impl LabelStatus {
    /// StarRocks' word of `ExistingJobStatus`.
    pub fn word(self) -> &'static str {
        match self {
            LabelStatus::Running => "RUNNING",
            LabelStatus::Finished => "FINISHED",
        }
    }
}

/// A message is cut here: what a client sent may be as long as a packet.
const MESSAGE_BYTES_MAX: usize = 2048;

/// Error number of a label that was used before; `label_status` reads the rest.
pub const LABEL_EXISTS: u16 = 5609;
const LABEL_EXISTS_STATE: [u8; 5] = *b"23505";

impl EngineError {
    /// The message becomes one line without control characters, and not longer than `MESSAGE_BYTES_MAX`: it may quote what the client sent.
    pub fn new(code: u16, state: &[u8; 5], message: impl Into<String>) -> EngineError {
        let mut message = message.into();
        if message.contains(char::is_control) {
            message = message.replace(char::is_control, " ");
        }
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            message.push_str("...");
        }
        EngineError { code, state: *state, message }
    }

    /// R9: a label succeeds once.
    pub fn label_exists(label: &str, txn: u64, status: LabelStatus) -> EngineError {
        let word = status.word();
        let message = format!("Label [{label}] has already been used, relate to txn [{txn}], status [{word}]");
        EngineError { code: LABEL_EXISTS, state: LABEL_EXISTS_STATE, message }
    }

    /// Set where the error is `label_exists`.
    pub fn label_status(&self) -> Option<LabelStatus> {
        if self.state != LABEL_EXISTS_STATE {
            return None;
        }
        Some(if self.message.ends_with("[RUNNING]") { LabelStatus::Running } else { LabelStatus::Finished })
    }

    /// SQLSTATE as text.
    pub fn state_text(&self) -> &str {
        std::str::from_utf8(&self.state).unwrap_or("HY000")
    }
}

impl From<StorageError> for EngineError {
    fn from(error: StorageError) -> EngineError {
        match error {
            StorageError::SnapshotTooOld { at, .. } => EngineError::snapshot_too_old(at),
            error => EngineError::environment(error),
        }
    }
}
