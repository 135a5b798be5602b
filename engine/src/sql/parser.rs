//! From the text of one statement to a [`Statement`]: sqlparser for queries and expressions, the clauses of StarRocks and MySQL by hand on the same tokens.
//! Runs on the session's core; costs about 10 us for a small statement. Errors are 1064 with line and column.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use super::depth;
use super::dialect::StarlingDialect;
use super::labels;
use super::statement::{ExplainMode, Insert, InsertSource, InsertValue, Statement, TableName, Transaction};
use crate::error::{EngineError, Result};

static DIALECT: StarlingDialect = StarlingDialect;

/// Statements longer than this are refused before they are tokenized (INSERT VALUES of literals has its own path and limit).
pub const STATEMENT_BYTES_MAX: usize = 64 << 20;

/// A statement and what came with it.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub statement: Statement,
    /// `SET_VAR` hints, in order.
    pub hints: Vec<(String, String)>,
    /// Count of `?`.
    pub params: usize,
    /// Source texts of the items of the outermost SELECT list.
    pub texts: Option<Vec<String>>,
}

/// Parses one statement. A trailing `;` is allowed; a text without any token is [`Statement::Empty`].
pub fn parse(sql: &str) -> Result<Parsed> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(EngineError::syntax(format!(
            "the statement has {} bytes, more than the limit of {STATEMENT_BYTES_MAX}; split it",
            sql.len()
        )));
    }
    let mut tokens = tokenize(sql)?;
    let deep = depth::depth(&tokens);
    if deep > depth::EXPRESSION_DEPTH_MAX {
        return Err(EngineError::syntax(format!(
            "the expression is {deep} levels deep, more than the limit of {}; use IN lists or a join instead of long OR chains",
            depth::EXPRESSION_DEPTH_MAX
        )));
    }
    let hints = set_var_hints(&tokens);
    let params = number_params(&mut tokens);
    let texts = labels::item_texts(sql, &tokens);
    let mut parser = StatementParser::new(tokens);
    let statement = parser.statement()?;
    parser.skip(&Token::SemiColon);
    parser.end()?;
    Ok(Parsed { statement, hints, params, texts })
}

/// Parses a query.
pub fn parse_query(sql: &str) -> Result<ast::Query> {
    match parse(sql)?.statement {
        Statement::Query(query) => Ok(*query),
        _ => Err(EngineError::syntax("not a query")),
    }
}

/// Parses a bare expression (for tests and tools).
pub fn parse_expression(sql: &str) -> Result<ast::Expr> {
    let mut parser = StatementParser::new(tokenize(sql)?);
    let expr = parser.p.parse_expr()?;
    parser.end()?;
    Ok(expr)
}

pub(super) fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>> {
    let plain = plain_variables(sql);
    let mut tokens =
        Tokenizer::new(&DIALECT, plain.as_deref().unwrap_or(sql)).tokenize_with_location().map_err(|e| {
            EngineError::syntax_at(e.location.line, e.location.column, format!("{} ({})", e.message, near(sql)))
        })?;
    single_quotes(&mut tokens);
    drop_share_lock(&mut tokens);
    Ok(tokens)
}

/// Gives each `?` its number, in the order of the text: `?1`, `?2`.
fn number_params(tokens: &mut [TokenWithSpan]) -> usize {
    let mut count = 0;
    for token in tokens {
        if let Token::Placeholder(name) = &mut token.token
            && name == "?"
        {
            count += 1;
            *name = format!("?{count}");
        }
    }
    count
}

/// `LOCK IN SHARE MODE` at the end asks for nothing that a snapshot does not give, and reads as an alias to sqlparser.
fn drop_share_lock(tokens: &mut Vec<TokenWithSpan>) {
    let plain = |token: &TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF | Token::SemiColon);
    let words: Vec<usize> = (0..tokens.len()).rev().filter(|&n| plain(&tokens[n])).take(4).collect();
    let is = |at: usize, word: &str| match &tokens[at].token {
        Token::Word(w) => w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word),
        _ => false,
    };
    if let [mode, share, within, lock] = words[..]
        && is(lock, "LOCK")
        && is(within, "IN")
        && is(share, "SHARE")
        && is(mode, "MODE")
    {
        tokens.drain(lock..=mode);
    }
}

