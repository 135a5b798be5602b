//! CREATE and DROP: StarRocks' clauses in their fixed order (starrocks.md 1.2). What a clause means for a table is decided in `session/create_table.rs`.

use sqlparser::ast;
use sqlparser::tokenizer::Token;
use starling_storage::schema::{ColumnType, DefaultValue, TableKind};

use super::parser::StatementParser;
use super::statement::{ColumnDef, CreateTable, Distribution, KeyClause, Statement};
use crate::error::{EngineError, Result};

/// Bytes of `STRING` and of `VARCHAR` without a length in CAST.
pub const STRING_BYTES: u32 = 65_533;
const VARCHAR_BYTES_MAX: u64 = 1_048_576;
const CHAR_BYTES_MAX: u64 = 255;

impl StatementParser {
    pub(super) fn create(&mut self) -> Result<Statement> {
        self.p.advance_token();
        match self.word(0).as_deref() {
            Some("TABLE") => {
                self.p.advance_token();
                self.create_table()
            }
            Some("DATABASE" | "SCHEMA") => {
                self.p.advance_token();
                let if_not_exists = self.if_not_exists();
                let name = self.database_name()?;
                // CHARSET, COLLATE and PROPERTIES change nothing here.
                self.skip_rest();
                Ok(Statement::CreateDatabase { name, if_not_exists })
            }
            Some(other) => Err(EngineError::unsupported(format!("CREATE {other}"))),
            None => self.unexpected("TABLE or DATABASE"),
        }
    }

    pub(super) fn drop(&mut self) -> Result<Statement> {
        self.p.advance_token();
        match self.word(0).as_deref() {
            Some("TABLE") => {
                self.p.advance_token();
                let if_exists = self.if_exists();
                let mut names = vec![self.table_name()?];
                while self.p.consume_token(&Token::Comma) {
                    names.push(self.table_name()?);
                }
                self.accept(&["FORCE"]);
                Ok(Statement::DropTable { names, if_exists })
            }
            Some("DATABASE" | "SCHEMA") => {
                self.p.advance_token();
                let if_exists = self.if_exists();
                let name = self.database_name()?;
                self.accept(&["FORCE"]);
                Ok(Statement::DropDatabase { name, if_exists })
            }
            Some("PREPARE") => {
                self.p.advance_token();
                Ok(Statement::Deallocate(self.identifier()?))
            }
            Some(other) => Err(EngineError::unsupported(format!("DROP {other}"))),
            None => self.unexpected("TABLE or DATABASE"),
        }
    }

    fn create_table(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.table_name()?;
        if self.at_words(&["LIKE"]) {
            return Err(EngineError::unsupported("CREATE TABLE ... LIKE"));
        }
        if self.at_words(&["AS"]) || self.at_words(&["SELECT"]) {
            return Err(EngineError::unsupported(
                "CREATE TABLE ... AS SELECT; create the table, then INSERT ... SELECT",
            ));
        }
        let (columns, mut key) = self.column_defs()?;
        if self.accept(&["ENGINE"]) {
            self.skip(&Token::Eq);
            let engine = self.name_or_string()?;
            if !engine.eq_ignore_ascii_case("olap") && !engine.eq_ignore_ascii_case("starrocks") {
                return Err(EngineError::new(1286, b"42000", format!("Unknown storage engine '{engine}'; use OLAP")));
            }
        }
        self.skip_charset()?;
        if let Some(clause) = self.key_clause()?
            && key.replace(clause).is_some()
        {
            return Err(EngineError::syntax("the key is given twice"));
        }
        let comment = if self.accept(&["COMMENT"]) {
            self.skip(&Token::Eq);
            self.string()?
        } else {
            String::new()
        };
        if self.at_words(&["PARTITION", "BY"]) {
            return Err(EngineError::unsupported("PARTITION BY is not supported yet; leave the clause out"));
        }
        let distribution = self.distribution()?;
        let order_by = if self.accept(&["ORDER", "BY"]) { self.order_columns()? } else { Vec::new() };
        if self.at_words(&["ROLLUP"]) {
            return Err(EngineError::unsupported("ROLLUP"));
        }
        let properties = if self.accept(&["PROPERTIES"]) { self.properties()? } else { Vec::new() };
        Ok(Statement::CreateTable(CreateTable {
            name,
            if_not_exists,
            columns,
            key,
            comment,
            distribution,
            order_by,
            properties,
        }))
    }

    fn skip_charset(&mut self) -> Result<()> {
        self.accept(&["DEFAULT"]);
        if self.accept(&["CHARSET"]) || self.accept(&["CHARACTER", "SET"]) {
            self.skip(&Token::Eq);
            self.name_or_string()?;
        }
        Ok(())
    }

    fn key_clause(&mut self) -> Result<Option<KeyClause>> {
        let kind = if self.accept(&["PRIMARY", "KEY"]) {
            TableKind::PrimaryKey
        } else if self.accept(&["DUPLICATE", "KEY"]) {
            TableKind::Duplicate
        } else if self.at_words(&["AGGREGATE", "KEY"]) || self.at_words(&["UNIQUE", "KEY"]) {
            return Err(EngineError::unsupported(
                "AGGREGATE KEY and UNIQUE KEY tables; use PRIMARY KEY or DUPLICATE KEY",
            ));
        } else {
            return Ok(None);
        };
        Ok(Some(KeyClause { kind, columns: self.identifier_list()? }))
    }

