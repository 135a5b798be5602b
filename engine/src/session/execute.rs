//! A parsed statement to its outcome.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::Array;
use futures::future::{Either, select};
use sqlparser::ast;

use super::plan_cache::Cached;
use super::prepared::PreparedStatement;
use super::{
    ColumnMeta, Done, Outcome, Param, RowSet, Run, Session, SqlType, check_user_variable, create_table, plan_cache,
    point,
};
use crate::admin::information_schema::SystemState;
use crate::admin::{Grid, show};
use crate::catalog::{CatalogOp, RESERVED_DATABASES, Table};
use crate::error::{EngineError, Result};
use crate::exec::{self, QueryHandle};
use crate::plan::{self, PlanContext};
use crate::runtime::timer;
use crate::sql::bind::{self, BindContext, PlannedQuery};
use crate::sql::statement::{Assignment, ExplainMode, Show, ShowFilter, Statement, TableName, Transaction};
use crate::sql::walk::any_relation;
use crate::sql::{self, Parsed};

/// How often a statement that is being planned is looked after.
const LOOK: Duration = Duration::from_millis(4);

thread_local! {
    /// The planning context of this core: building DataFusion's session state costs more than a small statement.
    static PLAN: std::cell::RefCell<Option<PlanContext>> = const { std::cell::RefCell::new(None) };
}

pub(super) fn plan_context(cores: u16) -> PlanContext {
    PLAN.with_borrow_mut(|plan| match plan {
        Some(plan) if plan.cores == cores => plan.clone(),
        other => other.insert(PlanContext::new(cores)).clone(),
    })
}

impl Session {
    pub(super) async fn execute_text(&self, sql: &str, run: &Run) -> Result<Outcome> {
        if let Some(outcome) = self.insert_literals(sql, run).await? {
            return Ok(outcome);
        }
        let key = self.plan_key(sql, String::new());
        if let Some(Cached::Plan(planned)) = key.as_ref().and_then(plan_cache::get) {
            self.state.borrow_mut().warnings.clear();
            return self.run_plan(planned, run).await;
        }
        let parsed = sql::parse(sql)?;
        if parsed.params > 0 {
            return Err(EngineError::syntax("'?' stands for a parameter only in prepared statements"));
        }
        match parsed {
            Parsed { statement: Statement::Query(query), hints, texts, .. } if hints.is_empty() => {
                self.state.borrow_mut().warnings.clear();
                self.query(*query, texts, key, run).await
            }
            parsed => self.execute_parsed(parsed, run).await,
        }
    }

    /// The key of a statement's plan in the cache; `None`: it is not to be kept.
    pub(super) fn plan_key(&self, sql: &str, params: String) -> Option<plan_cache::Key> {
        let state = self.state.borrow();
        plan_cache::is_eligible(sql, &params).then(|| plan_cache::Key {
            text: sql.to_string(),
            params,
            database: state.database.clone(),
            catalog: self.core().catalog().version(),
            variables: state.variables.planning_key(),
        })
    }

    /// Runs a query: by primary key where it is such a read, else through the planner, whose plan is kept where it may be.
    pub(super) async fn query(
        &self,
        query: ast::Query,
        texts: Option<Vec<String>>,
        key: Option<plan_cache::Key>,
        run: &Run,
    ) -> Result<Outcome> {
        let limited = self.state.borrow().variables.number("sql_select_limit") < i64::MAX as u64;
        if !limited {
            let read = point::recognise(&query, texts.as_deref(), &self.core().catalog(), self.database().as_deref());
            if let Some(read) = read
                && let Some(outcome) = self.point_read(&read, &[], run).await?
            {
                return Ok(outcome);
            }
        }
        let system = self.system_state(mentions_processlist(&query)).await?;
        let planned = self.plan(query, texts, system, run).await?;
        if let (Some(key), true) = (key, planned.is_reusable) {
            plan_cache::put(key, Cached::Plan(planned.clone()));
        }
        self.run_plan(planned, run).await
    }