/// Some clients quote a variable's name behind its `@@`; the tokenizer does not know that form.
fn plain_variables(sql: &str) -> Option<String> {
    if !sql.contains("@@`") {
        return None;
    }
    let mut plain = String::with_capacity(sql.len());
    for (n, part) in sql.split("@@`").enumerate() {
        match part.split_once('`') {
            Some((name, rest)) if n > 0 => plain.extend(["@@", name, rest]),
            _ => plain.push_str(part),
        }
    }
    Some(plain)
}

fn near(sql: &str) -> String {
    let short: String = sql.chars().take(40).collect();
    format!("in the statement that begins '{short}'")
}

/// Double-quoted strings are strings (sql_mode without ANSI_QUOTES): turning the tokens spares every parser the question.
fn single_quotes(tokens: &mut [TokenWithSpan]) {
    for token in tokens {
        if let Token::DoubleQuotedString(text) = &mut token.token {
            token.token = Token::SingleQuotedString(std::mem::take(text));
        }
    }
}

/// `/*+ SET_VAR(a = b, c = 'd') */`, wherever it stands.
fn set_var_hints(tokens: &[TokenWithSpan]) -> Vec<(String, String)> {
    let mut hints = Vec::new();
    for token in tokens {
        let Token::Whitespace(Whitespace::MultiLineComment(body)) = &token.token else { continue };
        let Some(body) = body.strip_prefix('+') else { continue };
        let upper = body.to_ascii_uppercase();
        for (at, _) in upper.match_indices("SET_VAR") {
            let Some(open) = body[at..].find('(') else { continue };
            let Some(close) = body[at + open..].find(')') else { continue };
            for pair in body[at + open + 1..at + open + close].split(',') {
                if let Some((name, value)) = pair.split_once('=') {
                    let value = value.trim().trim_matches(|c| c == '\'' || c == '"');
                    hints.push((name.trim().to_ascii_lowercase(), value.to_string()));
                }
            }
        }
    }
    hints
}

/// sqlparser's parser with words that are no keywords of its.
pub(super) struct StatementParser {
    pub(super) p: Parser<'static>,
}

impl StatementParser {
    fn new(tokens: Vec<TokenWithSpan>) -> StatementParser {
        // The depth of expressions is bounded already; each level costs the parser a few calls of its own.
        let p = Parser::new(&DIALECT)
            .with_recursion_limit(depth::EXPRESSION_DEPTH_MAX * 4)
            .with_tokens_with_locations(tokens);
        StatementParser { p }
    }

    fn end(&mut self) -> Result<()> {
        match &self.p.peek_token_ref().token {
            Token::EOF => Ok(()),
            _ => self.unexpected("end of the statement"),
        }
    }

    /// The nth coming word in upper case, if it is an unquoted word.
    pub(super) fn word(&self, n: usize) -> Option<String> {
        match &self.p.peek_nth_token_ref(n).token {
            Token::Word(w) if w.quote_style.is_none() => Some(w.value.to_ascii_uppercase()),
            _ => None,
        }
    }

