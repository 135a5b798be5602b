//! Statements, changed byte by byte and word by word: each ends with rows, with OK, or with an error that has a number, a state and a sentence; nothing
//! panics on any thread of the node, and nothing runs on past its timeout.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use starling_engine::error::EngineError;
use starling_engine::session::{Outcome, Param, Session};
use starling_engine::sql;

use crate::corpus;
use crate::fuzz::{Form, Fuzz};
use crate::support::{Client, Server};

/// Rows read of a result: the rest is discarded, as a client that has seen enough does.
const ROWS_MAX: usize = 10_000;
/// Statements between two times the tables are made anew.
const CASES_PER_SCHEMA: usize = 400;
/// The stack of the thread that parses: an executor has no more.
const STACK_BYTES: usize = 2 << 20;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder, sorted, one level of folders deep.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The statements of a file of the runner's form: behind `query`, `statement` or `error`, up to `----` or an empty line.
fn slt_statements(text: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if ["query", "statement", "error"].contains(&line.split(' ').next().unwrap_or_default()) {
            let sql: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty() && *line != "----").collect();
            statements.push(sql.join("\n"));
        }
    }
    statements
}

/// The SQL of a page of Markdown.
fn markdown_statements(text: &str) -> Vec<String> {
    let blocks = text.split("```sql\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.flat_map(|(block, _)| sql::split(block).into_iter().map(str::to_string).collect::<Vec<_>>()).collect()
}

fn fuzz(name: &'static str) -> Fuzz {
    let mut fuzz = Fuzz::new(name, Form::Text, &corpus("sql/found"));
    let tests = workspace().join("tests");
    let mut seeds = markdown_statements(&read(&workspace().join("README.md")));
    for path in files(&tests.join("slt"), "slt") {
        seeds.extend(slt_statements(&read(&path)));
    }
    for path in files(&tests.join("tpch"), "sql").into_iter().chain(files(&corpus("sql"), "sql")) {
        seeds.extend(sql::split(&read(&path)).into_iter().map(str::to_string));
    }
    assert!(seeds.len() > 200, "{}", seeds.len());
    seeds.into_iter().for_each(|seed| fuzz.seed(seed));
    fuzz
}

fn check_error(error: &EngineError, sql: &str) {
    let sound = (1000..=7000).contains(&error.code)
        && error.state.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && !error.message.trim().is_empty()
        && !error.message.chars().any(|c| c == '\n' || c == '\r' || c == '\0')
        && error.message.len() < 4096;
    assert!(sound, "{error:?} for {sql}");
    // A fault of ours is a fault, whoever says so.
    let fault = error.message.contains("bug in DataFusion") || error.message.contains("panicked");
    assert!(!fault, "{error:?} for {sql}");
}

#[test]
fn texts_are_split_and_parsed() {
    let worker = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(|| {
        fuzz("parser").run(6_000, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            for statement in sql::split(&text) {
                assert!(text.contains(statement) && !statement.is_empty());
                if let Err(error) = sql::parse(statement) {
                    check_error(&error, statement);
                }
            }
            if let Err(error) = sql::parse_expression(&text) {
                check_error(&error, &text);
            }
        });
    });
    worker.unwrap().join().unwrap();
}

/// What panicked on any thread since the last look.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn watch_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // The tests' own threads judge for themselves.
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        if !name.starts_with("sql::") {
            PANICS.lock().unwrap().push(format!("{name}: {info}"));
        }
        before(info);
    }));
}

/// Reads a result to its end.
async fn drain(outcome: Outcome) -> Result<(), EngineError> {
    let Outcome::Rows(mut rows) = outcome else { return Ok(()) };
    let mut count = 0;
    while let Some(batch) = rows.next().await? {
        assert_eq!(batch.num_columns(), rows.columns.len());
        count += batch.num_rows();
        if count > ROWS_MAX {
            break;
        }
    }
    Ok(())
}

async fn run(session: &Session, statement: &str) -> Result<(), EngineError> {
    drain(session.execute(statement).await?).await
}

/// As a driver that prepares everything.
async fn run_prepared(session: &Session, statement: &str) -> Result<(), EngineError> {
    let prepared = session.prepare(statement).await?;
    let values = [Param::Int(1), Param::Text("a".into()), Param::Null, Param::Double(0.5)];
    let values = values.into_iter().cycle().take(prepared.params).collect();
    drain(session.execute_prepared(prepared.id, values).await?).await
}

