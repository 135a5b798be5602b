//! What a statement answers: an acknowledgement or a stream of rows, with the column metadata a protocol needs.
//!
//! Core: the session's. Nothing here knows a wire format; `net` turns it into packets.

use std::any::Any;
use std::collections::VecDeque;
use std::rc::Rc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use starling_storage::schema::ColumnType;

use crate::error::Result;
use crate::exec::ResultStream;

/// The SQL type of a result column or of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlType {
    /// The type of the bare literal NULL.
    Null,
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    /// 128-bit integer; travels as Decimal256(39, 0), shown as decimal digits.
    LargeInt,
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Date,
    DateTime,
    Time,
    /// Length in bytes.
    Char(u32),
    /// Length in bytes.
    Varchar(u32),
    Binary,
}

/// One column of a result, as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMeta {
    /// The label as the statement wrote it.
    pub name: String,
    /// The column's own name where the expression is a plain column, else the label.
    pub org_name: String,
    /// Table alias, empty for expressions.
    pub table: String,
    pub org_table: String,
    pub db: String,
    pub ty: SqlType,
    pub nullable: bool,
}

impl ColumnMeta {
    /// A column of an expression or of a SHOW statement.
    pub fn of_expression(name: impl Into<String>, ty: SqlType, nullable: bool) -> ColumnMeta {
        let name = name.into();
        ColumnMeta {
            org_name: name.clone(),
            name,
            table: String::new(),
            org_table: String::new(),
            db: String::new(),
            ty,
            nullable,
        }
    }
}

/// The answer to one statement.
pub enum Outcome {
    Done(Done),
    Rows(RowSet),
}

/// An OK packet's worth.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    pub affected: u64,
    pub last_insert_id: u64,
    pub warnings: u16,
    pub info: String,
}

/// Rows on their way out: pulled by the protocol as the socket takes them.
pub struct RowSet {
    /// Shared with the statement, which may be run again.
    pub columns: Rc<[ColumnMeta]>,
    stream: RowStream,
    /// Dropped with the rows: what says that the statement still runs.
    held: Option<Box<dyn Any>>,
}

enum RowStream {
    /// Rows that are there already (SHOW, point reads, constants).
    Ready(VecDeque<RecordBatch>),
    /// A running query. Dropping it cancels the query.
    Query(Box<ResultStream>),
}

impl RowSet {
    pub fn ready(columns: impl Into<Rc<[ColumnMeta]>>, batches: impl IntoIterator<Item = RecordBatch>) -> RowSet {
        RowSet { columns: columns.into(), stream: RowStream::Ready(batches.into_iter().collect()), held: None }
    }

    pub fn running(columns: impl Into<Rc<[ColumnMeta]>>, stream: ResultStream) -> RowSet {
        RowSet { columns: columns.into(), stream: RowStream::Query(Box::new(stream)), held: None }
    }

    pub(super) fn hold(&mut self, guard: Box<dyn Any>) {
        self.held = Some(guard);
    }

    /// The next batch; `None` at the end. Batches are never empty. After an error the stream is over.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let batch = match &mut self.stream {
                RowStream::Ready(batches) => batches.pop_front(),
                RowStream::Query(stream) => stream.next().await.transpose()?,
            };
            match batch {
                Some(batch) if batch.num_rows() == 0 => continue,
                other => return Ok(other),
            }
        }
    }
}

/// A prepared statement's shape, for the reply to COM_STMT_PREPARE.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub id: u32,
    /// Count of `?`.
    pub params: usize,
    /// Result columns; empty for statements without rows.
    pub columns: Vec<ColumnMeta>,
}

/// A bound parameter of a prepared statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    Null,
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Date { year: u16, month: u8, day: u8 },
    DateTime { year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8, micros: u32 },
    Time { negative: bool, days: u32, hours: u8, minutes: u8, seconds: u8, micros: u32 },
}

/// What the OK and EOF packets' status flags say of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerStatus {
    pub autocommit: bool,
    pub in_transaction: bool,
}

impl SqlType {
    /// The type of a stored column.
    pub fn of_column(ty: ColumnType) -> SqlType {
        match ty {
            ColumnType::Boolean => SqlType::Boolean,
            ColumnType::TinyInt => SqlType::TinyInt,
            ColumnType::SmallInt => SqlType::SmallInt,
            ColumnType::Int => SqlType::Int,
            ColumnType::BigInt => SqlType::BigInt,
            ColumnType::LargeInt => SqlType::LargeInt,
            ColumnType::Float => SqlType::Float,
            ColumnType::Double => SqlType::Double,
            ColumnType::Decimal { precision, scale } => SqlType::Decimal { precision, scale: scale as i8 },
            ColumnType::Date => SqlType::Date,
            ColumnType::DateTime => SqlType::DateTime,
            ColumnType::Char(length) => SqlType::Char(length),
            ColumnType::Varchar(length) => SqlType::Varchar(length),
        }
    }

    /// The SQL type that shows an Arrow type of a plan's output.
    pub fn of_arrow(ty: &DataType) -> SqlType {
        match ty {
            DataType::Null => SqlType::Null,
            DataType::Boolean => SqlType::Boolean,
            DataType::Int8 => SqlType::TinyInt,
            DataType::Int16 | DataType::UInt8 => SqlType::SmallInt,
            DataType::Int32 | DataType::UInt16 => SqlType::Int,
            DataType::Int64 | DataType::UInt32 => SqlType::BigInt,
            DataType::UInt64 => SqlType::LargeInt,
            DataType::Float16 | DataType::Float32 => SqlType::Float,
            DataType::Float64 => SqlType::Double,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
                SqlType::Decimal { precision: *p, scale: *s }
            }
            DataType::Decimal256(39, 0) => SqlType::LargeInt,
            DataType::Decimal256(p, s) => SqlType::Decimal { precision: *p, scale: *s },
            DataType::Date32 | DataType::Date64 => SqlType::Date,
            DataType::Timestamp(..) => SqlType::DateTime,
            DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) => SqlType::Time,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                SqlType::Binary
            }
            DataType::Dictionary(_, values) => SqlType::of_arrow(values),
            _ => SqlType::Varchar(65_533),
        }
    }
}