    fn distribution(&mut self) -> Result<Option<Distribution>> {
        if !self.accept(&["DISTRIBUTED", "BY"]) {
            return Ok(None);
        }
        let columns = if self.accept(&["RANDOM"]) {
            Vec::new()
        } else {
            self.expect(&["HASH"])?;
            self.identifier_list()?
        };
        let buckets = match self.accept(&["BUCKETS"]) {
            true if self.accept(&["AUTO"]) => None,
            true => Some(u32::try_from(self.integer()?).unwrap_or(u32::MAX)),
            false => None,
        };
        Ok(Some(Distribution { columns, buckets }))
    }

    fn order_columns(&mut self) -> Result<Vec<String>> {
        self.parenthesized(|p| {
            let name = p.identifier()?;
            p.accept(&["ASC"]);
            if p.at_words(&["DESC"]) {
                return Err(EngineError::unsupported("a descending sort key"));
            }
            Ok(name)
        })
    }

    /// The columns, and the key where MySQL's inline forms give it.
    fn column_defs(&mut self) -> Result<(Vec<ColumnDef>, Option<KeyClause>)> {
        self.p.expect_token(&Token::LParen)?;
        let (mut columns, mut key) = (Vec::new(), None);
        loop {
            if self.at_words(&["INDEX"]) {
                return Err(EngineError::unsupported("secondary indexes; leave the INDEX clause out"));
            }
            match self.at_inline_key() {
                true => key = self.key_clause()?,
                false => columns.push(self.column_def()?),
            }
            if !self.p.consume_token(&Token::Comma) {
                break;
            }
        }
        self.p.expect_token(&Token::RParen)?;
        Ok((columns, key))
    }

    fn at_inline_key(&self) -> bool {
        self.at_words(&["PRIMARY", "KEY"]) && self.p.peek_nth_token_ref(2).token == Token::LParen
    }

    fn column_def(&mut self) -> Result<ColumnDef> {
        let name = self.identifier()?;
        let ty = self.column_type()?;
        if self.accept(&["CHARSET"]) || self.accept(&["CHARACTER", "SET"]) || self.accept(&["COLLATE"]) {
            self.name_or_string()?;
        }
        // `KEY` beside a column belongs to old tables; the key clause decides.
        self.accept(&["KEY"]);
        self.refuse_column_clauses()?;
        let nullable = self.nullability();
        let default = if self.accept(&["DEFAULT"]) { Some(self.default_value()?) } else { None };
        self.refuse_column_clauses()?;
        // MySQL's order of the two is taken as well.
        let nullable = nullable.or_else(|| self.nullability());
        let comment = if self.accept(&["COMMENT"]) { self.string()? } else { String::new() };
        Ok(ColumnDef { name, ty, nullable, default, comment })
    }

    fn refuse_column_clauses(&self) -> Result<()> {
        for (word, what) in [
            ("AUTO_INCREMENT", "AUTO_INCREMENT"),
            ("AS", "generated columns"),
            ("GENERATED", "generated columns"),
            ("SUM", "aggregate functions of columns"),
            ("MIN", "aggregate functions of columns"),
            ("MAX", "aggregate functions of columns"),
            ("REPLACE", "aggregate functions of columns"),
            ("REPLACE_IF_NOT_NULL", "aggregate functions of columns"),
            ("BITMAP_UNION", "aggregate functions of columns"),
            ("HLL_UNION", "aggregate functions of columns"),
        ] {
            if self.at_words(&[word]) {
                return Err(EngineError::unsupported(what));
            }
        }
        Ok(())
    }

    fn nullability(&mut self) -> Option<bool> {
        if self.accept(&["NOT", "NULL"]) {
            Some(false)
        } else if self.accept(&["NULL"]) {
            Some(true)
        } else {
            None
        }
    }

    fn default_value(&mut self) -> Result<DefaultValue> {
        if self.accept(&["NULL"]) {
            return Ok(DefaultValue::Null);
        }
        if self.accept(&["CURRENT_TIMESTAMP"]) || self.accept(&["NOW"]) {
            let precision = if self.p.consume_token(&Token::LParen) {
                let precision = match self.p.peek_token_ref().token {
                    Token::RParen => 0,
                    _ => self.integer()?,
                };
                self.p.expect_token(&Token::RParen)?;
                precision
            } else {
                0
            };
            if precision > 6 {
                return Err(EngineError::analyze(format!(
                    "precision {precision} of CURRENT_TIMESTAMP is not within 0 to 6"
                )));
            }
            return Ok(DefaultValue::CurrentTimestamp(precision as u8));
        }
        let negative = self.p.consume_token(&Token::Minus);
        match self.p.next_token().token {
            Token::SingleQuotedString(text) if !negative => Ok(DefaultValue::Literal(text)),
            Token::Number(text, _) if negative => Ok(DefaultValue::Literal(format!("-{text}"))),
            Token::Number(text, _) => Ok(DefaultValue::Literal(text)),
            Token::Word(word) if !negative && word.value.eq_ignore_ascii_case("true") => {
                Ok(DefaultValue::Literal("1".to_string()))
            }
            Token::Word(word) if !negative && word.value.eq_ignore_ascii_case("false") => {
                Ok(DefaultValue::Literal("0".to_string()))
            }
            Token::LParen => {
                Err(EngineError::unsupported("expressions as defaults; use a constant or CURRENT_TIMESTAMP"))
            }
            _ => {
                self.p.prev_token();
                self.unexpected("a default value")
            }
        }
    }

