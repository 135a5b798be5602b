//! INSERT VALUES of literals, read straight from the text into columns: no tokens, no syntax tree, no planner. Whatever it does not know it leaves to
//! the general path, so it never has to report a syntax error.

use arrow::array::{ArrayRef, StringBuilder};
use starling_storage::schema::ColumnType;
use std::sync::Arc;

use crate::sql::split::skip_comment;
use crate::sql::statement::TableName;

/// The head of an `INSERT INTO t [(columns)] VALUES`, and where its rows begin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub table: TableName,
    pub columns: Vec<String>,
    pub rows_at: usize,
}

/// What a value is; the text of strings is unescaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Text,
    Number,
    Boolean,
}

/// A reader of the text. Every method gives `None` for what it does not know.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Recognises the head of an INSERT of values.
pub(super) fn head(sql: &str) -> Option<Head> {
    let mut reader = Reader { bytes: sql.as_bytes(), at: 0 };
    reader.word("insert")?;
    reader.word("into")?;
    let mut parts = vec![reader.name()?];
    while reader.byte(b'.').is_some() {
        parts.push(reader.name()?);
    }
    if parts.len() > 2 {
        return None;
    }
    let table = parts.pop()?;
    let mut columns = Vec::new();
    if reader.byte(b'(').is_some() {
        columns.push(reader.name()?);
        while reader.byte(b',').is_some() {
            columns.push(reader.name()?);
        }
        reader.byte(b')')?;
    }
    reader.word("values")?;
    Some(Head { table: TableName { db: parts.pop(), table }, columns, rows_at: reader.at })
}

/// The rows behind a head, in slices.
pub(super) struct Values<'a> {
    reader: Reader<'a>,
    builders: Vec<StringBuilder>,
    types: Vec<ColumnType>,
    text: Vec<u8>,
    done: bool,
}

/// A slice of rows.
pub(super) struct Slice {
    pub columns: Vec<ArrayRef>,
    pub rows: usize,
}

/// Why no slice came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Something that is left to the general path.
    Unknown,
    /// A row with so many values instead of one for each column.
    Count(usize),
}

