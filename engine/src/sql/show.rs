//! The SHOW statements (starrocks.md 8.2, clients.md 3.3).

use sqlparser::tokenizer::Token;

use super::parser::StatementParser;
use super::statement::{Show, ShowFilter, ShowKind, Statement};
use crate::error::{EngineError, Result};

impl StatementParser {
    pub(super) fn show(&mut self) -> Result<Statement> {
        self.p.advance_token();
        let kind = self.show_kind()?;
        let mut filter = self.show_filter()?;
        // Where the grammar has them; elsewhere they are what comes behind the end of the statement.
        let lists_objects = matches!(
            kind,
            ShowKind::Partitions(_)
                | ShowKind::Tablets(_)
                | ShowKind::Load
                | ShowKind::RoutineLoad
                | ShowKind::AlterTable
        );
        if lists_objects {
            filter.order_by = self.show_order()?;
        }
        if lists_objects || matches!(kind, ShowKind::Warnings | ShowKind::Errors) {
            filter.limit = self.show_limit()?;
        }
        Ok(Statement::Show(Show { kind, filter }))
    }

    /// `ORDER BY column [ASC | DESC], ...`.
    fn show_order(&mut self) -> Result<Vec<(String, bool)>> {
        let mut columns = Vec::new();
        if !self.accept(&["ORDER", "BY"]) {
            return Ok(columns);
        }
        loop {
            let name = self.identifier()?;
            let descending = self.accept(&["DESC"]);
            if !descending {
                self.accept(&["ASC"]);
            }
            columns.push((name, descending));
            if !self.p.consume_token(&Token::Comma) {
                return Ok(columns);
            }
        }
    }

    /// `LIMIT rows`, `LIMIT rows OFFSET passed`, `LIMIT passed, rows`.
    fn show_limit(&mut self) -> Result<Option<(usize, usize)>> {
        if !self.accept(&["LIMIT"]) {
            return Ok(None);
        }
        let first = self.row_count()?;
        Ok(Some(if self.p.consume_token(&Token::Comma) {
            (first, self.row_count()?)
        } else if self.accept(&["OFFSET"]) {
            (self.row_count()?, first)
        } else {
            (0, first)
        }))
    }

