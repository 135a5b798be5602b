//! Queries of prepared statements: their plans are kept like those of texts. Parameters that a plan can take other values of are placeholders in it
//! (`sql::template`); the values of all others are part of the key.

use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;

use super::execute::plan_context;
use super::plan_cache::{self, Cached};
use super::prepared::PreparedStatement;
use super::{Outcome, Param, Run, Session};
use crate::error::Result;
use crate::sql::Statement;
use crate::sql::bind::PlannedQuery;
use crate::sql::template::{self, Made, Template, Values};

impl Session {
    /// Runs a query by a plan that is kept, or is kept from now on. `None`: it must be planned with literals.
    pub(super) async fn bound_query(
        &self,
        statement: &Rc<PreparedStatement>,
        params: &[Param],
        run: &Run,
    ) -> Result<Option<Outcome>> {
        if params.len() != statement.params() || !statement.is_plain_query() {
            return Ok(None);
        }
        self.state.borrow_mut().warnings.clear();
        // At most: what may not be a placeholder turns out, the template is made, it runs.
        for _ in 0..3 {
            let values = statement.placeholder_values(params);
            let Some(key) = self.plan_key(statement.text(), shape(params, &values)) else { return Ok(None) };
            match plan_cache::get(&key) {
                Some(Cached::Plan(planned)) => return self.run_plan(planned, run).await.map(Some),
                Some(Cached::Template(template)) => return self.run_template(template, values, run).await,
                None if values.is_empty() => return self.first_run(statement, params, key, run).await.map(Some),
                None => match self.template(statement, params, &values, run).await {
                    Ok(Made::Template(template)) => plan_cache::put(key, Cached::Template(Arc::new(template))),
                    Ok(Made::Refused(refused)) => statement.refuse_placeholders(Some(&refused)),
                    Err(error) if matches!(error.code, 1317 | 5024) => return Err(error),
                    // Whether it is wrong at all is for the literals to say.
                    Ok(Made::Volatile) | Err(_) => statement.refuse_placeholders(None),
                },
            }
        }
        Ok(None)
    }

    /// Plans with literals and keeps the plan if it may be kept.
    async fn first_run(
        &self,
        statement: &PreparedStatement,
        params: &[Param],
        key: plan_cache::Key,
        run: &Run,
    ) -> Result<Outcome> {
        let parsed = statement.bind(params)?;
        match parsed.statement {
            Statement::Query(query) => self.query(*query, parsed.texts, Some(key), run).await,
            _ => Box::pin(self.execute_parsed(parsed, run)).await,
        }
    }

    async fn template(
        &self,
        statement: &PreparedStatement,
        params: &[Param],
        values: &Values,
        run: &Run,
    ) -> Result<Made> {
        let parsed = statement.bind_all_but(params, values)?;
        let Statement::Query(query) = parsed.statement else { return Ok(Made::Volatile) };
        let context = self.bind_context(self.system_state(false).await?);
        let (texts, values) = (parsed.texts, values.clone());
        self.core().metrics().planned();
        self.on_planner(run, move || template::make(*query, texts.as_deref(), &values, &context)).await
    }

    async fn run_template(&self, template: Arc<Template>, values: Values, run: &Run) -> Result<Option<Outcome>> {
        let context = plan_context(self.core().cores());
        let columns = template.columns.clone();
        let plan = self.on_planner(run, move || template.plan(&values, &context)).await?;
        match plan {
            Some(plan) => self.run_plan(PlannedQuery { plan, columns, is_reusable: false }, run).await.map(Some),
            None => Ok(None),
        }
    }
}

/// What a plan takes for granted of the parameters.
fn shape(params: &[Param], values: &Values) -> String {
    let mut shape = String::new();
    for (number, param) in (1..).zip(params) {
        // Writing to a string never fails.
        let _ = match values.get(&number) {
            Some(value) => write!(shape, "{};", value.data_type()),
            None => write!(shape, "{param:?};"),
        };
    }
    shape
}