    pub(super) fn at_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, word)| match &self.p.peek_nth_token_ref(n).token {
            Token::Word(w) => w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word),
            _ => false,
        })
    }

    pub(super) fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.at_words(words);
        if found {
            words.iter().for_each(|_| self.p.advance_token());
        }
        found
    }

    pub(super) fn expect(&mut self, words: &[&str]) -> Result<()> {
        if self.accept(words) { Ok(()) } else { self.unexpected(&words.join(" ")) }
    }

    /// Takes a token that may be left out.
    pub(super) fn skip(&mut self, token: &Token) {
        if self.p.peek_token_ref().token == *token {
            self.p.advance_token();
        }
    }

    pub(super) fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        Ok(self.p.expected_ref(wanted, self.p.peek_token_ref())?)
    }

    pub(super) fn identifier(&mut self) -> Result<String> {
        match &self.p.peek_token_ref().token {
            Token::Word(_) => Ok(self.p.parse_identifier()?.value),
            _ => self.unexpected("a name"),
        }
    }

    /// A name or a string, as labels and databases come.
    pub(super) fn name_or_string(&mut self) -> Result<String> {
        match &self.p.peek_token_ref().token {
            Token::SingleQuotedString(_) => self.string(),
            _ => self.identifier(),
        }
    }

    pub(super) fn string(&mut self) -> Result<String> {
        match self.p.next_token().token {
            Token::SingleQuotedString(text) => Ok(text),
            _ => {
                self.p.prev_token();
                self.unexpected("a quoted string")
            }
        }
    }

    pub(super) fn integer(&mut self) -> Result<u64> {
        Ok(self.p.parse_literal_uint()?)
    }

    /// `[[catalog.]db.]table`.
    pub(super) fn table_name(&mut self) -> Result<TableName> {
        let mut parts = vec![self.identifier()?];
        while self.p.consume_token(&Token::Period) {
            parts.push(self.identifier()?);
        }
        table_name_of(parts)
    }

    pub(super) fn identifier_list(&mut self) -> Result<Vec<String>> {
        self.parenthesized(|p| p.identifier())
    }

    /// `( item, ... )`.
    pub(super) fn parenthesized<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.p.expect_token(&Token::LParen)?;
        let mut items = vec![item(self)?];
        while self.p.consume_token(&Token::Comma) {
            items.push(item(self)?);
        }
        self.p.expect_token(&Token::RParen)?;
        Ok(items)
    }

    /// `PROPERTIES ("k" = "v", ...)`, the word already taken.
    pub(super) fn properties(&mut self) -> Result<Vec<(String, String)>> {
        self.parenthesized(|p| {
            let key = p.name_or_string()?;
            p.p.expect_token(&Token::Eq)?;
            let value = match p.p.next_token().token {
                Token::SingleQuotedString(text) => text,
                Token::Number(text, _) => text,
                Token::Word(word) => word.value,
                _ => {
                    p.p.prev_token();
                    return p.unexpected("a quoted value");
                }
            };
            Ok((key, value))
        })
    }

    pub(super) fn if_exists(&mut self) -> bool {
        self.accept(&["IF", "EXISTS"])
    }

    pub(super) fn if_not_exists(&mut self) -> bool {
        self.accept(&["IF", "NOT", "EXISTS"])
    }

    /// Takes everything up to the end of the statement.
    pub(super) fn skip_rest(&mut self) {
        while !matches!(self.p.peek_token_ref().token, Token::EOF | Token::SemiColon) {
            self.p.advance_token();
        }
    }

    fn statement(&mut self) -> Result<Statement> {
        let Some(first) = self.word(0) else {
            return match &self.p.peek_token_ref().token {
                Token::EOF | Token::SemiColon => Ok(Statement::Empty),
                Token::LParen => Ok(Statement::Query(self.p.parse_query()?)),
                _ => self.unexpected("a statement"),
            };
        };
        match first.as_str() {
            "SELECT" | "VALUES" => Ok(Statement::Query(self.p.parse_query()?)),
            "WITH" => self.with_statement(),
            "INSERT" => self.insert(),
            "UPDATE" | "DELETE" => self.change(None),
            "EXPLAIN" | "DESC" | "DESCRIBE" => self.explain(),
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            "TRUNCATE" => {
                self.p.advance_token();
                self.accept(&["TABLE"]);
                let name = self.table_name()?;
                self.refuse_partition_clause()?;
                Ok(Statement::Truncate(name))
            }
            "USE" => {
                self.p.advance_token();
                Ok(Statement::Use(self.database_name()?))
            }
            "SHOW" => self.show(),
            "SET" => self.set(),
            "KILL" => self.kill(),
            "BEGIN" | "START" | "COMMIT" | "ROLLBACK" => self.transaction(&first),
            "PREPARE" | "EXECUTE" | "DEALLOCATE" => self.text_prepared(&first),
            "LOCK" | "UNLOCK" | "FLUSH" | "SAVEPOINT" | "RELEASE" | "ANALYZE" | "SYNC" => {
                self.skip_rest();
                Ok(Statement::NoOp)
            }
            "ALTER" | "GRANT" | "REVOKE" | "REFRESH" | "BACKUP" | "RESTORE" | "EXPORT" | "LOAD" | "SUBMIT"
            | "ADMIN" | "CANCEL" | "RECOVER" | "PAUSE" | "RESUME" | "STOP" | "INSTALL" | "UNINSTALL" | "MERGE"
            | "REPLACE" | "CALL" => Err(EngineError::unsupported(format!("{first} statements"))),
            _ => self.unexpected("a statement"),
        }
    }

    /// `db` or `catalog.db`.
    pub(super) fn database_name(&mut self) -> Result<String> {
        let mut parts = vec![self.name_or_string()?];
        while self.p.consume_token(&Token::Period) {
            parts.push(self.name_or_string()?);
        }
        match parts.as_slice() {
            [db] => Ok(database_of(db).to_string()),
            [catalog, db] if catalog.eq_ignore_ascii_case(DEFAULT_CATALOG) => Ok(db.clone()),
            _ => Err(EngineError::unsupported(format!("catalogs other than {DEFAULT_CATALOG}"))),
        }
    }

    pub(super) fn refuse_partition_clause(&self) -> Result<()> {
        if self.at_words(&["PARTITION"]) || self.at_words(&["PARTITIONS"]) || self.at_words(&["TEMPORARY"]) {
            return Err(EngineError::unsupported("partitions"));
        }
        Ok(())
    }

    /// A query, or an UPDATE or DELETE behind its CTEs.
    fn with_statement(&mut self) -> Result<Statement> {
        let at = self.position_after_ctes()?;
        match at {
            Some(with) => self.change(Some(with)),
            None => Ok(Statement::Query(self.p.parse_query()?)),
        }
    }

    /// Parses `WITH ctes` if what follows is UPDATE or DELETE; otherwise leaves the parser where it was.
    fn position_after_ctes(&mut self) -> Result<Option<ast::With>> {
        let with = self.p.maybe_parse(|p| {
            let with_token = p.expect_keyword(Keyword::WITH)?;
            let recursive = p.parse_keyword(Keyword::RECURSIVE);
            let cte_tables = p.parse_comma_separated(Parser::parse_cte)?;
            match p.peek_one_of_keywords(&[Keyword::UPDATE, Keyword::DELETE]) {
                Some(_) => Ok(ast::With { with_token: with_token.into(), recursive, cte_tables }),
                None => p.expected_ref("UPDATE or DELETE", p.peek_token_ref()),
            }
        })?;
        Ok(with)
    }

    fn explain(&mut self) -> Result<Statement> {
        self.p.advance_token();
        let explained = |word: &str| matches!(word, "SELECT" | "WITH" | "INSERT" | "UPDATE" | "DELETE" | "VALUES");
        let mode = match self.word(0).as_deref() {
            Some("ANALYZE") => Some(ExplainMode::Analyze),
            Some("VERBOSE" | "COSTS" | "LOGICAL" | "SCHEDULER" | "EXTENDED") => Some(ExplainMode::Verbose),
            _ => None,
        };
        let target = self.word(usize::from(mode.is_some()));
        let parenthesis = self.p.peek_nth_token_ref(usize::from(mode.is_some())).token == Token::LParen;
        if parenthesis || target.as_deref().is_some_and(explained) {
            if mode.is_some() {
                self.p.advance_token();
            }
            let statement = Box::new(self.statement()?);
            return Ok(Statement::Explain { mode: mode.unwrap_or(ExplainMode::Plan), statement });
        }
        self.accept(&["TABLE"]);
        let table = self.table_name()?;
        let column = match &self.p.peek_token_ref().token {
            Token::EOF | Token::SemiColon => None,
            _ => Some(self.name_or_string()?),
        };
        Ok(Statement::Describe { table, column: column.filter(|c| !c.eq_ignore_ascii_case("ALL")) })
    }

    fn insert(&mut self) -> Result<Statement> {
        self.p.advance_token();
        if self.accept(&["OVERWRITE"]) {
            return Err(EngineError::unsupported("INSERT OVERWRITE"));
        }
        self.accept(&["IGNORE"]);
        self.accept(&["INTO"]);
        self.accept(&["TABLE"]);
        let table = self.table_name()?;
        self.refuse_partition_clause()?;
        let (mut label, mut columns, mut properties) = (None, Vec::new(), Vec::new());
        loop {
            if self.accept(&["WITH", "LABEL"]) {
                label = Some(self.name_or_string()?);
            } else if self.accept(&["PROPERTIES"]) {
                properties = self.properties()?;
            } else if self.at_words(&["BY", "NAME"]) {
                return Err(EngineError::unsupported("INSERT ... BY NAME"));
            } else if columns.is_empty() && self.at_column_list() {
                columns = match self.p.consume_tokens(&[Token::LParen, Token::RParen]) {
                    true => Vec::new(),
                    false => self.identifier_list()?,
                };
            } else {
                break;
            }
        }
        let source = if self.accept(&["VALUES"]) || self.accept(&["VALUE"]) {
            InsertSource::Values(self.value_rows()?)
        } else {
            InsertSource::Query(self.p.parse_query()?)
        };
        if self.at_words(&["ON", "DUPLICATE"]) {
            return Err(EngineError::unsupported(
                "ON DUPLICATE KEY UPDATE; a primary key table replaces rows by itself",
            ));
        }
        Ok(Statement::Insert(Insert { table, label, columns, source, properties }))
    }

    /// Whether a parenthesis opens a column list and not a query.
    fn at_column_list(&self) -> bool {
        if self.p.peek_token_ref().token != Token::LParen {
            return false;
        }
        !matches!(self.word(1).as_deref(), Some("SELECT" | "WITH" | "VALUES"))
            && self.p.peek_nth_token_ref(1).token != Token::LParen
    }

    fn value_rows(&mut self) -> Result<Vec<Vec<InsertValue>>> {
        let mut rows = Vec::new();
        loop {
            self.accept(&["ROW"]);
            if self.p.consume_tokens(&[Token::LParen, Token::RParen]) {
                rows.push(Vec::new());
            } else {
                rows.push(self.parenthesized(|p| p.insert_value())?);
            }
            if !self.p.consume_token(&Token::Comma) {
                return Ok(rows);
            }
        }
    }

    pub(super) fn insert_value(&mut self) -> Result<InsertValue> {
        let bare_default = self.at_words(&["DEFAULT"]) && self.p.peek_nth_token_ref(1).token != Token::LParen;
        if bare_default {
            self.p.advance_token();
            return Ok(InsertValue::Default);
        }
        Ok(InsertValue::Expr(self.p.parse_expr()?))
    }

    fn kill(&mut self) -> Result<Statement> {
        self.p.advance_token();
        let query_only = self.accept(&["QUERY"]);
        self.accept(&["CONNECTION"]);
        let id = match self.p.next_token().token {
            Token::Number(text, _) | Token::SingleQuotedString(text) => text,
            _ => {
                self.p.prev_token();
                return self.unexpected("a connection id");
            }
        };
        let id = id.parse().map_err(|_| EngineError::unknown_thread(&id))?;
        Ok(Statement::Kill { query_only, id })
    }

    fn transaction(&mut self, first: &str) -> Result<Statement> {
        self.p.advance_token();
        let kind = match first {
            "COMMIT" => Transaction::Commit,
            "ROLLBACK" => Transaction::Rollback,
            _ => Transaction::Begin,
        };
        if first == "START" {
            self.expect(&["TRANSACTION"])?;
        }
        self.skip_rest();
        Ok(Statement::Transaction(kind))
    }

    fn text_prepared(&mut self, first: &str) -> Result<Statement> {
        self.p.advance_token();
        match first {
            "PREPARE" => {
                let name = self.identifier()?;
                self.expect(&["FROM"])?;
                Ok(Statement::Prepare { name, text: self.p.parse_expr()? })
            }
            "EXECUTE" => {
                let name = self.identifier()?;
                let mut using = Vec::new();
                if self.accept(&["USING"]) {
                    using.push(self.user_variable()?);
                    while self.p.consume_token(&Token::Comma) {
                        using.push(self.user_variable()?);
                    }
                }
                Ok(Statement::ExecutePrepared { name, using })
            }
            _ => {
                self.expect(&["PREPARE"])?;
                Ok(Statement::Deallocate(self.identifier()?))
            }
        }
    }

    fn user_variable(&mut self) -> Result<String> {
        let name = self.identifier()?;
        match name.strip_prefix('@') {
            Some(name) if !name.starts_with('@') => Ok(name.to_ascii_lowercase()),
            _ => Err(EngineError::syntax(format!("'{name}' is not a user variable; write @name"))),
        }
    }
}

/// The catalog that holds Starling's own databases.
pub const DEFAULT_CATALOG: &str = "default_catalog";

/// The database of `catalog.db`, as drivers put it into one name.
pub fn database_of(name: &str) -> &str {
    match name.split_once('.') {
        Some((catalog, db)) if catalog.eq_ignore_ascii_case(DEFAULT_CATALOG) => db,
        _ => name,
    }
}

pub(super) fn table_name_of(mut parts: Vec<String>) -> Result<TableName> {
    if parts.len() == 3 {
        let catalog = parts.remove(0);
        if !catalog.eq_ignore_ascii_case(DEFAULT_CATALOG) {
            return Err(EngineError::unsupported(format!("catalog '{catalog}'; the only one is {DEFAULT_CATALOG}")));
        }
    }
    match (parts.pop(), parts.pop()) {
        (Some(table), db) if parts.is_empty() => Ok(TableName { db, table }),
        _ => Err(EngineError::syntax("a table name has at most three parts".to_string())),
    }
}

#[cfg(test)]
mod tests;