    fn row_count(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.integer()?).unwrap_or(usize::MAX))
    }

    fn show_kind(&mut self) -> Result<ShowKind> {
        let (mut full, mut global, mut verbose) = (false, false, false);
        while let Some(word) = self.word(0) {
            match word.as_str() {
                "FULL" => full = true,
                "GLOBAL" => global = true,
                "VERBOSE" => verbose = true,
                "SESSION" | "LOCAL" | "TEMPORARY" | "EXTENDED" | "BUILTIN" | "ALL" => {}
                _ => break,
            }
            self.p.advance_token();
        }
        let Some(word) = self.word(0) else {
            return self.unexpected("what to show");
        };
        self.p.advance_token();
        Ok(match word.as_str() {
            "DATABASES" | "SCHEMAS" => {
                if self.accept(&["FROM"]) || self.accept(&["IN"]) {
                    self.identifier()?;
                }
                ShowKind::Databases
            }
            "TABLES" => ShowKind::Tables { db: self.database_named()?, full },
            "TABLE" => {
                self.expect(&["STATUS"])?;
                ShowKind::TableStatus { db: self.database_named()? }
            }
            "COLUMNS" | "FIELDS" => ShowKind::Columns { table: self.table_named()?, full },
            "INDEX" | "INDEXES" | "KEY" | "KEYS" => ShowKind::Index(self.table_named()?),
            "CREATE" => self.show_create()?,
            "VARIABLES" => ShowKind::Variables { global, verbose },
            "STATUS" => ShowKind::Status,
            "WARNINGS" => ShowKind::Warnings,
            "ERRORS" => ShowKind::Errors,
            "COUNT" => {
                for token in [Token::LParen, Token::Mul, Token::RParen] {
                    self.p.expect_token(&token)?;
                }
                if !self.accept(&["ERRORS"]) {
                    self.expect(&["WARNINGS"])?;
                }
                ShowKind::WarningCount
            }
            "PROCESSLIST" => {
                if self.accept(&["FOR"]) {
                    self.name_or_string()?;
                }
                ShowKind::Processlist { full }
            }
            "ENGINES" | "STORAGE" => {
                self.accept(&["ENGINES"]);
                ShowKind::Engines
            }
            "CHARSET" => ShowKind::Charset,
            "CHARACTER" => {
                self.expect(&["SET"])?;
                ShowKind::Charset
            }
            "COLLATION" => ShowKind::Collation,
            "PLUGINS" => ShowKind::Plugins,
            "PRIVILEGES" => ShowKind::Privileges,
            "GRANTS" => {
                self.skip_rest();
                ShowKind::Grants
            }
            "CATALOGS" => ShowKind::Catalogs,
            "BACKENDS" => ShowKind::Backends,
            "FRONTENDS" => ShowKind::Frontends,
            "COMPUTE" => {
                self.expect(&["NODES"])?;
                ShowKind::ComputeNodes
            }
            "OPEN" => {
                self.expect(&["TABLES"])?;
                self.database_named()?;
                ShowKind::OpenTables
            }
            "TRIGGERS" => {
                self.database_named()?;
                ShowKind::Triggers
            }
            "EVENTS" => {
                self.database_named()?;
                ShowKind::Events
            }
            "FUNCTION" | "PROCEDURE" => {
                self.expect(&["STATUS"])?;
                ShowKind::Routines
            }
            "FUNCTIONS" => {
                self.database_named()?;
                ShowKind::Functions
            }
            "PARTITIONS" => ShowKind::Partitions(self.table_named()?),
            "TABLET" | "TABLETS" => ShowKind::Tablets(self.table_named()?),
            "DATA" => ShowKind::Data {
                table: match self.at_words(&["FROM"]) {
                    true => Some(self.table_named()?),
                    false => None,
                },
            },
            "DELETE" => {
                self.database_named()?;
                ShowKind::Delete
            }
            "LOAD" => {
                self.database_named()?;
                ShowKind::Load
            }
            "ROUTINE" => {
                self.expect(&["LOAD"])?;
                match self.accept(&["FOR"]) {
                    true => drop(self.table_name()?),
                    false => drop(self.database_named()?),
                }
                ShowKind::RoutineLoad
            }
            "ALTER" => {
                self.expect(&["TABLE"])?;
                if !(self.accept(&["ROLLUP"]) || self.accept(&["OPTIMIZE"])) {
                    self.expect(&["COLUMN"])?;
                }
                self.database_named()?;
                ShowKind::AlterTable
            }
            "MATERIALIZED" => {
                if !self.accept(&["VIEWS"]) {
                    self.expect(&["VIEW"])?;
                }
                self.database_named()?;
                ShowKind::MaterializedViews
            }
            other => return Err(EngineError::unsupported(format!("SHOW {other}"))),
        })
    }

    fn show_create(&mut self) -> Result<ShowKind> {
        if self.accept(&["DATABASE"]) || self.accept(&["SCHEMA"]) {
            self.if_not_exists();
            return Ok(ShowKind::CreateDatabase(self.database_name()?));
        }
        self.expect(&["TABLE"])?;
        Ok(ShowKind::CreateTable(self.table_name()?))
    }

    fn database_named(&mut self) -> Result<Option<String>> {
        match self.accept(&["FROM"]) || self.accept(&["IN"]) {
            true => Ok(Some(self.database_name()?)),
            false => Ok(None),
        }
    }

    /// `FROM t [FROM db]`.
    fn table_named(&mut self) -> Result<super::statement::TableName> {
        if !self.accept(&["FROM"]) {
            self.expect(&["IN"])?;
        }
        let mut name = self.table_name()?;
        if let Some(db) = self.database_named()? {
            name.db = Some(db);
        }
        Ok(name)
    }

    fn show_filter(&mut self) -> Result<ShowFilter> {
        let mut filter = ShowFilter::default();
        if self.accept(&["LIKE"]) {
            filter.like = Some(self.string()?);
        } else if self.accept(&["WHERE"]) {
            filter.selection = Some(self.p.parse_expr()?);
        }
        Ok(filter)
    }
}
