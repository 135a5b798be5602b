//! Runs `tests/slt/semantics/*.slt`: each query through `types::prepare`, DataFusion's binder with our planners and
//! functions, our analyzer rules, DataFusion's optimizer and executor, and compares text. The form of the files is in
//! their README.md.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::dialect::MySqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use starling_engine::functions::{no_matching_function, registry};
use starling_engine::types::{self, text::TextWriter};

/// No tables: the files make their rows by subqueries.
struct NoTables {
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl ContextProvider for NoTables {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("Unknown table '{name}'")
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: datafusion::arrow::datatypes::SchemaRef,
    ) -> Result<Arc<dyn TableSource>> {
        let table = datafusion::datasource::cte_worktable::CteWorkTable::new(name, schema);
        Ok(datafusion::datasource::provider_as_source(Arc::new(table)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        types::type_planner()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        registry().scalar(name)
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        registry().aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        registry().window(name)
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        registry().scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        registry().aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        registry().window_names()
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
    state: SessionState,
    runtime: tokio::runtime::Runtime,
}

impl Runner {
    fn new() -> Runner {
        Runner {
            state: SessionStateBuilder::new().with_default_features().build(),
            runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime"),
        }
    }

    fn plan(&self, sql: &str) -> Result<LogicalPlan> {
        let mut statements = Parser::parse_sql(&MySqlDialect {}, sql)
            .map_err(|error| datafusion::error::DataFusionError::Plan(error.to_string()))?;
        let mut statement = statements.remove(0);
        types::prepare(&mut statement)?;
        let again = statement.to_string();
        types::prepare(&mut statement)?;
        assert_eq!(again, statement.to_string(), "prepare is idempotent");
        let provider = NoTables { options: ConfigOptions::default(), planners: types::expr_planners() };
        let plan = SqlToRel::new_with_options(&provider, types::parser_options()).sql_statement_to_plan(statement);
        // What E3's binder says of a name that is not on the list.
        let plan = plan.map_err(|error| match error.strip_backtrace().split_once("Invalid function '") {
            Some((_, rest)) => {
                let name = rest.split('\'').next().unwrap_or_default();
                datafusion::error::DataFusionError::Plan(no_matching_function(name, &[]))
            }
            None => error,
        })?;
        let analyzer = Analyzer::with_rules(types::analyzer_rules());
        let plan = analyzer.execute_and_check(plan, &provider.options, |_, _| {})?;
        let context = OptimizerContext::new().with_query_execution_start_time(std::time::SystemTime::now().into());
        Optimizer::new().optimize(plan, &context, |_, _| {})
    }

    fn run(&self, sql: &str) -> Result<(String, Vec<String>)> {
        let plan = self.plan(sql)?;
        let names = plan.schema().fields().iter().map(|field| types::type_name(field.data_type()));
        let names = names.collect::<Vec<_>>().join(", ");
        let batches = self.runtime.block_on(async {
            let physical = self.state.query_planner().create_physical_plan(&plan, &self.state).await?;
            datafusion::physical_plan::collect(physical, self.state.task_ctx()).await
        })?;
        Ok((names, rows(&batches)?))
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
        (Err(error), Some(wanted)) if error.strip_backtrace().contains(wanted.as_str()) => Ok(()),
        (Err(error), _) => Err(format!("fails: {}", error.strip_backtrace())),
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
    let runner = Runner::new();
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
fn every_function_has_a_case() {
    let all: String = files().into_iter().map(|(_, text)| text.to_lowercase()).collect();
    // Written as operators or under their public name; `prepare` gives them their own.
    let missing = |name: &String| !all.contains(&format!("{name}("));
    let names = [registry().scalar_names(), registry().aggregate_names(), registry().window_names()].concat();
    let missing: Vec<String> = names.into_iter().filter(missing).collect();
    assert!(missing.is_empty(), "functions without a case: {missing:?}");
}
