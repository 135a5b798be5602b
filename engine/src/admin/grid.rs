//! Small results made by hand: a list of columns and rows of cells, as SHOW and information_schema need them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::Result;
use crate::session::{ColumnMeta, RowSet, SqlType};

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Int(i64),
    Text(String),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_string())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Cell {
        Cell::Int(number)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

impl Cell {
    fn text(&self) -> Option<String> {
        match self {
            Cell::Null => None,
            Cell::Int(number) => Some(number.to_string()),
            Cell::Text(text) => Some(text.clone()),
        }
    }

    fn number(&self) -> Option<i64> {
        match self {
            Cell::Null => None,
            Cell::Int(number) => Some(*number),
            Cell::Text(text) => text.parse().ok(),
        }
    }
}

/// Columns and rows. A column whose name begins with `#` holds BIGINT (the mark is no part of the name), any other VARCHAR.
#[derive(Debug, Clone, Default)]
pub struct Grid {
    columns: Vec<(String, bool)>,
    pub rows: Vec<Vec<Cell>>,
}

impl Grid {
    pub fn new<S: AsRef<str>>(columns: impl IntoIterator<Item = S>) -> Grid {
        let column = |name: S| match name.as_ref().strip_prefix('#') {
            Some(name) => (name.to_string(), true),
            None => (name.as_ref().to_string(), false),
        };
        Grid { columns: columns.into_iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; cells that are left out are NULL.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<Cell> = row.into_iter().collect();
        row.resize(self.columns.len(), Cell::Null);
        self.rows.push(row);
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    /// Columns of this grid under other names (`(name there, name here)`, NULL where there is none), of the rows whose columns have these texts.
    pub fn chosen(&self, columns: &[(&str, &str)], wanted: &[(&str, &str)]) -> Grid {
        let mut chosen = Grid::new(columns.iter().map(|(name, _)| name));
        let positions: Vec<Option<usize>> = columns.iter().map(|(_, own)| self.position(own)).collect();
        let has = |row: &[Cell], (name, text): &(&str, &str)| {
            self.position(name).is_some_and(|at| row[at].text().as_deref() == Some(text))
        };
        for row in self.rows.iter().filter(|row| wanted.iter().all(|pair| has(row, pair))) {
            chosen.push(positions.iter().map(|at| at.map_or(Cell::Null, |at| row[at].clone())));
        }
        chosen
    }

    /// As a batch; `lower`: with lower-case names, for the binder.
    pub fn batch(&self, lower: bool) -> Result<RecordBatch> {
        let schema = self.schema(lower);
        let array = |at: usize| -> ArrayRef {
            let cells = self.rows.iter().map(|row| &row[at]);
            match self.columns[at].1 {
                true => Arc::new(cells.map(Cell::number).collect::<Int64Array>()),
                false => Arc::new(cells.map(Cell::text).collect::<StringArray>()),
            }
        };
        let arrays = (0..self.columns.len()).map(array).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options);
        Ok(batch.map_err(starling_storage::StorageError::from)?)
    }

    pub fn schema(&self, lower: bool) -> SchemaRef {
        let field = |(name, number): &(String, bool)| {
            let name = if lower { name.to_lowercase() } else { name.clone() };
            Field::new(name, if *number { DataType::Int64 } else { DataType::Utf8 }, true)
        };
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// As a result.
    pub fn into_rows(self) -> Result<RowSet> {
        let ty = |number: bool| if number { SqlType::BigInt } else { SqlType::Varchar(65_533) };
        let meta = |(name, number): &(String, bool)| ColumnMeta::of_expression(name, ty(*number), true);
        let columns: Vec<_> = self.columns.iter().map(meta).collect();
        Ok(RowSet::ready(columns, [self.batch(false)?]))
    }
}
