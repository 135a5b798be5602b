//! A value as MySQL's text protocol shows it (also LARGEINT and DECIMAL in the binary protocol).

use datafusion::arrow::array::Array;
use datafusion::error::{DataFusionError, Result};

/// Writes values of one column as text.
pub struct TextWriter<'a> {
    array: &'a dyn Array,
}

impl<'a> TextWriter<'a> {
    /// Looks at the column's type once. An error is a type without a text form.
    pub fn new(array: &'a dyn Array) -> Result<TextWriter<'a>> {
        let _ = array;
        Err(DataFusionError::NotImplemented("text form".into()))
    }

    /// Whether the row is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Appends the text of a row that is not NULL to `out`.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        let _ = (row, out);
    }
}
