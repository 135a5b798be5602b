//! Cutting a text into statements at `;`, minding strings, quoted names and comments. A byte scanner: a text may be a 64 MB INSERT, and this
//! touches each byte once.

/// The statements of `text`, trimmed; empty and comment-only ones are left out. What is unterminated runs to the end and fails in the parser.
pub fn split(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut statements = Vec::new();
    let (mut start, mut at, mut blank) = (0, 0, true);
    while at < bytes.len() {
        match bytes[at] {
            b';' => {
                if !blank {
                    statements.push(text[start..at].trim());
                }
                at += 1;
                (start, blank) = (at, true);
            }
            b'\'' | b'"' | b'`' => {
                at = skip_quoted(bytes, at);
                blank = false;
            }
            _ => match skip_comment(bytes, at) {
                Some(end) => {
                    // `/*! ... */` and hints are part of the statement.
                    blank &= !is_executable(bytes, at);
                    at = end;
                }
                None => {
                    blank &= bytes[at].is_ascii_whitespace();
                    at += 1;
                }
            },
        }
    }
    if !blank {
        statements.push(text[start..].trim());
    }
    statements
}

/// The position behind the quoted run that begins at `at`. Backslashes escape in strings, not in backticks; a doubled quote reads as the end of one
/// run and the start of the next, which comes to the same.
pub fn skip_quoted(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let mut i = at + 1;
    while i < bytes.len() {
        if bytes[i] == b'\\' && quote != b'`' {
            i += 2;
        } else if bytes[i] == quote {
            return i + 1;
        } else {
            i += 1;
        }
    }
    bytes.len()
}

/// The position behind the comment that begins at `at`, if one does. An executable comment (`/*!`) counts as one: its body holds no `;` in practice.
pub fn skip_comment(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let to_line_end = || at + rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |n| n + 1);
    match rest {
        [b'#', ..] => Some(to_line_end()),
        [b'-', b'-'] => Some(to_line_end()),
        [b'-', b'-', next, ..] if next.is_ascii_whitespace() => Some(to_line_end()),
        [b'/', b'*', body @ ..] => {
            let end = body.windows(2).position(|w| w == b"*/");
            Some(at + end.map_or(rest.len(), |n| n + 4))
        }
        _ => None,
    }
}

fn is_executable(bytes: &[u8], at: usize) -> bool {
    bytes[at..].starts_with(b"/*!")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_semicolons_outside_quotes_and_comments() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" ;; ", &[]),
            ("select 1", &["select 1"]),
            ("select 1;", &["select 1"]),
            ("select 1; select 2 ;", &["select 1", "select 2"]),
            ("select ';'; select \";\"", &["select ';'", "select \";\""]),
            ("select 'a\\';b'; x", &["select 'a\\';b'", "x"]),
            ("select 'a'';b'; x", &["select 'a'';b'", "x"]),
            ("select `a;b`; x", &["select `a;b`", "x"]),
            ("select `a\\`; x", &["select `a\\`", "x"]),
            ("-- a;b\nselect 1", &["-- a;b\nselect 1"]),
            ("select 1--1; x", &["select 1--1", "x"]),
            ("# a;b\n", &[]),
            ("/* ; */ -- ;", &[]),
            ("/*!40101 SET NAMES utf8 */;", &["/*!40101 SET NAMES utf8 */"]),
            ("select 1 /* ; */ ; select 'unterminated ; ", &["select 1 /* ; */", "select 'unterminated ;"]),
        ];
        for (text, expect) in cases {
            assert_eq!(split(text), *expect, "{text}");
        }
    }
}
