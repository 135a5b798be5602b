//! Runs `tests/slt/semantics/*.slt`: each query through our parser, binder and type rules and DataFusion's executor, and
//! compares text. The form of the files is in their README.md.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use sqlparser::ast::Value;
use starling_engine::admin::information_schema::SystemState;
use starling_engine::catalog::Catalog;
use starling_engine::error::EngineError;
use starling_engine::functions::registry;
use starling_engine::plan::PlanContext;
use starling_engine::session::SqlType;
use starling_engine::sql::bind::{BindContext, BoundQuery, bind_query};
use starling_engine::sql::names::SessionValues;
use starling_engine::sql::parser;
use starling_engine::types::{self, text::TextWriter};

/// A session whose only variable is its time zone.
#[derive(Clone, Copy)]
struct ZoneOnly(&'static str);

impl SessionValues for ZoneOnly {
    fn system(&self, name: &str, _global: bool) -> Option<Value> {
        (name == "time_zone").then(|| Value::SingleQuotedString(self.0.into()))
    }

    fn user_variable(&self, _name: &str) -> Value {
        Value::Null
    }

    fn function(&self, _name: &str) -> Option<Value> {
        None
    }
}

/// One case of a file.
struct Case {
    line: usize,
    /// The types named after `query`, empty when none are.
    types: String,
    /// The text after `error`.
    error: Option<String>,
    sql: String,
    rows: Vec<String>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut lines = text.lines().enumerate().peekable();
    let mut cases = Vec::new();
    while let Some((at, line)) = lines.next() {
        let (types, error) = match line.split_once(' ').map_or((line, ""), |(word, rest)| (word, rest)) {
            ("query", types) => (types.trim().to_string(), None),
            ("error", text) => (String::new(), Some(text.trim().to_string())),
            _ => continue,
        };
        let mut sql = Vec::new();
        while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty() && *line != "----") {
            sql.push(line);
        }
        let mut rows = Vec::new();
        if lines.next_if(|(_, line)| *line == "----").is_some() {
            while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
                rows.push(line.to_string());
            }
        }
        cases.push(Case { line: at + 1, types, error, sql: sql.join("\n"), rows });
    }
    cases
}

struct Runner {
    values: ZoneOnly,
    state: SessionState,
    runtime: tokio::runtime::Runtime,
}

impl Runner {
    fn new(zone: &'static str) -> Runner {
        Runner {
            values: ZoneOnly(zone),
            state: SessionStateBuilder::new().with_default_features().build(),
            runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
        }
    }

    fn bind(&self, sql: &str) -> std::result::Result<BoundQuery, EngineError> {
        let texts = parser::parse(sql)?.texts;
        let context = BindContext {
            catalog: Arc::new(Catalog::default()),
            database: None,
            cores: 1,
            values: Box::new(self.values),
            row_counts: HashMap::new(),
            system: SystemState::default(),
            plan: PlanContext::new(1),
            row_limit: None,
        };
        bind_query(parser::parse_query(sql)?, texts.as_deref(), &context)
    }

    fn run(&self, sql: &str) -> std::result::Result<(String, Vec<String>), String> {
        let bound = self.bind(sql).map_err(|error| format!("{} {}", error.code, error.message))?;
        let fields = bound.plan.schema().fields();
        for (column, field) in bound.columns.iter().zip(fields) {
            assert_eq!(column.ty, SqlType::of_arrow(field.data_type()), "what clients are told of {}", column.name);
        }
        let names = fields.iter().map(|field| types::type_name(field.data_type()));
        let names = names.collect::<Vec<_>>().join(", ");
        let batches = self.runtime.block_on(async {
            let physical = self.state.query_planner().create_physical_plan(&bound.plan, &self.state).await?;
            datafusion::physical_plan::collect(physical, self.state.task_ctx()).await
        });
        let rows = batches.and_then(|batches| rows(&batches));
        rows.map(|rows| (names, rows)).map_err(|error| error.strip_backtrace())
    }
}

fn rows(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        let writers =
            batch.columns().iter().map(|column| TextWriter::new(column.as_ref())).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            let fields: Vec<String> = writers.iter().map(|writer| field(writer, row)).collect();
            rows.push(fields.join("\t"));
        }
    }
    Ok(rows)
}

fn field(writer: &TextWriter<'_>, row: usize) -> String {
    if writer.is_null(row) {
        return "NULL".into();
    }
    let mut text = Vec::new();
    writer.write(row, &mut text);
    if text.is_empty() { "(empty)".into() } else { String::from_utf8_lossy(&text).into_owned() }
}

fn files() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/slt/semantics");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("tests/slt/semantics")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).expect("a readable file"))).collect()
}

fn check(runner: &Runner, case: &Case) -> std::result::Result<(), String> {
    match (runner.run(&case.sql), &case.error) {
        (Ok(_), Some(error)) => Err(format!("succeeds, but should fail with: {error}")),
        (Err(error), Some(wanted)) if error.contains(wanted.as_str()) => Ok(()),
        (Err(error), _) => Err(format!("fails: {error}")),
        (Ok((types, _)), None) if !case.types.is_empty() && types != case.types => {
            Err(format!("types {types}\n   should be {}", case.types))
        }
        (Ok((_, rows)), None) if rows != case.rows => {
            Err(format!("answers\n{}\n   should be\n{}", rows.join("\n"), case.rows.join("\n")))
        }
        _ => Ok(()),
    }
}

#[test]
fn every_case_of_the_files() {
    let runner = Runner::new("UTC");
    let mut failures = Vec::new();
    let mut count = 0;
    for (name, text) in files() {
        for case in cases(&text) {
            count += 1;
            if let Err(failure) = check(&runner, &case) {
                failures.push(format!("{name}:{}: {}\n   {failure}", case.line, case.sql));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases fail:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(count > 100, "only {count} cases were found");
}

#[test]
fn the_clock_is_that_of_the_sessions_zone() {
    let runner = Runner::new("+08:00");
    let sql = "SELECT from_unixtime(0), from_unixtime_ms(0), unix_timestamp('1970-01-01 08:00:01'), current_timezone(), \
               unix_timestamp('1970-01-02', '%Y-%m-%d'), timestampdiff(HOUR, utc_timestamp(), now()), \
               from_unixtime(x) FROM (SELECT 60 AS x UNION ALL SELECT 60) t LIMIT 1";
    let (_, rows) = runner.run(sql).expect("the query runs");
    let expected = "1970-01-01 08:00:00\t1970-01-01 08:00:00\t1\t+08:00\t57600\t8\t1970-01-01 08:01:00";
    assert_eq!(rows, [expected]);
    assert!(Runner::new("Nowhere/Land").run("SELECT now()").is_err());
}

#[test]
fn every_function_has_a_case() {
    let all: String = files().into_iter().map(|(_, text)| text.to_lowercase()).collect();
    // Written as operators or under their public name; `prepare` gives them their own.
    let missing = |name: &String| !all.contains(&format!("{name}("));
    let names = [registry().scalar_names(), registry().aggregate_names(), registry().window_names()].concat();
    let missing: Vec<String> = names.into_iter().filter(missing).collect();
    assert!(missing.is_empty(), "functions without a case: {missing:?}");
}