    /// Runs a statement without parameters.
    pub(super) async fn execute_parsed(&self, parsed: Parsed, run: &Run) -> Result<Outcome> {
        if parsed.hints.is_empty() {
            return self.dispatch(parsed, run).await;
        }
        // SET_VAR hints hold for this statement only.
        let before = self.state.borrow().variables.clone();
        let set = {
            let mut state = self.state.borrow_mut();
            parsed.hints.iter().try_for_each(|(name, value)| state.variables.set(name, Some(value), false))
        };
        let result = match set {
            Ok(()) => self.dispatch(parsed, run).await,
            Err(error) => Err(error),
        };
        self.state.borrow_mut().variables = before;
        result
    }

    async fn dispatch(&self, parsed: Parsed, run: &Run) -> Result<Outcome> {
        let keeps_warnings = matches!(&parsed.statement, Statement::Show(_));
        if !keeps_warnings {
            self.state.borrow_mut().warnings.clear();
        }
        match parsed.statement {
            Statement::Empty | Statement::NoOp => done(),
            Statement::Query(query) => self.query(*query, parsed.texts, None, run).await,
            Statement::Insert(insert) => self.insert(insert, run).await,
            Statement::Update(update) => self.update(update, run).await,
            Statement::Delete(delete) => self.delete(delete, run).await,
            Statement::Explain { mode, statement } => self.explain(mode, *statement, run).await,
            Statement::CreateTable(create) => {
                let db = self.database_of(&create.name)?;
                let table = create_table::new_table(&create, &db)?;
                self.ddl(CatalogOp::CreateTable { db, table, if_not_exists: create.if_not_exists }).await
            }
            Statement::DropTable { names, if_exists } => {
                for name in names {
                    let db = self.database_of(&name)?;
                    self.ddl(CatalogOp::DropTable { db, name: name.table, if_exists }).await?;
                }
                done()
            }
            Statement::Truncate(name) => {
                let db = self.database_of(&name)?;
                self.ddl(CatalogOp::TruncateTable { db, name: name.table }).await
            }
            Statement::CreateDatabase { name, if_not_exists } => {
                create_table::check_object_name(&name).map_err(|()| EngineError::bad_database_name(&name))?;
                self.ddl(CatalogOp::CreateDatabase { name, if_not_exists }).await
            }
            Statement::DropDatabase { name, if_exists } => self.drop_database(name, if_exists).await,
            Statement::Use(name) => {
                self.init_db(&name).await?;
                done()
            }
            Statement::Show(show) => self.show(show, run).await,
            Statement::Describe { table, column } => {
                let system = self.system_state(false).await?;
                let mut grid = self.with_show(&system, |context| show::describe_table(&table, context))?;
                if let Some(column) = column {
                    grid.rows
                        .retain(|row| matches!(&row[0], crate::admin::Cell::Text(name) if show::like(name, &column)));
                }
                Ok(Outcome::Rows(grid.into_rows()?))
            }
            Statement::Set(assignments) => self.set(assignments, run).await,
            Statement::Kill { query_only, id } => {
                self.core().kill(id, query_only).await?;
                done()
            }
            Statement::Transaction(kind) => {
                self.state.borrow_mut().in_transaction = kind == Transaction::Begin;
                done()
            }
            Statement::Prepare { name, text } => self.prepare_text(name, text, run).await,
            Statement::ExecutePrepared { name, using } => self.execute_named(&name, &using, run).await,
            Statement::Deallocate(name) => match self.state.borrow_mut().named.remove(&name.to_lowercase()) {
                Some(_) => done(),
                None => Err(unknown_prepared(&name)),
            },
        }
    }

    /// The database of a table: its own, or the session's.
    pub(super) fn database_of(&self, name: &TableName) -> Result<String> {
        match &name.db {
            Some(db) => Ok(db.clone()),
            None => self.database().ok_or_else(EngineError::no_database),
        }
    }

    /// A table of the catalog. The server's own tables are not to be written.
    pub(super) fn table_of(&self, name: &TableName) -> Result<Arc<Table>> {
        let db = self.database_of(name)?;
        Ok(self.core().catalog().table(&db, &name.table)?.clone())
    }

    async fn ddl(&self, op: CatalogOp) -> Result<Outcome> {
        self.core().ddl(op).await?;
        done()
    }

