//! Column labels: an expression without alias is labelled by its own text, as written (MySQL), which only the tokens know.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Whitespace};

/// The label of one item of the outermost SELECT list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    Text(String),
    /// `*` or `t.*`: as many columns as it stands for, labelled by their own names.
    Wildcard,
}

/// The source text of each item of the first SELECT list outside parentheses; `None` where the tokens give no clear answer.
pub fn item_texts(sql: &str, tokens: &[TokenWithSpan]) -> Option<Vec<String>> {
    let words: Vec<&TokenWithSpan> = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    if tokens
        .iter()
        .any(|t| matches!(&t.token, Token::Whitespace(Whitespace::MultiLineComment(c)) if c.starts_with('!')))
    {
        return None;
    }
    let start = first_select(&words)?;
    let lines: Vec<usize> = std::iter::once(0).chain(sql.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let (mut texts, mut first, mut nesting) = (Vec::new(), start, 0usize);
    for at in start..=words.len() {
        let token = words.get(at).map(|w| &w.token);
        let end = match token {
            None | Some(Token::EOF | Token::SemiColon) => true,
            Some(Token::LParen | Token::LBracket) => {
                nesting += 1;
                false
            }
            Some(Token::RParen | Token::RBracket) => {
                nesting = nesting.checked_sub(1)?;
                false
            }
            Some(Token::Word(word)) => nesting == 0 && word.quote_style.is_none() && ends_list(word.keyword),
            _ => false,
        };
        if end || (nesting == 0 && token == Some(&Token::Comma)) {
            texts.push(text_between(sql, &lines, words.get(first)?, words.get(at.checked_sub(1)?)?)?);
            first = at + 1;
        }
        if end {
            return Some(texts);
        }
    }
    None
}

/// The position behind `SELECT [DISTINCT|ALL]`.
fn first_select(words: &[&TokenWithSpan]) -> Option<usize> {
    let mut nesting = 0usize;
    for (at, word) in words.iter().enumerate() {
        match &word.token {
            Token::LParen => nesting += 1,
            Token::RParen => nesting = nesting.checked_sub(1)?,
            Token::Word(w) if nesting == 0 && w.keyword == Keyword::SELECT && w.quote_style.is_none() => {
                let modifier = |t: &&TokenWithSpan| match &t.token {
                    Token::Word(w) => matches!(
                        w.value.to_ascii_uppercase().as_str(),
                        "DISTINCT" | "ALL" | "SQL_NO_CACHE" | "SQL_CACHE" | "STRAIGHT_JOIN" | "SQL_CALC_FOUND_ROWS"
                    ),
                    _ => false,
                };
                return Some(at + 1 + words[at + 1..].iter().take_while(|t| modifier(t)).count());
            }
            _ => {}
        }
    }
    None
}

fn ends_list(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::FROM
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::UNION
            | Keyword::EXCEPT
            | Keyword::INTERSECT
            | Keyword::MINUS
            | Keyword::INTO
            | Keyword::QUALIFY
    )
}

fn text_between(sql: &str, lines: &[usize], first: &TokenWithSpan, last: &TokenWithSpan) -> Option<String> {
    let text = sql.get(offset(sql, lines, first.span.start)?..offset(sql, lines, last.span.end)?)?;
    Some(text.to_string())
}

fn offset(sql: &str, lines: &[usize], place: Location) -> Option<usize> {
    let start = *lines.get(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
    let columns = usize::try_from(place.column).ok()?.checked_sub(1)?;
    let rest = sql.get(start..)?;
    // Columns count characters.
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(columns).map(|at| start + at)
}

/// Labels of a query's result, before any pass touches its names.
pub fn labels(query: &ast::Query, texts: Option<&[String]>) -> Vec<Label> {
    let Some(select) = first_select_of(&query.body) else { return Vec::new() };
    let texts = texts.filter(|t| t.len() == select.projection.len());
    let label = |(at, item): (usize, &ast::SelectItem)| match item {
        // A parameter is a literal by now; its label is still its own.
        ast::SelectItem::UnnamedExpr(ast::Expr::Value(_)) if texts.is_some_and(|t| t[at] == "?") => {
            Label::Text("?".to_string())
        }
        ast::SelectItem::ExprWithAlias { alias, .. } => Label::Text(alias.value.clone()),
        ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(name)) => Label::Text(name.value.clone()),
        ast::SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(parts)) if !parts[0].value.starts_with('@') => {
            Label::Text(parts.last().map(|p| p.value.clone()).unwrap_or_default())
        }
        ast::SelectItem::UnnamedExpr(ast::Expr::Value(ast::ValueWithSpan {
            value: ast::Value::SingleQuotedString(text),
            ..
        })) => Label::Text(text.clone()),
        ast::SelectItem::UnnamedExpr(expr) => {
            Label::Text(texts.map_or_else(|| expr.to_string(), |texts| texts[at].clone()))
        }
        _ => Label::Wildcard,
    };
    select.projection.iter().enumerate().map(label).collect()
}

fn first_select_of(body: &ast::SetExpr) -> Option<&ast::Select> {
    match body {
        ast::SetExpr::Select(select) => Some(select),
        ast::SetExpr::Query(query) => first_select_of(&query.body),
        ast::SetExpr::SetOperation { left, .. } => first_select_of(left),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parser::tokenize;

    #[test]
    fn texts_are_those_of_the_statement() {
        let of = |sql: &str| item_texts(sql, &tokenize(sql).unwrap());
        let texts = |items: &[&str]| Some(items.iter().map(|i| i.to_string()).collect::<Vec<_>>());
        assert_eq!(of("select a,  b + 1 , count( * ) from t"), texts(&["a", "b + 1", "count( * )"]));
        assert_eq!(
            of("SELECT distinct f(a, (select b from u)) x, '\u{e9}', c"),
            texts(&["f(a, (select b from u)) x", "'\u{e9}'", "c"])
        );
        assert_eq!(of("with c as (select 1)\nselect\n 1+1\nfrom c"), texts(&["1+1"]));
        assert_eq!(of("select 1;"), texts(&["1"]));
    }
}
