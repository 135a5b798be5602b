//! The SHOW statements (starrocks.md 8.2, clients.md 3.3).

use super::parser::StatementParser;
use super::statement::{Show, ShowFilter, ShowKind, Statement};
use crate::error::{EngineError, Result};

impl StatementParser {
    pub(super) fn show(&mut self) -> Result<Statement> {
        self.p.advance_token();
        let kind = self.show_kind()?;
        let filter = self.show_filter()?;
        // ORDER BY and LIMIT of the administrative forms: their rows are few.
        if self.at_words(&["ORDER"]) || self.at_words(&["LIMIT"]) {
            self.skip_rest();
        }
        Ok(Statement::Show(Show { kind, filter }))
    }

    fn show_kind(&mut self) -> Result<ShowKind> {
        let (mut full, mut global, mut verbose) = (false, false, false);
        while let Some(word) = self.word(0) {
            match word.as_str() {
                "FULL" => full = true,
                "GLOBAL" => global = true,
                "VERBOSE" => verbose = true,
                "SESSION" | "LOCAL" | "TEMPORARY" | "EXTENDED" | "BUILTIN" => {}
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
                self.skip_rest();
                ShowKind::WarningCount
            }
            "PROCESSLIST" => {
                if self.at_words(&["FOR"]) {
                    self.skip_rest();
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
                self.skip_rest();
                ShowKind::RoutineLoad
            }
            "ALTER" => {
                self.skip_rest();
                ShowKind::AlterTable
            }
            "MATERIALIZED" => {
                self.skip_rest();
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