    async fn drop_database(&self, name: String, if_exists: bool) -> Result<Outcome> {
        if RESERVED_DATABASES.contains(&name.as_str()) {
            return Err(EngineError::analyze(format!("database '{name}' belongs to the server and cannot be dropped")));
        }
        self.core().ddl(CatalogOp::DropDatabase { name: name.clone(), if_exists }).await?;
        let mut state = self.state.borrow_mut();
        if state.database.as_ref() == Some(&name) {
            state.database = None;
        }
        done()
    }

    /// What the planner thread needs to know.
    pub(super) fn bind_context(&self, system: SystemState) -> BindContext {
        let limit = self.state.borrow().variables.number("sql_select_limit");
        BindContext {
            catalog: self.core().catalog(),
            database: self.database(),
            cores: self.core().cores(),
            values: Box::new(self.values()),
            row_counts: system.row_counts.clone(),
            system,
            plan: plan_context(self.core().cores()),
            row_limit: (limit < i64::MAX as u64).then_some(limit),
        }
    }

    /// What information_schema and SHOW speak of. The process list costs a question to every core.
    pub(super) async fn system_state(&self, processes: bool) -> Result<SystemState> {
        let processes = if processes { self.core().process_list().await? } else { Vec::new() };
        let variables = self.state.borrow().variables.clone();
        let row_counts = exec::row_counts(self.core()).await;
        Ok(SystemState { catalog: self.core().catalog(), row_counts, variables, processes })
    }

    /// Plans on the planner thread.
    pub(super) async fn plan(
        &self,
        query: ast::Query,
        texts: Option<Vec<String>>,
        system: SystemState,
        run: &Run,
    ) -> Result<PlannedQuery> {
        let context = self.bind_context(system);
        self.core().metrics().planned();
        self.on_planner(run, move || bind::plan_query(query, texts.as_deref(), &context)).await
    }

