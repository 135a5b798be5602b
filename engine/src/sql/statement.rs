//! Statements after parsing: sqlparser's syntax trees for queries and expressions, our own for everything else. `Send`: a statement goes to the planner thread.

use sqlparser::ast;
use starling_storage::schema::{ColumnType, DefaultValue, TableKind};

/// `[db.]table`; a catalog before it must be `default_catalog` and is dropped by the parser.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    pub db: Option<String>,
    pub table: String,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.db {
            Some(db) => write!(f, "{db}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

#[derive(Debug, Clone)]
pub enum Statement {
    /// Nothing but comments.
    Empty,
    Query(Box<ast::Query>),
    Insert(Insert),
    Update(Update),
    Delete(Delete),
    Explain {
        mode: ExplainMode,
        statement: Box<Statement>,
    },
    CreateTable(CreateTable),
    DropTable {
        names: Vec<TableName>,
        if_exists: bool,
    },
    Truncate(TableName),
    CreateDatabase {
        name: String,
        if_not_exists: bool,
    },
    DropDatabase {
        name: String,
        if_exists: bool,
    },
    Use(String),
    Show(Show),
    Describe {
        table: TableName,
        column: Option<String>,
    },
    Set(Vec<Assignment>),
    Kill {
        query_only: bool,
        id: u32,
    },
    Transaction(Transaction),
    /// Accepted for the sake of drivers, and without effect.
    NoOp,
    /// `PREPARE name FROM 'text'`.
    Prepare {
        name: String,
        text: ast::Expr,
    },
    ExecutePrepared {
        name: String,
        using: Vec<String>,
    },
    Deallocate(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainMode {
    Plan,
    Verbose,
    Analyze,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    Begin,
    Commit,
    Rollback,
}

#[derive(Debug, Clone)]
pub struct Insert {
    pub table: TableName,
    pub label: Option<String>,
    pub columns: Vec<String>,
    pub source: InsertSource,
    pub properties: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
pub enum InsertSource {
    Values(Vec<Vec<InsertValue>>),
    Query(Box<ast::Query>),
}

/// One field of a VALUES row.
#[derive(Debug, Clone)]
pub enum InsertValue {
    Default,
    Expr(ast::Expr),
}

#[derive(Debug, Clone)]
pub struct Update {
    pub table: TableName,
    pub alias: Option<String>,
    pub assignments: Vec<(String, InsertValue)>,
    pub from: Vec<ast::TableWithJoins>,
    pub selection: Option<ast::Expr>,
    pub with: Option<ast::With>,
}

#[derive(Debug, Clone)]
pub struct Delete {
    pub table: TableName,
    pub alias: Option<String>,
    pub using: Vec<ast::TableWithJoins>,
    pub selection: Option<ast::Expr>,
    pub with: Option<ast::With>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateTable {
    pub name: TableName,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDef>,
    pub key: Option<KeyClause>,
    pub comment: String,
    pub distribution: Option<Distribution>,
    pub order_by: Vec<String>,
    pub properties: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDef {
    pub name: String,
    pub ty: ColumnType,
    /// `NULL`, `NOT NULL`, or nothing said.
    pub nullable: Option<bool>,
    pub default: Option<DefaultValue>,
    pub comment: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyClause {
    pub kind: TableKind,
    pub columns: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Empty: RANDOM.
    pub columns: Vec<String>,
    pub buckets: Option<u32>,
}

/// `LIKE 'x'` or `WHERE expr`, `ORDER BY` and `LIMIT` of a SHOW statement.
#[derive(Debug, Clone, Default)]
pub struct ShowFilter {
    pub like: Option<String>,
    pub selection: Option<ast::Expr>,
    /// Columns of the result, and whether the greatest come first.
    pub order_by: Vec<(String, bool)>,
    /// Rows passed over, and rows given.
    pub limit: Option<(usize, usize)>,
}

impl ShowFilter {
    /// Whether rows are chosen or ordered by more than LIKE.
    pub fn needs_plan(&self) -> bool {
        self.selection.is_some() || !self.order_by.is_empty() || self.limit.is_some()
    }
}

#[derive(Debug, Clone)]
pub struct Show {
    pub kind: ShowKind,
    pub filter: ShowFilter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShowKind {
    Databases,
    Tables { db: Option<String>, full: bool },
    TableStatus { db: Option<String> },
    Columns { table: TableName, full: bool },
    CreateTable(TableName),
    CreateDatabase(String),
    Index(TableName),
    Variables { global: bool, verbose: bool },
    Status,
    Warnings,
    Errors,
    WarningCount,
    Processlist { full: bool },
    Engines,
    Charset,
    Collation,
    Plugins,
    Privileges,
    Grants,
    Catalogs,
    Backends,
    Frontends,
    ComputeNodes,
    OpenTables,
    Triggers,
    Events,
    Routines,
    Partitions(TableName),
    Tablets(TableName),
    Data { table: Option<TableName> },
    Delete,
    Load,
    RoutineLoad,
    Functions,
    AlterTable,
    MaterializedViews,
}

#[derive(Debug, Clone)]
pub enum Assignment {
    /// `SET [SESSION|GLOBAL] name = value`; no value is DEFAULT.
    Variable { global: bool, name: String, value: Option<ast::Expr> },
    /// `SET @name = expr`.
    User { name: String, value: ast::Expr },
    /// `SET NAMES charset [COLLATE c]` and `SET CHARACTER SET`.
    Names { charset: Option<String>, collation: Option<String> },
    /// Roles, passwords, transaction modes, catalogs: accepted.
    Ignored,
}
