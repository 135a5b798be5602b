//! A table of the catalog as DataFusion sees it: its SQL schema, what it can filter, how many rows it has.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Result, Statistics, internal_err, stats::Precision};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use starling_storage::schema::{ColumnType, TabletSchema};

use super::pushdown;
use super::scan::ScanExec;
use crate::catalog::Table;

/// The type of a column in expressions: storage's, but for LARGEINT, whose 128 bits need 39 digits.
pub fn sql_type(ty: ColumnType) -> DataType {
    match ty {
        ColumnType::LargeInt => DataType::Decimal256(39, 0),
        other => other.arrow(),
    }
}

/// The schema of a table in expressions. Names are lower-case, as the binder makes those of the statement.
pub fn sql_schema(schema: &TabletSchema) -> SchemaRef {
    let field = |c: &starling_storage::schema::Column| Field::new(c.name.to_lowercase(), sql_type(c.ty), c.nullable);
    Arc::new(Schema::new(schema.columns.iter().map(field).collect::<Vec<_>>()))
}

/// A table that can be scanned. Frozen: made from one version of the catalog.
#[derive(Debug, Clone)]
pub struct StarlingTable {
    table: Arc<Table>,
    cores: u16,
    rows: Option<u64>,
    schema: SchemaRef,
}

impl StarlingTable {
    /// `rows`: how many there are, roughly; `None` when nobody knows.
    pub fn new(table: Arc<Table>, cores: u16, rows: Option<u64>) -> StarlingTable {
        let schema = sql_schema(&table.schema);
        StarlingTable { table, cores, rows, schema }
    }

    /// The catalog's entry.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }
}

#[async_trait]
impl TableProvider for StarlingTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let mut predicates = Vec::new();
        for filter in filters {
            // What is not exact stays above the scan as a filter, and the limit then is not pushed down to here.
            match pushdown::predicates(filter, &self.table.schema) {
                Some(exact) if !has_placeholder(filter) => predicates.extend(exact),
                _ => return internal_err!("{filter} was taken for exact"),
            }
        }
        Ok(Arc::new(ScanExec::new(self.table.clone(), self.cores, columns, predicates, limit, self.rows)?))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let exact = |f: &&Expr| match pushdown::predicates(f, &self.table.schema) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(exact).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = self.rows.map_or(Precision::Absent, |rows| Precision::Inexact(rows as usize));
        Some(statistics)
    }
}

fn has_placeholder(expr: &Expr) -> bool {
    // The closure never fails.
    expr.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_)))).unwrap_or(true)
}