impl<'a> Values<'a> {
    /// `types`: of the columns that the values fill, in order.
    pub(super) fn new(sql: &'a str, rows_at: usize, types: Vec<ColumnType>) -> Values<'a> {
        let builders = types.iter().map(|_| StringBuilder::new()).collect();
        Values { reader: Reader { bytes: sql.as_bytes(), at: rows_at }, builders, types, text: Vec::new(), done: false }
    }

    /// Up to `rows` more rows; `None` behind the last.
    pub(super) fn next(&mut self, rows: usize) -> Result<Option<Slice>, Stop> {
        if self.done {
            return Ok(None);
        }
        let mut count = 0;
        while count < rows && !self.done {
            self.row()?;
            count += 1;
            if self.reader.byte(b',').is_none() {
                self.done = true;
                let _ = self.reader.byte(b';');
                if self.reader.peek().is_some() {
                    return Err(Stop::Unknown);
                }
            }
        }
        let columns = self.builders.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
        Ok(Some(Slice { columns, rows: count }))
    }

    fn row(&mut self) -> Result<(), Stop> {
        self.reader.byte(b'(').ok_or(Stop::Unknown)?;
        let mut values = 0;
        loop {
            let kind = self.reader.value(&mut self.text).ok_or(Stop::Unknown)?;
            if let (Some(builder), Some(ty)) = (self.builders.get_mut(values), self.types.get(values)) {
                let text = std::str::from_utf8(&self.text).map_err(|_| Stop::Unknown)?;
                match kind {
                    Kind::Null => builder.append_null(),
                    Kind::Number if !stands_for_itself(text, *ty) => return Err(Stop::Unknown),
                    Kind::Boolean if *ty == ColumnType::Float || *ty == ColumnType::Double => {
                        return Err(Stop::Unknown);
                    }
                    Kind::Number | Kind::Text | Kind::Boolean => builder.append_value(text),
                }
            }
            values += 1;
            match self.reader.peek() {
                Some(b',') => self.reader.at += 1,
                Some(b')') => {
                    self.reader.at += 1;
                    break;
                }
                _ => return Err(Stop::Unknown),
            }
        }
        if values == self.builders.len() { Ok(()) } else { Err(Stop::Count(values)) }
    }
}

/// Whether casting the text of a number to the column's type gives what casting the number would.
pub(super) fn stands_for_itself(text: &str, ty: ColumnType) -> bool {
    let integer = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    match ty {
        ColumnType::Boolean => text == "0" || text == "1",
        ColumnType::TinyInt | ColumnType::SmallInt | ColumnType::Int | ColumnType::BigInt | ColumnType::LargeInt => {
            integer
        }
        ColumnType::Date | ColumnType::DateTime => integer,
        ColumnType::Decimal { .. } => !text.contains(['e', 'E']),
        ColumnType::Float | ColumnType::Double => true,
        ColumnType::Char(_) | ColumnType::Varchar(_) => {
            let digits = text.trim_start_matches('-');
            integer && (digits == "0" || !digits.starts_with('0')) && digits.len() <= 18
        }
    }
}

impl Reader<'_> {
    /// The next byte that is no blank and no comment.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if byte.is_ascii_whitespace() {
                self.at += 1;
            } else if matches!(byte, b'#' | b'-' | b'/') {
                // Hints and executable comments are for the general path: `None` here ends the recognition.
                match skip_comment(self.bytes, self.at) {
                    Some(_)
                        if self.bytes[self.at..].starts_with(b"/*!") || self.bytes[self.at..].starts_with(b"/*+") =>
                    {
                        return Some(byte);
                    }
                    Some(end) => self.at = end,
                    None => return Some(byte),
                }
            } else {
                return Some(byte);
            }
        }
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn run(&self, of: impl Fn(u8) -> bool) -> usize {
        self.bytes[self.at..].iter().take_while(|&&b| of(b)).count()
    }

    fn bare(&mut self) -> Option<&str> {
        self.peek()?;
        let length = self.run(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80);
        let text = self.bytes.get(self.at..self.at + length)?;
        std::str::from_utf8(text).ok().filter(|t| !t.is_empty())
    }

    fn word(&mut self, wanted: &str) -> Option<()> {
        let word = self.bare()?;
        let length = word.len();
        word.eq_ignore_ascii_case(wanted).then(|| self.at += length)
    }

    fn name(&mut self) -> Option<String> {
        if self.peek()? == b'`' {
            let length = self.bytes[self.at + 1..].iter().position(|&b| b == b'`')?;
            let name = std::str::from_utf8(&self.bytes[self.at + 1..self.at + 1 + length]).ok()?.to_string();
            self.at += length + 2;
            // A doubled backtick goes on.
            return (self.bytes.get(self.at) != Some(&b'`')).then_some(name);
        }
        let name = self.bare()?.to_string();
        let reserved = ["with", "properties", "values", "select", "partition", "by"];
        if name.starts_with(|c: char| c.is_ascii_digit()) || reserved.iter().any(|r| name.eq_ignore_ascii_case(r)) {
            return None;
        }
        self.at += name.len();
        Some(name)
    }

    /// A literal; its text is left in `text`.
    fn value(&mut self, text: &mut Vec<u8>) -> Option<Kind> {
        text.clear();
        let kind = match self.peek()? {
            quote @ (b'\'' | b'"') => {
                self.string(quote, text)?;
                Kind::Text
            }
            b'0'..=b'9' | b'-' | b'.' => {
                self.number(text)?;
                Kind::Number
            }
            b'n' | b'N' => {
                self.word("null")?;
                Kind::Null
            }
            b't' | b'T' => {
                self.word("true")?;
                text.push(b'1');
                Kind::Boolean
            }
            b'f' | b'F' => {
                self.word("false")?;
                text.push(b'0');
                Kind::Boolean
            }
            _ => return None,
        };
        Some(kind)
    }

    fn number(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let digits = self.run(|b| b.is_ascii_digit());
        self.at += digits;
        let mut fraction = 0;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            fraction = self.run(|b| b.is_ascii_digit());
            self.at += fraction;
        }
        if digits + fraction == 0 {
            return None;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            let exponent = self.run(|b| b.is_ascii_digit());
            self.at += exponent;
            if exponent == 0 {
                return None;
            }
        }
        text.extend_from_slice(&self.bytes[start..self.at]);
        // `12abc` is a name.
        let goes_on = self.bytes.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80);
        (!goes_on).then_some(())
    }

    fn string(&mut self, quote: u8, text: &mut Vec<u8>) -> Option<()> {
        self.at += 1;
        loop {
            let plain = self.run(|b| b != quote && b != b'\\');
            text.extend_from_slice(&self.bytes[self.at..self.at + plain]);
            self.at += plain;
            match (self.bytes.get(self.at)?, self.bytes.get(self.at + 1)) {
                (b'\\', Some(escaped)) => {
                    unescape(*escaped, text);
                    self.at += 2;
                }
                (b'\\', None) => return None,
                (_, Some(next)) if *next == quote => {
                    text.push(quote);
                    self.at += 2;
                }
                _ => {
                    self.at += 1;
                    // Two strings side by side are one: left to the general path.
                    return (!matches!(self.peek(), Some(b'\'' | b'"'))).then_some(());
                }
            }
        }
    }
}

