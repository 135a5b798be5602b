//! A bound on how deep a statement nests, checked on its tokens before any recursive parser sees them: `OR` chains of 100,000 terms build trees as deep as
//! they are long, and dropping such a tree overflows the stack even where building it did not.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Depth beyond which a statement is refused (error 1064). The stacks of cores and planner threads (`limits::STACK_BYTES`, `limits::PLANNER_STACK_BYTES`) are made for it: a syntax tree
/// is copied, walked and dropped by recursion.
pub const EXPRESSION_DEPTH_MAX: usize = 1_000;

/// The counts of one parenthesis level: operators since the last separator, set operations and joins since its start.
#[derive(Clone, Copy, Default)]
struct Level {
    /// AND, OR, XOR since the last separator.
    logical: usize,
    /// Other operators since the last of those.
    operators: usize,
    /// Joins and set operations since the level began.
    relations: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.logical + self.operators + self.relations
    }

    fn begin_chain(&mut self) {
        (self.logical, self.operators) = (0, 0);
    }
}

/// An upper bound of the depth of the syntax tree: within a pair of parentheses a chain of operators counts each operator once, and commas and clause
/// keywords begin a new chain.
pub fn depth(tokens: &[TokenWithSpan]) -> usize {
    let mut levels = vec![Level::default()];
    let (mut outer, mut deepest) = (0, 0);
    for token in tokens {
        let nested = levels.len() > 1;
        let level = levels.last_mut().expect("the outermost level is never popped");
        match &token.token {
            Token::LParen | Token::LBracket => {
                outer += level.depth() + 1;
                levels.push(Level::default());
            }
            Token::RParen | Token::RBracket if nested => {
                levels.pop();
                let level = levels.last().expect("one level is left");
                outer -= level.depth() + 1;
            }
            Token::Comma | Token::SemiColon => level.begin_chain(),
            Token::Word(word) if word.quote_style.is_none() => count_keyword(level, word.keyword),
            Token::StringConcat | Token::Overlap => count_logical(level),
            token if is_operator(token) => level.operators += 1,
            _ => {}
        }
        let level = levels.last().expect("one level is left");
        deepest = deepest.max(outer + level.depth());
    }
    deepest
}

fn count_keyword(level: &mut Level, keyword: Keyword) {
    match keyword {
        Keyword::OR | Keyword::AND | Keyword::XOR => count_logical(level),
        Keyword::NOT | Keyword::DIV | Keyword::MOD => level.operators += 1,
        Keyword::LIKE | Keyword::REGEXP | Keyword::RLIKE | Keyword::IN | Keyword::IS => level.operators += 1,
        Keyword::BETWEEN | Keyword::CASE | Keyword::BINARY | Keyword::INTERVAL => level.operators += 1,
        Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS | Keyword::JOIN | Keyword::EXPLAIN => {
            level.relations += 1;
            level.begin_chain();
        }
        Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::ORDER => {
            level.begin_chain();
        }
        Keyword::LIMIT | Keyword::VALUES | Keyword::SET | Keyword::ON => level.begin_chain(),
        _ => {}
    }
}

fn count_logical(level: &mut Level) {
    level.logical += 1;
    level.operators = 0;
}

fn is_operator(token: &Token) -> bool {
    matches!(
        token,
        Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Spaceship
            | Token::Ampersand
            | Token::Pipe
            | Token::Caret
            | Token::Tilde
            | Token::ExclamationMark
            | Token::DoubleExclamationMark
            | Token::ShiftLeft
            | Token::ShiftRight
            | Token::DoubleColon
            | Token::Arrow
            | Token::LongArrow
            | Token::Assignment
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::dialect::StarlingDialect;
    use sqlparser::tokenizer::Tokenizer;

    fn of(sql: &str) -> usize {
        depth(&Tokenizer::new(&StarlingDialect, sql).tokenize_with_location().unwrap())
    }

    #[test]
    fn counts_chains_and_nesting_but_not_lists() {
        assert_eq!(of("select 1"), 0);
        assert_eq!(of("select a + b, c + d from t"), 1);
        assert!(of(&format!("select 1 where a = 1 {}", "or a = 1 ".repeat(100_000))) > 100_000);
        assert!(of(&format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000))) >= 5_000);
        assert!(of(&format!("select {} 1", "not ".repeat(5_000))) >= 5_000);
        assert!(of(&format!("select {} 1", "- ".repeat(5_000))) >= 5_000);
        assert!(of(&format!("select 1 {}", "union all select 1 ".repeat(5_000))) >= 5_000);
        assert!(of(&format!("insert into t values {}(1)", "(1, -2, 'x'), ".repeat(5_000))) < 10);
        assert!(of(&format!("select 1 where a in ({}1)", "1,".repeat(100_000))) < 10);
    }
}
