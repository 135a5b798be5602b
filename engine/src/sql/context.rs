//! What DataFusion's binder asks for: tables of one version of the catalog, functions of the allow-list, our planners of expressions and types.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};

use super::bind::BindContext;
use crate::admin::information_schema::{self, INFORMATION_SCHEMA};
use crate::error::EngineError;
use crate::functions::registry;
use crate::plan::StarlingTable;
use crate::types;

/// See the head of the file. Lives for one statement on the planner thread.
pub struct Context<'a> {
    bind: &'a BindContext,
    options: &'a ConfigOptions,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
}

impl<'a> Context<'a> {
    pub fn new(bind: &'a BindContext, options: &'a ConfigOptions) -> Context<'a> {
        Context { bind, options, expr_planners: types::expr_planners() }
    }

    fn provider(&self, name: &TableReference) -> Result<Arc<dyn TableProvider>, EngineError> {
        let db = match name.schema() {
            Some(db) => db,
            None => self.bind.database.as_deref().ok_or_else(EngineError::no_database)?,
        };
        if db.eq_ignore_ascii_case(INFORMATION_SCHEMA) {
            return information_schema::table(name.table(), &self.bind.system);
        }
        let table = self.bind.catalog.table(db, name.table())?;
        let rows = self.bind.row_counts.get(&table.id).copied();
        Ok(Arc::new(StarlingTable::new(table.clone(), self.bind.cores, rows)))
    }
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let provider = self.provider(&name).map_err(|e| DataFusionError::External(Box::new(e)))?;
        Ok(provider_as_source(provider))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        types::type_planner()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        registry().scalar_or_unknown(name)
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
        // Variables are literals by the time the binder runs.
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.options
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