/// MySQL's escapes; `\%` and `\_` keep their backslash.
fn unescape(escaped: u8, text: &mut Vec<u8>) {
    match escaped {
        b'0' => text.push(0),
        b'b' => text.push(8),
        b'n' => text.push(b'\n'),
        b'r' => text.push(b'\r'),
        b't' => text.push(b'\t'),
        b'Z' => text.push(26),
        b'%' | b'_' => text.extend([b'\\', escaped]),
        other => text.push(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};

    fn rows(sql: &str, types: &[ColumnType]) -> Result<Vec<Vec<Option<String>>>, Stop> {
        let head = head(sql).ok_or(Stop::Unknown)?;
        let mut values = Values::new(sql, head.rows_at, types.to_vec());
        let mut rows = Vec::new();
        while let Some(slice) = values.next(2)? {
            for row in 0..slice.rows {
                let cell = |array: &ArrayRef| {
                    let array = array.as_string::<i32>();
                    (!array.is_null(row)).then(|| array.value(row).to_string())
                };
                rows.push(slice.columns.iter().map(cell).collect());
            }
        }
        Ok(rows)
    }

    #[test]
    fn heads() {
        let of = |sql: &str| head(sql).map(|h| (h.table.to_string(), h.columns.join(",")));
        let some = |table: &str, columns: &str| Some((table.to_string(), columns.to_string()));
        assert_eq!(of("insert into t values (1)"), some("t", ""));
        assert_eq!(of("INSERT INTO `d b`.`T` (a, `B`)VALUES(1)"), some("d b.T", "a,B"));
        assert_eq!(of("/* x */ insert -- y\n into t values"), some("t", ""));
        for sql in [
            "insert into t select 1",
            "insert into t with label l values (1)",
            "insert overwrite t values (1)",
            "select 1",
            "",
        ] {
            assert_eq!(of(sql), None, "{sql}");
        }
    }

    #[test]
    fn literals_become_columns() {
        let (int, text) = (ColumnType::Int, ColumnType::Varchar(20));
        let got = rows(
            "insert into t values (1, 'a'), (-2, NULL),\n(3, \"it''s\\n\\\\ \\'x\\' \\%\"), (null, 'd''e');",
            &[int, text],
        )
        .unwrap();
        let cell = |s: &str| Some(s.to_string());
        assert_eq!(
            got,
            [
                vec![cell("1"), cell("a")],
                vec![cell("-2"), None],
                vec![cell("3"), cell("it''s\n\\ 'x' \\%")],
                vec![None, cell("d'e")]
            ]
        );
        assert_eq!(
            rows("insert into t values (true, 5)", &[ColumnType::Boolean, text]).unwrap(),
            [vec![cell("1"), cell("5")]]
        );
    }

    #[test]
    fn what_is_unknown_is_left_alone() {
        let (int, text) = (ColumnType::Int, ColumnType::Varchar(20));
        for sql in [
            "insert into t values (1.5, 'a')",
            "insert into t values (1, 2.5)",
            "insert into t values (1, now())",
            "insert into t values (1 + 1, 'a')",
            "insert into t values (1, 'a' 'b')",
            "insert into t values (1, 'a') on duplicate key update a = 1",
            "insert into t values (default, 'a')",
            "insert into t values (1, 'a'",
            "insert into t values (1, 'a",
            "insert into t values (1, x'41')",
            "insert into t values (1, 007)",
        ] {
            assert_eq!(rows(sql, &[int, text]), Err(Stop::Unknown), "{sql}");
        }
        assert_eq!(rows("insert into t values (1)", &[int, text]), Err(Stop::Count(1)));
        assert_eq!(rows("insert into t values (1, 'a', 2)", &[int, text]), Err(Stop::Count(3)));
    }
}
