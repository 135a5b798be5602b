//! UPDATE and DELETE: the FROM and USING forms of StarRocks (starrocks.md 3.2, 3.3).

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::parser::StatementParser;
use super::statement::{Delete, Statement, Update};
use crate::error::{EngineError, Result};

impl StatementParser {
    pub(super) fn update(&mut self, with: Option<ast::With>) -> Result<Statement> {
        self.expect(&["UPDATE"])?;
        let table = self.table_name()?;
        self.refuse_partition_clause()?;
        let alias = self.alias(&["SET"])?;
        self.expect(&["SET"])?;
        let mut assignments = vec![self.update_assignment()?];
        while self.p.consume_token(&Token::Comma) {
            assignments.push(self.update_assignment()?);
        }
        let from = if self.accept(&["FROM"]) { self.relations()? } else { Vec::new() };
        let selection = if self.accept(&["WHERE"]) { Some(self.p.parse_expr()?) } else { None };
        if self.at_words(&["ORDER"]) || self.at_words(&["LIMIT"]) {
            return Err(EngineError::unsupported("ORDER BY and LIMIT in UPDATE"));
        }
        Ok(Statement::Update(Update { table, alias, assignments, from, selection, with }))
    }

    pub(super) fn delete(&mut self, with: Option<ast::With>) -> Result<Statement> {
        self.expect(&["DELETE"])?;
        self.expect(&["FROM"])?;
        let table = self.table_name()?;
        self.refuse_partition_clause()?;
        let alias = self.alias(&["USING", "WHERE", "ORDER", "LIMIT"])?;
        let using = if self.accept(&["USING"]) { self.relations()? } else { Vec::new() };
        let selection = if self.accept(&["WHERE"]) { Some(self.p.parse_expr()?) } else { None };
        if self.at_words(&["ORDER"]) || self.at_words(&["LIMIT"]) {
            return Err(EngineError::unsupported("ORDER BY and LIMIT in DELETE"));
        }
        Ok(Statement::Delete(Delete { table, alias, using, selection, with }))
    }

    fn alias(&mut self, not: &[&str]) -> Result<Option<String>> {
        if self.accept(&["AS"]) {
            return Ok(Some(self.identifier()?));
        }
        match &self.p.peek_token_ref().token {
            Token::Word(word) if word.quote_style.is_some() => Ok(Some(self.identifier()?)),
            Token::Word(word) if !not.iter().any(|n| word.value.eq_ignore_ascii_case(n)) => {
                Ok(Some(self.identifier()?))
            }
            _ => Ok(None),
        }
    }

    /// `column = expr | DEFAULT`; a qualifier before the column is dropped.
    fn update_assignment(&mut self) -> Result<(String, super::statement::InsertValue)> {
        let mut column = self.identifier()?;
        while self.p.consume_token(&Token::Period) {
            column = self.identifier()?;
        }
        self.p.expect_token(&Token::Eq)?;
        Ok((column, self.insert_value()?))
    }

    fn relations(&mut self) -> Result<Vec<ast::TableWithJoins>> {
        let mut relations = vec![self.p.parse_table_and_joins()?];
        while self.p.consume_token(&Token::Comma) {
            relations.push(self.p.parse_table_and_joins()?);
        }
        Ok(relations)
    }
}