/// Runs a text in a session of its own; how many statements it has, and the errors with their statements.
async fn run_text(client: Client, database: &'static str, text: String) -> (u64, Vec<(EngineError, String)>) {
    let (mut count, mut errors) = (0, Vec::new());
    run(&client.session, "SET query_timeout = 3").await.unwrap();
    // An earlier statement may have dropped it.
    drop(run(&client.session, &format!("USE {database}")).await);
    for statement in client.session.split(&text).unwrap_or_default() {
        // A text that waits, or that ends other sessions, does what it says.
        let lower = statement.to_lowercase();
        if lower.contains("sleep") || lower.contains("kill") {
            continue;
        }
        count += 1;
        if let Err(error) = run(&client.session, &statement).await {
            errors.push((error, statement.clone()));
        }
        if statement.contains('?')
            && let Err(error) = run_prepared(&client.session, &statement).await
        {
            errors.push((error, statement));
        }
    }
    (count, errors)
}

/// Database `f` is that of the seed statements, `h` that of TPC-H.
fn schema() -> Vec<String> {
    let mut statements = Vec::new();
    let tables = [("h", workspace().join("tests/tpch/tables.sql")), ("f", corpus("sql/schema.sql"))];
    for (database, file) in tables {
        statements
            .extend(["DROP DATABASE IF EXISTS", "CREATE DATABASE", "USE"].map(|verb| format!("{verb} {database}")));
        statements.extend(sql::split(&read(&file)).into_iter().map(str::to_string));
    }
    let rows = [
        "INSERT INTO orders VALUES ('a', 'NEW', 1.5, '2026-01-02 03:04:05'), ('b', NULL, NULL, NULL)",
        "INSERT INTO t VALUES (1, 2, 'x', 0.5, '2026-01-02'), (2, NULL, 'y', NULL, NULL), (NULL, 3, '', 1e300, '0001-01-01')",
        "INSERT INTO s VALUES (1, 1), (2, NULL), (3, 3)",
        "INSERT INTO every (k, la, de, vc) VALUES (1, 170141183460469231731687303715884105727, 1.5, 'a'), (2, -1, NULL, '')",
    ];
    statements.extend(rows.map(str::to_string));
    statements
}

/// Makes the tables anew, and drops what statements have made besides them.
fn reset(server: &Server) {
    let errors = server.with(0, |client| async move {
        let mut errors = Vec::new();
        let catalog = client.session.core().catalog();
        let names: Vec<String> = catalog.databases().map(|database| database.name.clone()).collect();
        let extra = names.into_iter().filter(|name| !name.starts_with('_') && name != "f" && name != "h");
        let extra = extra.map(|name| format!("DROP DATABASE `{}`", name.replace('`', "``")));
        for statement in extra.chain(schema()) {
            if let Err(error) = run(&client.session, &statement).await {
                errors.push(format!("{statement}: {error}"));
            }
        }
        errors
    });
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn statements_end_with_rows_or_an_error() {
    watch_panics();
    let server = Server::start(2);
    reset(&server);
    let (mut cases, mut statements, mut refused) = (0, 0, 0);
    fuzz("statements").run(500, |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        cases += 1;
        let gone = server.with(0, |client| async move {
            let catalog = client.session.core().catalog();
            catalog.table("f", "every").is_err() || catalog.table("h", "lineitem").is_err()
        });
        if gone || cases % CASES_PER_SCHEMA == 0 {
            reset(&server);
        }
        let database = if cases % 3 == 0 { "h" } else { "f" };
        let (count, errors) = server.with(0, move |client| run_text(client, database, text));
        (statements, refused) = (statements + count, refused + errors.len() as u64);
        errors.iter().for_each(|(error, statement)| check_error(error, statement));
        let panics = std::mem::take(&mut *PANICS.lock().unwrap());
        assert!(panics.is_empty(), "{panics:?}");
    });
    println!("{statements} statements, {refused} refused");
    // What is refused by the parser alone says nothing about what comes behind it.
    assert!(
        refused < statements * 19 / 20,
        "{refused} of {statements} statements are refused: the changes are too wild"
    );
}