    /// The type of a stored column.
    fn column_type(&mut self) -> Result<ColumnType> {
        let Some(word) = self.word(0) else { return self.unexpected("a type") };
        self.p.advance_token();
        let ty = match word.as_str() {
            "BOOLEAN" | "BOOL" => ColumnType::Boolean,
            "TINYINT" => self.with_width(ColumnType::TinyInt)?,
            "SMALLINT" => self.with_width(ColumnType::SmallInt)?,
            "INT" | "INTEGER" => self.with_width(ColumnType::Int)?,
            "BIGINT" => self.with_width(ColumnType::BigInt)?,
            "LARGEINT" => self.with_width(ColumnType::LargeInt)?,
            "FLOAT" => ColumnType::Float,
            "DOUBLE" => ColumnType::Double,
            "DECIMAL" | "NUMERIC" | "NUMBER" | "DEC" => self.decimal((10, 0), 38)?,
            "DECIMALV2" => self.decimal((27, 9), 27)?,
            "DECIMAL32" => self.decimal((9, 0), 9)?,
            "DECIMAL64" => self.decimal((18, 0), 18)?,
            "DECIMAL128" => self.decimal((38, 0), 38)?,
            "DATE" => ColumnType::Date,
            "DATETIME" => self.with_width(ColumnType::DateTime)?,
            "CHAR" => ColumnType::Char(self.length("CHAR", CHAR_BYTES_MAX)?),
            "VARCHAR" => ColumnType::Varchar(self.length("VARCHAR", VARCHAR_BYTES_MAX)?),
            "STRING" | "TEXT" => ColumnType::Varchar(STRING_BYTES),
            "BINARY" | "VARBINARY" | "JSON" | "BITMAP" | "HLL" | "PERCENTILE" | "ARRAY" | "MAP" | "STRUCT"
            | "VARIANT" | "DECIMAL256" => return Err(EngineError::unsupported(format!("columns of type {word}"))),
            "TIMESTAMP" => return Err(EngineError::analyze("there is no column type TIMESTAMP; use DATETIME")),
            _ => {
                self.p.prev_token();
                return self.unexpected("a type");
            }
        };
        if self.at_words(&["UNSIGNED"]) {
            return Err(EngineError::analyze(format!(
                "{word} UNSIGNED is no column type; use the next wider signed type"
            )));
        }
        self.accept(&["SIGNED"]);
        Ok(ty)
    }

    /// A display width says nothing.
    fn with_width(&mut self, ty: ColumnType) -> Result<ColumnType> {
        if self.p.consume_token(&Token::LParen) {
            self.integer()?;
            self.p.expect_token(&Token::RParen)?;
        }
        Ok(ty)
    }

    fn decimal(&mut self, default: (u64, u64), precision_max: u64) -> Result<ColumnType> {
        let (mut precision, mut scale) = default;
        if self.p.consume_token(&Token::LParen) {
            (precision, scale) = (self.integer()?, 0);
            if self.p.consume_token(&Token::Comma) {
                scale = self.integer()?;
            }
            self.p.expect_token(&Token::RParen)?;
        }
        if precision == 0 || precision > precision_max {
            return Err(EngineError::analyze(format!(
                "DECIMAL's precision should be between 1 and {precision_max}, and is {precision}"
            )));
        }
        if scale > precision {
            return Err(EngineError::analyze(format!(
                "DECIMAL's scale should be less than or equal to precision {precision}, and is {scale}"
            )));
        }
        Ok(ColumnType::Decimal { precision: precision as u8, scale: scale as u8 })
    }

    /// `(n)` in bytes; 1 if there is none, as in StarRocks.
    fn length(&mut self, name: &str, max: u64) -> Result<u32> {
        if !self.p.consume_token(&Token::LParen) {
            return Ok(1);
        }
        let length = match self.accept(&["MAX"]) || self.p.consume_token(&Token::Mul) {
            true => max,
            false => self.integer()?,
        };
        self.p.expect_token(&Token::RParen)?;
        if length == 0 || length > max {
            return Err(EngineError::analyze(format!(
                "{name} size must be between 1 and {max} bytes, and is {length}"
            )));
        }
        Ok(length as u32)
    }

    /// UPDATE and DELETE.
    pub(super) fn change(&mut self, with: Option<ast::With>) -> Result<Statement> {
        match self.word(0).as_deref() {
            Some("UPDATE") => self.update(with),
            _ => self.delete(with),
        }
    }
}
