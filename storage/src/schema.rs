//! The shape of a tablet's rows: columns, key, sort key, buckets; and the values and predicates that speak of them.
//! Frozen data: built by the engine from the catalog, shared by `Arc`, written in segment footers and the catalog log.

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rkyv::{Archive, Deserialize, Serialize};
use std::sync::Arc;

/// A SQL type that can be stored.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `BOOLEAN`.
    Boolean,
    /// `TINYINT`, 8 bits.
    TinyInt,
    /// `SMALLINT`, 16 bits.
    SmallInt,
    /// `INT`, 32 bits.
    Int,
    /// `BIGINT`, 64 bits.
    BigInt,
    /// `LARGEINT`, 128 bits: an Arrow `Decimal128(38, 0)` whose values may use all 128 bits.
    LargeInt,
    /// `FLOAT`, 32 bits.
    Float,
    /// `DOUBLE`, 64 bits.
    Double,
    /// `DECIMAL(precision, scale)`, precision 1 to 38.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `DATE`, days since 1970-01-01.
    Date,
    /// `DATETIME`, microseconds since 1970-01-01 00:00:00, no time zone.
    DateTime,
    /// `CHAR(n)`, n in bytes.
    Char(u32),
    /// `VARCHAR(n)`, n in bytes; `STRING` is `VARCHAR(65533)`.
    Varchar(u32),
}

impl ColumnType {
    /// One of each kind, in order: for what has to work with all of them.
    pub const SAMPLES: [ColumnType; 13] = [
        ColumnType::Boolean,
        ColumnType::TinyInt,
        ColumnType::SmallInt,
        ColumnType::Int,
        ColumnType::BigInt,
        ColumnType::LargeInt,
        ColumnType::Float,
        ColumnType::Double,
        ColumnType::Decimal { precision: 10, scale: 2 },
        ColumnType::Date,
        ColumnType::DateTime,
        ColumnType::Char(20),
        ColumnType::Varchar(65533),
    ];

    /// The Arrow type in which storage keeps it.
    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::TinyInt => DataType::Int8,
            ColumnType::SmallInt => DataType::Int16,
            ColumnType::Int => DataType::Int32,
            ColumnType::BigInt => DataType::Int64,
            ColumnType::LargeInt => DataType::Decimal128(38, 0),
            ColumnType::Float => DataType::Float32,
            ColumnType::Double => DataType::Float64,
            ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            ColumnType::Date => DataType::Date32,
            ColumnType::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
            ColumnType::Char(_) | ColumnType::Varchar(_) => DataType::Utf8,
        }
    }

    /// Whether values are strings.
    pub fn is_string(self) -> bool {
        matches!(self, ColumnType::Char(_) | ColumnType::Varchar(_))
    }

    /// Whether values are integers of up to 64 bits (BOOLEAN not included).
    pub fn is_integer(self) -> bool {
        matches!(self, ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt)
    }
}

/// What a column holds when a load does not name it.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum DefaultValue {
    /// `DEFAULT "text"`: cast to the column's type.
    Literal(String),
    /// `DEFAULT NULL`, or no default on a nullable column.
    Null,
    /// `DEFAULT CURRENT_TIMESTAMP[(p)]`: one value per statement.
    CurrentTimestamp(u8),
}

/// One column.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Column {
    /// Stays with the column when it is renamed; never reused within a table.
    pub id: u32,
    /// As the user wrote it; compared without case.
    pub name: String,
    /// Its type.
    pub ty: ColumnType,
    /// Whether NULL may be stored.
    pub nullable: bool,
    /// What a load that does not name it stores; `None`: such a load is an error when the column is not nullable.
    pub default: Option<DefaultValue>,
    /// The user's comment, shown by SHOW CREATE TABLE.
    pub comment: String,
}

/// How rows with equal keys live together.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// All rows are kept.
    Duplicate,
    /// The last row of a key wins; delete and insert by the primary index.
    PrimaryKey,
}

