//! SET in its many forms (clients.md 3.2).

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::parser::StatementParser;
use super::statement::{Assignment, Statement};
use crate::error::Result;

impl StatementParser {
    pub(super) fn set(&mut self) -> Result<Statement> {
        self.p.advance_token();
        let mut assignments = vec![self.assignment()?];
        while self.p.consume_token(&Token::Comma) {
            assignments.push(self.assignment()?);
        }
        Ok(Statement::Set(assignments))
    }

    fn assignment(&mut self) -> Result<Assignment> {
        let scope = self.word(0).filter(|w| matches!(w.as_str(), "GLOBAL" | "SESSION" | "LOCAL" | "PERSIST"));
        if scope.is_some() {
            self.p.advance_token();
        }
        match self.word(0).as_deref() {
            Some("TRANSACTION" | "PASSWORD" | "ROLE" | "CATALOG" | "DEFAULT" | "PROPERTY" | "WAREHOUSE")
                if !self.is_assignment(1) =>
            {
                self.skip_rest();
                return Ok(Assignment::Ignored);
            }
            Some("NAMES") if !self.is_assignment(1) => return self.set_names(),
            Some("CHARSET") if !self.is_assignment(1) => return self.set_charset(1),
            Some("CHARACTER") if self.at_words(&["CHARACTER", "SET"]) => return self.set_charset(2),
            _ => {}
        }
        self.variable(scope.is_some_and(|s| s == "GLOBAL"))
    }

    fn is_assignment(&self, at: usize) -> bool {
        matches!(self.p.peek_nth_token_ref(at).token, Token::Eq | Token::Assignment)
    }

    fn set_names(&mut self) -> Result<Assignment> {
        self.p.advance_token();
        if self.accept(&["DEFAULT"]) {
            return Ok(Assignment::Names { charset: None, collation: None });
        }
        let charset = Some(self.name_or_string()?);
        let collation = if self.accept(&["COLLATE"]) { Some(self.name_or_string()?) } else { None };
        Ok(Assignment::Names { charset, collation })
    }

    fn set_charset(&mut self, words: usize) -> Result<Assignment> {
        (0..words).for_each(|_| self.p.advance_token());
        let charset = match self.accept(&["DEFAULT"]) {
            true => None,
            false => Some(self.name_or_string()?),
        };
        Ok(Assignment::Names { charset, collation: None })
    }

    /// `[@@[session.|global.]]name = value` or `@name = value`.
    fn variable(&mut self, mut global: bool) -> Result<Assignment> {
        let mut name = self.identifier()?;
        while self.p.consume_token(&Token::Period) {
            let scope = name.trim_start_matches('@').to_ascii_lowercase();
            global |= scope == "global";
            name = format!("@@{}", self.identifier()?);
        }
        if !self.p.consume_token(&Token::Eq) {
            self.p.expect_token(&Token::Assignment)?;
        }
        if let Some(user) = name.strip_prefix('@').filter(|n| !n.starts_with('@')) {
            let name = user.to_ascii_lowercase();
            return Ok(Assignment::User { name, value: self.p.parse_expr()? });
        }
        let name = name.trim_start_matches('@').to_ascii_lowercase();
        if self.accept(&["DEFAULT"]) {
            return Ok(Assignment::Variable { global, name, value: None });
        }
        let value = match self.word(0).as_deref() {
            // ON and BINARY do not begin expressions.
            Some(word @ ("ON" | "OFF" | "BINARY")) if !matches!(self.p.peek_nth_token_ref(1).token, Token::LParen) => {
                self.p.advance_token();
                ast::Expr::value(ast::Value::SingleQuotedString(word.to_string()))
            }
            _ => self.p.parse_expr()?,
        };
        Ok(Assignment::Variable { global, name, value: Some(value) })
    }
}
