//! Where the rows of an INSERT go: cast and filled up, through the partial update where columns are left out, into the load.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;

use super::partial::Partial;
use super::rows::RowBuilder;
use super::{Run, Session};
use crate::catalog::Table;
use crate::error::{EngineError, Result};
use crate::shard::Core;
use crate::txn::{Committed, Load, LoadKind, LoadOptions};

/// How an INSERT treats its rows: PROPERTIES of its own before variables of the session.
pub(super) struct InsertOptions {
    /// A value that does not fit fails the statement; else it becomes NULL, or its row is left out.
    pub strict: bool,
    /// The share of rows that may be left out, 0 to 1.
    pub max_filter_ratio: f64,
    /// From begin to answer.
    pub timeout: Duration,
    /// Columns that are not named keep their values.
    pub partial: bool,
}

/// Longest timeout, seconds; that of the variable `insert_timeout`.
const TIMEOUT_SECONDS_MAX: u64 = 259_200;

impl Session {
    /// Error 1064: a property that is not known, or a value that is none of it.
    pub(super) fn insert_options(&self, properties: &[(String, String)]) -> Result<InsertOptions> {
        let state = self.state.borrow();
        let variables = &state.variables;
        let mut options = InsertOptions {
            strict: variables.is_on("enable_insert_strict"),
            max_filter_ratio: variables.get("insert_max_filter_ratio").and_then(|r| r.parse().ok()).unwrap_or(0.0),
            timeout: Duration::from_secs(variables.number("insert_timeout").max(1)),
            partial: variables.is_on("enable_insert_partial_update"),
        };
        properties.iter().try_for_each(|(name, value)| options.set(name, value))?;
        Ok(options)
    }

    /// A sink into a table. `source`: the columns of the table that the rows bring, in their order.
    pub(super) async fn sink(
        &self,
        table: &Arc<Table>,
        source: &[usize],
        options: &InsertOptions,
        label: Option<String>,
    ) -> Result<Sink> {
        let partial = match options.partial {
            true => Partial::of(table, source)?,
            false => None,
        };
        let kept = partial.as_ref().map_or(&[][..], Partial::kept);
        let builder = RowBuilder::new(table, source, kept, options.strict)?;
        let load = LoadOptions { label, kind: LoadKind::Insert, timeout: options.timeout };
        let load = self.core().open_load(table.id, load).await?;
        Ok(Sink { core: self.core().clone(), load, builder, partial })
    }
}

impl InsertOptions {
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |wanted: &str| {
            EngineError::analyze(format!("the INSERT property '{name}' takes {wanted}, and '{value}' is none"))
        };
        match name.to_lowercase().as_str() {
            "strict_mode" => {
                self.strict = match value.to_lowercase().as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(wrong("true or false")),
                };
            }
            "max_filter_ratio" => {
                let ratio = value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                self.max_filter_ratio = ratio.ok_or_else(|| wrong("a number from 0 to 1"))?;
            }
            "timeout" => {
                let seconds = value.parse().ok().filter(|seconds| (1..=TIMEOUT_SECONDS_MAX).contains(seconds));
                self.timeout = Duration::from_secs(seconds.ok_or_else(|| wrong("seconds from 1 to 259200"))?);
            }
            // All modes give the same rows; there is one way to write them.
            "partial_update_mode" if matches!(value.to_lowercase().as_str(), "row" | "column" | "auto") => {}
            "partial_update_mode" => return Err(wrong("row, column or auto")),
            _ => {
                let known = "strict_mode, max_filter_ratio, timeout and partial_update_mode";
                return Err(EngineError::unsupported(format!("the INSERT property '{name}'; there are {known}")));
            }
        }
        Ok(())
    }
}

/// See the head of the file. Dropping it gives up; nothing of it is there.
pub(super) struct Sink {
    core: Rc<Core>,
    load: Load,
    pub builder: RowBuilder,
    partial: Option<Partial>,
}

impl Sink {
    /// Adds rows of the source columns.
    pub(super) async fn push(&mut self, columns: &[ArrayRef], rows: usize, run: &Run) -> Result<()> {
        run.check()?;
        let rows = self.builder.build(columns, rows)?;
        let Some(partial) = &mut self.partial else { return self.load.push(rows).await };
        let ready = partial.hold(&self.core, rows).await?;
        self.complete(ready, run).await
    }

    /// Every row is in the load when this returns; gives how many.
    pub(super) async fn flush(&mut self, run: &Run) -> Result<u64> {
        if let Some(partial) = &mut self.partial {
            let ready = partial.release(&self.core).await?;
            self.complete(ready, run).await?;
        }
        Ok(self.load.rows())
    }

    async fn complete(&mut self, ready: Vec<starling_storage::rows::Rows>, run: &Run) -> Result<()> {
        let Some(partial) = &self.partial else { return Ok(()) };
        for rows in ready {
            run.check()?;
            for whole in partial.complete(&self.core, &rows, &mut self.builder).await? {
                self.load.push(whole).await?;
            }
        }
        Ok(())
    }

    /// Commits what was flushed.
    pub(super) async fn commit(self) -> Result<Committed> {
        self.load.commit(self.partial.and_then(Partial::into_turns)).await
    }
}