    /// Runs `work` on the planner thread. KILL, the end of the connection and `query_timeout` end the wait for it.
    pub(super) async fn on_planner<T: Send + 'static>(
        &self,
        run: &Run,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut answer = pin!(self.core().planner().run(work));
        loop {
            match select(answer.as_mut(), pin!(timer::sleep(LOOK))).await {
                Either::Left((result, _)) => return result?,
                Either::Right(_) => run.check()?,
            }
            let timeout = self.query_timeout();
            if run.started.elapsed() >= timeout {
                return Err(EngineError::query_timeout(timeout.as_secs()));
            }
        }
    }

    /// `query_timeout`, or `max_execution_time` where that is less.
    fn query_timeout(&self) -> Duration {
        let state = self.state.borrow();
        let millis = state.variables.number("query_timeout").max(1) * 1_000;
        Duration::from_millis(match state.variables.number("max_execution_time") {
            0 => millis,
            less => less.min(millis),
        })
    }

    pub(super) fn query_handle(&self, run: &Run) -> QueryHandle {
        let mut handle = QueryHandle::new(run.id, self.core().pin());
        handle.cancel = run.cancel.clone();
        handle.started = run.started;
        handle.timeout = Some(self.query_timeout());
        let limit = self.state.borrow().variables.number("query_mem_limit");
        if limit > 0 {
            handle.memory = usize::try_from(limit).unwrap_or(usize::MAX);
        }
        handle
    }

    pub(super) async fn run_plan(&self, planned: PlannedQuery, run: &Run) -> Result<Outcome> {
        run.check()?;
        let stream = exec::run(self.core(), planned.plan, self.query_handle(run)).await?;
        Ok(Outcome::Rows(RowSet::running(planned.columns, stream)))
    }

    /// Plans and runs a query of the session's own making; its rows are read by the caller.
    pub(super) async fn run_query(&self, query: ast::Query, run: &Run) -> Result<RowSet> {
        self.run_query_for(query, run, None).await
    }

    /// As `run_query`, with a timeout that is not that of queries.
    pub(super) async fn run_query_for(
        &self,
        query: ast::Query,
        run: &Run,
        timeout: Option<Duration>,
    ) -> Result<RowSet> {
        let system = self.system_state(false).await?;
        let planned = self.plan(query, None, system, run).await?;
        run.check()?;
        let mut handle = self.query_handle(run);
        handle.timeout = timeout.or(handle.timeout);
        let stream = exec::run(self.core(), planned.plan, handle).await?;
        Ok(RowSet::running(planned.columns, stream))
    }

    async fn explain(&self, mode: ExplainMode, statement: Statement, run: &Run) -> Result<Outcome> {
        let query = match statement {
            Statement::Query(query) => *query,
            Statement::Insert(insert) => match insert.source {
                sql::statement::InsertSource::Query(query) => *query,
                sql::statement::InsertSource::Values(_) => sql::parser::parse_query("SELECT 1")?,
            },
            Statement::Update(update) => self.update_query(self.table_of(&update.table)?.as_ref(), &update)?,
            Statement::Delete(delete) => self.delete_query(self.table_of(&delete.table)?.as_ref(), &delete)?,
            _ => return Err(EngineError::unsupported("EXPLAIN of this statement")),
        };
        let system = self.system_state(false).await?;
        let planned = self.plan(query, None, system, run).await?;
        let lines = match mode {
            ExplainMode::Analyze => exec::analyze(self.core(), planned.plan, self.query_handle(run)).await?,
            ExplainMode::Plan | ExplainMode::Verbose => plan::explain(&planned.plan),
        };
        let mut grid = Grid::new(["Explain String"]);
        lines.into_iter().for_each(|line| grid.push([line.into()]));
        Ok(Outcome::Rows(grid.into_rows()?))
    }

    fn with_show<T>(&self, system: &SystemState, work: impl FnOnce(&show::ShowContext) -> Result<T>) -> Result<T> {
        let (database, warnings) = {
            let state = self.state.borrow();
            (state.database.clone(), state.warnings.clone())
        };
        let context = show::ShowContext {
            database: database.as_deref(),
            system,
            warnings: &warnings,
            user: &self.info().user,
            started: started(),
        };
        work(&context)
    }

    async fn show(&self, show: Show, run: &Run) -> Result<Outcome> {
        use sql::statement::ShowKind;
        let processes = matches!(show.kind, ShowKind::Processlist { .. } | ShowKind::Status);
        let system = self.system_state(processes).await?;
        let grid = self.with_show(&system, |context| show::show(&show.kind, &show.filter, context))?;
        match show.filter.needs_plan() {
            false => Ok(Outcome::Rows(grid.into_rows()?)),
            true => self.chosen(grid, show.filter, system, run).await,
        }
    }

    /// WHERE, ORDER BY and LIMIT of a SHOW statement: the grid becomes a table of a query.
    async fn chosen(&self, grid: Grid, filter: ShowFilter, system: SystemState, run: &Run) -> Result<Outcome> {
        let columns = grid.clone().into_rows()?.columns;
        let context = self.bind_context(system);
        let batch = grid.batch(true)?;
        let plan = self.on_planner(run, move || bind::plan_show(batch, filter, &context)).await?;
        run.check()?;
        let stream = exec::run(self.core(), plan, self.query_handle(run)).await?;
        Ok(Outcome::Rows(RowSet::running(columns, stream)))
    }

    async fn set(&self, assignments: Vec<Assignment>, run: &Run) -> Result<Outcome> {
        for assignment in assignments {
            match assignment {
                Assignment::Ignored => {}
                Assignment::Names { charset, collation } => {
                    self.state.borrow_mut().variables.set_names(charset.as_deref(), collation.as_deref())?;
                }
                Assignment::Variable { global, name, value } => {
                    let text = match value {
                        None => None,
                        // A bare word is its own text: SET sql_dialect = trino.
                        Some(ast::Expr::Identifier(word)) if !word.value.starts_with('@') => Some(word.value),
                        Some(expr) => Some(self.constant_text(expr, run).await?.unwrap_or_default()),
                    };
                    self.state.borrow_mut().variables.set(&name, text.as_deref(), global)?;
                }
                Assignment::User { name, value } => {
                    let value = self.constant(value, run).await?;
                    let mut state = self.state.borrow_mut();
                    check_user_variable(&state.user_variables, &name, &value)?;
                    state.user_variables.insert(name, value);
                }
            }
        }
        done()
    }

    /// The value of an expression without columns, as text.
    async fn constant_text(&self, expr: ast::Expr, run: &Run) -> Result<Option<String>> {
        Ok(match self.constant(expr, run).await? {
            ast::Value::Null => None,
            ast::Value::SingleQuotedString(text) | ast::Value::Number(text, _) => Some(text),
            ast::Value::Boolean(value) => Some(u8::from(value).to_string()),
            other => Some(other.to_string()),
        })
    }

    /// The value of an expression without columns, as a literal.
    pub(super) async fn constant(&self, expr: ast::Expr, run: &Run) -> Result<ast::Value> {
        if let ast::Expr::Value(value) = &expr {
            return Ok(value.value.clone());
        }
        let mut rows = self.run_query(bind::constant_query(expr), run).await?;
        let mut value = ast::Value::Null;
        let ty = rows.columns.first().map(|c| c.ty);
        while let Some(batch) = rows.next().await? {
            let array = batch.column(0);
            if !array.is_null(0) {
                let text = crate::types::text::TextWriter::new(array.as_ref())?;
                let mut bytes = Vec::new();
                text.write(0, &mut bytes);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                value = match ty {
                    Some(
                        SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Date | SqlType::DateTime | SqlType::Time,
                    ) => ast::Value::SingleQuotedString(text),
                    _ => ast::Value::Number(text, false),
                };
            }
        }
        Ok(value)
    }

    async fn prepare_text(&self, name: String, text: ast::Expr, run: &Run) -> Result<Outcome> {
        let text = self.constant_text(text, run).await?.unwrap_or_default();
        self.check_prepared(&text)?;
        let statement = Rc::new(PreparedStatement::new(&text)?);
        self.state.borrow_mut().named.insert(name.to_lowercase(), statement);
        done()
    }

    async fn execute_named(&self, name: &str, using: &[String], run: &Run) -> Result<Outcome> {
        let statement = self.state.borrow().named.get(&name.to_lowercase()).cloned();
        let statement = statement.ok_or_else(|| unknown_prepared(name))?;
        let params: Vec<Param> = {
            let state = self.state.borrow();
            using.iter().map(|name| Param::of_literal(state.user_variables.get(name))).collect()
        };
        Box::pin(self.execute_bound(&statement, params, run)).await
    }

    /// Runs a prepared statement with its parameters.
    pub(super) async fn execute_bound(
        &self,
        statement: &Rc<PreparedStatement>,
        params: Vec<Param>,
        run: &Run,
    ) -> Result<Outcome> {
        if params.len() == statement.params()
            && let Some(read) = statement.point(&self.core().catalog(), self.database().as_deref())
            && let Some(outcome) = self.point_read(&read, &params, run).await?
        {
            return Ok(outcome);
        }
        if let Some(outcome) = self.bound_query(statement, &params, run).await? {
            return Ok(outcome);
        }
        let parsed = statement.bind(&params)?;
        self.execute_parsed(parsed, run).await
    }

    /// The result columns of a prepared statement. A parameter is NULL here; what cannot be planned so has no columns yet, unless a name is wrong.
    pub(super) async fn describe_prepared(&self, statement: &PreparedStatement, run: &Run) -> Result<Vec<ColumnMeta>> {
        let parsed = statement.describe()?;
        let Statement::Query(query) = parsed.statement else { return Ok(Vec::new()) };
        let system = self.system_state(false).await?;
        let context = self.bind_context(system);
        let texts = parsed.texts;
        match self.on_planner(run, move || bind::describe_query(*query, texts.as_deref(), &context)).await {
            Ok(columns) => Ok(columns),
            // A wrong name is wrong with any parameter; a statement that was ended has ended.
            Err(error) if matches!(error.code, 1046 | 1052 | 1109 | 1317 | 5024 | 5501 | 5502 | 5509) => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    }
}

/// Unix seconds of the start of the process, as far as statements can tell.
fn started() -> u64 {
    static STARTED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *STARTED.get_or_init(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
    })
}

fn unknown_prepared(name: &str) -> EngineError {
    EngineError::new(1243, b"HY000", format!("Unknown prepared statement handler ({name}) given to EXECUTE"))
}

pub(super) fn done() -> Result<Outcome> {
    Ok(Outcome::Done(Done::default()))
}

/// Whether a query reads the process list, which has to be fetched from all cores.
fn mentions_processlist(query: &ast::Query) -> bool {
    any_relation(query, &mut |name| {
        name.0.last().and_then(|p| p.as_ident()).is_some_and(|n| n.value.eq_ignore_ascii_case("processlist"))
    })
}