/// The rows of a tablet.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct TabletSchema {
    /// Counts up with every ALTER; log records and segments say under which they were written.
    pub version: u32,
    /// How equal keys live together.
    pub kind: TableKind,
    /// All columns in table order; the key columns are the first `key_columns`.
    pub columns: Vec<Column>,
    /// How many of the first columns make the key (0 is allowed for Duplicate).
    pub key_columns: u32,
    /// Column positions of the sort key, in order (the key columns unless ORDER BY says otherwise).
    pub sort_columns: Vec<u32>,
    /// Column positions whose values choose the bucket, in order; empty: random distribution.
    pub bucket_columns: Vec<u32>,
}

impl TabletSchema {
    /// The Arrow schema of a batch of full rows.
    pub fn arrow(&self) -> SchemaRef {
        let field = |c: &Column| Field::new(&c.name, c.ty.arrow(), c.nullable);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// Position of a column by name, without case.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name.eq_ignore_ascii_case(name))
    }

    /// Positions of the key columns.
    pub fn key_positions(&self) -> Vec<usize> {
        (0..self.key_columns as usize).collect()
    }

    /// Positions of the sort key.
    pub fn sort_positions(&self) -> Vec<usize> {
        self.sort_columns.iter().map(|&c| c as usize).collect()
    }

    /// Positions of the bucket columns.
    pub fn bucket_positions(&self) -> Vec<usize> {
        self.bucket_columns.iter().map(|&c| c as usize).collect()
    }
}

/// One value, as predicates and zone maps hold it. Ordered within a variant; across variants no order is defined.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Scalar {
    /// BOOLEAN.
    Bool(bool),
    /// TINYINT to BIGINT, DATE (days) and DATETIME (microseconds).
    Int(i64),
    /// LARGEINT and DECIMAL (unscaled, in the column's scale).
    Wide(i128),
    /// FLOAT and DOUBLE.
    Float(f64),
    /// CHAR and VARCHAR, compared by bytes.
    Text(String),
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Scalar) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Scalar::Bool(a), Scalar::Bool(b)) => a.partial_cmp(b),
            (Scalar::Int(a), Scalar::Int(b)) => a.partial_cmp(b),
            (Scalar::Wide(a), Scalar::Wide(b)) => a.partial_cmp(b),
            (Scalar::Float(a), Scalar::Float(b)) => a.partial_cmp(b),
            (Scalar::Text(a), Scalar::Text(b)) => a.partial_cmp(b),
            _ => None,
        }
    }
}

/// A comparison.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// A condition that storage evaluates itself, exactly, under SQL's three-valued logic (NULL does not match). A list of
/// them is a conjunction. Values are of the column's own type: the planner casts before it pushes down.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum Predicate {
    /// `column op value`
    Compare {
        /// Column position.
        column: u32,
        /// The comparison.
        op: CompareOp,
        /// The value, never NULL.
        value: Scalar,
    },
    /// `column IN (values)`
    In {
        /// Column position.
        column: u32,
        /// The values, none of them NULL.
        values: Vec<Scalar>,
    },
    /// `column NOT IN (values)`
    NotIn {
        /// Column position.
        column: u32,
        /// The values, none of them NULL.
        values: Vec<Scalar>,
    },
    /// `column LIKE 'prefix%'`
    Prefix {
        /// Column position.
        column: u32,
        /// The prefix.
        prefix: String,
    },
    /// `column IS NULL`
    IsNull {
        /// Column position.
        column: u32,
    },
    /// `column IS NOT NULL`
    IsNotNull {
        /// Column position.
        column: u32,
    },
}

impl Predicate {
    /// The column it speaks of.
    pub fn column(&self) -> usize {
        match self {
            Predicate::Compare { column, .. }
            | Predicate::In { column, .. }
            | Predicate::NotIn { column, .. }
            | Predicate::Prefix { column, .. }
            | Predicate::IsNull { column }
            | Predicate::IsNotNull { column } => *column as usize,
        }
    }
}
