//! Execution of distributed plans: fragments, pipelines, exchanges.

use arrow::array::RecordBatch;

use crate::error::Result;

/// What a core is asked to run of a query.
pub struct FragmentRequest {}

/// Rows of a running query, pulled by the session.
pub struct ResultStream {}

impl ResultStream {
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        None
    }
}
