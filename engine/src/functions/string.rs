//! Functions on text. Positions and lengths count characters (UTF-8), `length` bytes; comparison is by bytes.

use std::fmt::Write;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{Decimal256Type, Float64Type, Int32Type, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::builtin::Param::{Any, Big, Bool, Decimal, Double, Int, Large, Text};
use super::builtin::{Builtin, Call, Texts, returns};
use crate::types::text;

/// Results past this many bytes are NULL: a function whose result may be much longer than its arguments must not be
/// able to exhaust the memory.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// All of them, under all their names.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut all = Vec::new();
    let mut add = |names: &[&'static str], make: fn(&'static str) -> Builtin| {
        all.extend(names.iter().map(|name| make(name).build()));
    };
    add(&["length"], |n| Builtin::new(n).on(&[Text], returns::INT, |c| measure(c, str::len)));
    add(&["char_length", "character_length"], |n| {
        Builtin::new(n).on(&[Text], returns::INT, |c| measure(c, characters))
    });
    add(&["lower", "lcase"], |n| Builtin::new(n).on(&[Text], returns::TEXT, |c| map(c, |s| s.to_lowercase())));
    add(&["upper", "ucase"], |n| Builtin::new(n).on(&[Text], returns::TEXT, |c| map(c, |s| s.to_uppercase())));
    add(&["reverse"], |n| {
        Builtin::new(n).on(&[Text], returns::TEXT, |c| map(c, |s| s.chars().rev().collect::<String>()))
    });
    add(&["initcap"], |n| Builtin::new(n).on(&[Text], returns::TEXT, |c| map(c, initcap)));
    add(&["substr", "substring", "mid"], |n| {
        Builtin::new(n).on(&[Text, Big], returns::TEXT, substr).on(&[Text, Big, Big], returns::TEXT, substr)
    });
    add(&["left", "strleft"], |n| Builtin::new(n).on(&[Text, Big], returns::TEXT, left));
    add(&["right", "strright"], |n| Builtin::new(n).on(&[Text, Big], returns::TEXT, right));
    add(&["trim"], |n| trimmer(n, |c| trim(c, true, true)));
    add(&["ltrim"], |n| trimmer(n, |c| trim(c, true, false)));
    add(&["rtrim"], |n| trimmer(n, |c| trim(c, false, true)));
    add(&["lpad"], |n| padder(n, |c| pad(c, true)));
    add(&["rpad"], |n| padder(n, |c| pad(c, false)));
    add(&["concat"], |n| Builtin::new(n).variadic(&[Text], returns::TEXT, concat));
    add(&["concat_ws"], |n| Builtin::new(n).variadic(&[Text, Text], returns::TEXT, concat_ws));
    add(&["replace"], |n| Builtin::new(n).on(&[Text, Text, Text], returns::TEXT, replace));
    add(&["translate"], |n| Builtin::new(n).on(&[Text, Text, Text], returns::TEXT, translate));
    add(&["repeat"], |n| Builtin::new(n).on(&[Text, Int], returns::TEXT, repeat));
    add(&["space"], |n| Builtin::new(n).on(&[Int], returns::TEXT, space));
    add(&["instr"], |n| Builtin::new(n).on(&[Text, Text], returns::INT, |c| position(c, 0, 1)));
    add(&["locate"], |n| {
        Builtin::new(n).on(&[Text, Text], returns::INT, |c| position(c, 1, 0)).on(
            &[Text, Text, Int],
            returns::INT,
            |c| position(c, 1, 0),
        )
    });
    add(&["strpos"], |n| Builtin::new(n).on(&[Text, Text], returns::BIG, strpos));
    add(&["starts_with"], |n| Builtin::new(n).on(&[Text, Text], returns::BOOL, |c| test(c, |s, p| s.starts_with(p))));
    add(&["ends_with"], |n| Builtin::new(n).on(&[Text, Text], returns::BOOL, |c| test(c, |s, p| s.ends_with(p))));
    add(&["null_or_empty"], |n| {
        Builtin::new(n).on(&[Text], returns::BOOL, |c| {
            let s = c.text(0);
            c.make_bool(|row| Some(s.get(row).is_none_or(str::is_empty)))
        })
    });
    add(&["ascii"], |n| {
        Builtin::new(n).on(&[Text], returns::INT, |c| measure(c, |s| s.bytes().next().unwrap_or(0).into()))
    });
    add(&["char"], |n| Builtin::new(n).variadic(&[Int], returns::TEXT, char_of));
    add(&["strcmp"], |n| {
        Builtin::new(n).on(&[Text, Text], returns::INT, |c| {
            let (a, b) = (c.text(0), c.text(1));
            c.make::<Int32Type>(|row| Some(a.get(row)?.cmp(b.get(row)?) as i32))
        })
    });
    add(&["split_part"], |n| Builtin::new(n).on(&[Text, Text, Int], returns::TEXT, split_part));
    add(&["substring_index"], |n| Builtin::new(n).on(&[Text, Text, Int], returns::TEXT, substring_index));
    add(&["find_in_set"], |n| Builtin::new(n).on(&[Text, Text], returns::INT, find_in_set));
    add(&["field"], |n| {
        Builtin::new(n).variadic(&[Text, Text], returns::INT, |c| {
            let texts: Vec<Texts<'_>> = (0..c.count()).map(|at| c.text(at)).collect();
            c.make::<Int32Type>(|row| {
                let found = texts[0].get(row).and_then(|x| texts[1..].iter().position(|t| t.get(row) == Some(x)));
                Some(found.map_or(0, |at| at as i32 + 1))
            })
        })
    });
    add(&["append_trailing_char_if_absent"], |n| Builtin::new(n).on(&[Text, Text], returns::TEXT, append_char));
    add(&["money_format"], |n| {
        Builtin::new(n)
            .on(&[Double], returns::TEXT, money_double)
            .on(&[Decimal], returns::TEXT, money_decimal)
            .on(&[Big], returns::TEXT, money_big)
            .on(&[Large], returns::TEXT, money_large)
    });
    add(&["__tuple"], |n| Builtin::new(n).variadic(&[Any], returns::TEXT, tuple));
    add(&["__bool"], |n| {
        Builtin::new(n).on(&[Bool], returns::BOOL, |c| {
            let value = c.boolean(0);
            c.make_bool(value)
        })
    });
    all
}

fn trimmer(name: &'static str, routine: fn(&Call<'_>) -> Result<ArrayRef>) -> Builtin {
    Builtin::new(name).on(&[Text], returns::TEXT, routine).on(&[Text, Text], returns::TEXT, routine)
}

fn padder(name: &'static str, routine: fn(&Call<'_>) -> Result<ArrayRef>) -> Builtin {
    Builtin::new(name).on(&[Text, Int], returns::TEXT, routine).on(&[Text, Int, Text], returns::TEXT, routine)
}

fn characters(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

fn measure(call: &Call<'_>, size: fn(&str) -> usize) -> Result<ArrayRef> {
    let s = call.text(0);
    call.make::<Int32Type>(|row| s.get(row).map(|s| size(s) as i32))
}

fn map(call: &Call<'_>, one: fn(&str) -> String) -> Result<ArrayRef> {
    let s = call.text(0);
    call.make_text(|row| s.get(row).map(one))
}

fn test(call: &Call<'_>, one: fn(&str, &str) -> bool) -> Result<ArrayRef> {
    let (a, b) = (call.text(0), call.text(1));
    call.make_bool(|row| Some(one(a.get(row)?, b.get(row)?)))
}

fn initcap(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric();
    }
    out
}

/// Byte offset of the n-th character (from 0), the length past the end.
fn offset(text: &str, n: usize) -> usize {
    if text.is_ascii() {
        return n.min(text.len());
    }
    text.char_indices().nth(n).map_or(text.len(), |(at, _)| at)
}

/// Characters `from` (from 1, negative from the end, 0 none) and `length` more.
fn slice(text: &str, from: i64, length: Option<i64>) -> &str {
    let count = characters(text) as i64;
    let start = match from {
        0 => return "",
        1.. => from - 1,
        _ if from < -count => return "",
        _ => count + from,
    };
    let length = length.unwrap_or(i64::MAX);
    if length <= 0 || start >= count {
        return "";
    }
    let end = start.saturating_add(length).min(count);
    &text[offset(text, start as usize)..offset(text, end as usize)]
}

fn substr(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, from) = (call.text(0), call.big(1));
    if call.count() == 2 {
        return call.make_text(|row| Some(slice(s.get(row)?, from.get(row)?, None)));
    }
    let length = call.big(2);
    call.make_text(|row| Some(slice(s.get(row)?, from.get(row)?, Some(length.get(row)?))))
}

fn left(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, n) = (call.text(0), call.big(1));
    call.make_text(|row| Some(slice(s.get(row)?, 1, Some(n.get(row)?))))
}

fn right(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, n) = (call.text(0), call.big(1));
    call.make_text(|row| {
        let (s, n) = (s.get(row)?, n.get(row)?);
        if n <= 0 {
            return Some("");
        }
        let skip = (characters(s) as i64 - n).max(0);
        Some(&s[offset(s, skip as usize)..])
    })
}

fn trim(call: &Call<'_>, front: bool, back: bool) -> Result<ArrayRef> {
    let s = call.text(0);
    let cut = |s: &'_ str, set: &str| -> (usize, usize) {
        let mut kept = s;
        if front {
            kept = kept.trim_start_matches(|c| set.contains(c));
        }
        let start = s.len() - kept.len();
        if back {
            kept = kept.trim_end_matches(|c| set.contains(c));
        }
        (start, start + kept.len())
    };
    if call.count() == 1 {
        return call.make_text(|row| {
            let s = s.get(row)?;
            let (start, end) = cut(s, " ");
            Some(&s[start..end])
        });
    }
    let set = call.text(1);
    call.make_text(|row| {
        let s = s.get(row)?;
        let (start, end) = cut(s, set.get(row)?);
        Some(&s[start..end])
    })
}

fn pad(call: &Call<'_>, front: bool) -> Result<ArrayRef> {
    let (s, length) = (call.text(0), call.int(1));
    let filler = (call.count() == 3).then(|| call.text(2));
    call.make_text(|row| {
        let (s, length) = (s.get(row)?, length.get(row)?);
        let filler = match &filler {
            Some(filler) => filler.get(row)?,
            None => " ",
        };
        padded(s, length, filler, front)
    })
}

fn padded(text: &str, length: i32, filler: &str, front: bool) -> Option<String> {
    let length = usize::try_from(length).ok().filter(|length| *length <= BYTES_MAX)?;
    let missing = length.saturating_sub(characters(text));
    if missing == 0 {
        return Some(text[..offset(text, length)].to_string());
    }
    if filler.is_empty() {
        return Some(text.to_string());
    }
    let padding: String = filler.chars().cycle().take(missing).collect();
    Some(if front { padding + text } else { text.to_string() + &padding })
}

fn concat(call: &Call<'_>) -> Result<ArrayRef> {
    let parts: Vec<Texts<'_>> = (0..call.count()).map(|at| call.text(at)).collect();
    call.write_text(|row, out| {
        for part in &parts {
            out.push_str(part.get(row)?);
        }
        Some(())
    })
}

fn concat_ws(call: &Call<'_>) -> Result<ArrayRef> {
    let separator = call.text(0);
    let parts: Vec<Texts<'_>> = (1..call.count()).map(|at| call.text(at)).collect();
    call.write_text(|row, out| {
        let separator = separator.get(row)?;
        for (at, part) in parts.iter().filter_map(|part| part.get(row)).enumerate() {
            if at > 0 {
                out.push_str(separator);
            }
            out.push_str(part);
        }
        Some(())
    })
}

fn replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, from, to) = (call.text(0), call.text(1), call.text(2));
    call.make_text(|row| {
        let (s, from, to) = (s.get(row)?, from.get(row)?, to.get(row)?);
        if from.is_empty() {
            return Some(s.to_string());
        }
        let grown = s.matches(from).count().checked_mul(to.len())?;
        (grown <= BYTES_MAX.max(s.len())).then(|| s.replace(from, to))
    })
}

fn translate(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, from, to) = (call.text(0), call.text(1), call.text(2));
    call.write_text(|row, out| {
        let (s, from, to) = (s.get(row)?, from.get(row)?, to.get(row)?);
        for c in s.chars() {
            match from.chars().position(|f| f == c) {
                Some(at) => out.extend(to.chars().nth(at)),
                None => out.push(c),
            }
        }
        Some(())
    })
}

fn repeat(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, n) = (call.text(0), call.int(1));
    call.make_text(|row| {
        let (s, n) = (s.get(row)?, n.get(row)?.max(0) as usize);
        (s.len().checked_mul(n)? <= BYTES_MAX).then(|| s.repeat(n))
    })
}

fn space(call: &Call<'_>) -> Result<ArrayRef> {
    let n = call.int(0);
    call.make_text(|row| {
        let n = n.get(row)?.max(0) as usize;
        (n <= BYTES_MAX).then(|| " ".repeat(n))
    })
}

/// Position of the needle in characters from 1, 0 when it is not there.
fn find(text: &str, needle: &str, from: i32) -> i32 {
    if from < 1 {
        return 0;
    }
    let start = offset(text, from as usize - 1);
    if start == text.len() && (!needle.is_empty() || from as usize > characters(text) + 1) {
        return 0;
    }
    text[start..].find(needle).map_or(0, |at| characters(&text[..start + at]) as i32 + 1)
}

fn position(call: &Call<'_>, text: usize, needle: usize) -> Result<ArrayRef> {
    let (s, needle) = (call.text(text), call.text(needle));
    let from = (call.count() == 3).then(|| call.int(2));
    call.make::<Int32Type>(|row| {
        let from = match &from {
            Some(from) => from.get(row)?,
            None => 1,
        };
        Some(find(s.get(row)?, needle.get(row)?, from))
    })
}

fn strpos(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, needle) = (call.text(0), call.text(1));
    call.make::<Int64Type>(|row| Some(i64::from(find(s.get(row)?, needle.get(row)?, 1))))
}

fn char_of(call: &Call<'_>) -> Result<ArrayRef> {
    let codes: Vec<_> = (0..call.count()).map(|at| call.int(at)).collect();
    call.write_text(|row, out| {
        // NULL is left out, as in MySQL.
        out.extend(codes.iter().filter_map(|code| char::from_u32(code.get(row)? as u32)));
        Some(())
    })
}

fn split_part(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, by, n) = (call.text(0), call.text(1), call.int(2));
    call.make_text(|row| {
        let (s, by, n) = (s.get(row)?, by.get(row)?, n.get(row)?);
        if by.is_empty() {
            let count = characters(s) as i64;
            return (n != 0 && i64::from(n.unsigned_abs()) <= count).then(|| slice(s, i64::from(n), Some(1)));
        }
        match n {
            0 => None,
            1.. => s.split(by).nth(n as usize - 1),
            _ => s.rsplit(by).nth(n.unsigned_abs() as usize - 1),
        }
    })
}

fn substring_index(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, by, n) = (call.text(0), call.text(1), call.int(2));
    call.make_text(|row| {
        let (s, by, n) = (s.get(row)?, by.get(row)?, n.get(row)?);
        if n == 0 || by.is_empty() {
            return Some("");
        }
        let nth = n.unsigned_abs() as usize - 1;
        Some(if n > 0 {
            s.match_indices(by).nth(nth).map_or(s, |(at, _)| &s[..at])
        } else {
            s.rmatch_indices(by).nth(nth).map_or(s, |(at, _)| &s[at + by.len()..])
        })
    })
}

fn find_in_set(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, set) = (call.text(0), call.text(1));
    call.make::<Int32Type>(|row| {
        let (s, set) = (s.get(row)?, set.get(row)?);
        Some(set.split(',').position(|item| item == s).map_or(0, |at| at as i32 + 1))
    })
}

fn append_char(call: &Call<'_>) -> Result<ArrayRef> {
    let (s, tail) = (call.text(0), call.text(1));
    call.make_text(|row| {
        let (s, tail) = (s.get(row)?, tail.get(row)?);
        if tail.len() != 1 {
            return None;
        }
        Some(if s.is_empty() || s.ends_with(tail) { s.to_string() } else { format!("{s}{tail}") })
    })
}

/// Hundredths with commas: `-1,234.50`.
fn money(hundredths: i128) -> String {
    let whole = (hundredths.unsigned_abs() / 100).to_string();
    let mut out = String::new();
    if hundredths < 0 {
        out.push('-');
    }
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    // Writing to a String cannot fail.
    let _ = write!(out, ".{:02}", hundredths.unsigned_abs() % 100);
    out
}

fn money_double(call: &Call<'_>) -> Result<ArrayRef> {
    let n = call.values::<Float64Type>(0);
    call.make_text(|row| {
        let hundredths = (n.get(row)? * 100.0).round();
        (hundredths.abs() < 1e37).then(|| money(hundredths as i128))
    })
}

fn money_decimal(call: &Call<'_>) -> Result<ArrayRef> {
    use datafusion::arrow::datatypes::DataType;
    let n = call.decimal(0);
    let scale = match call.args[0].array().data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    call.make_text(|row| super::math::rescaled(n.get(row)?, scale, 2).map(money))
}

fn money_big(call: &Call<'_>) -> Result<ArrayRef> {
    let n = call.big(0);
    call.make_text(|row| Some(money(i128::from(n.get(row)?) * 100)))
}

fn money_large(call: &Call<'_>) -> Result<ArrayRef> {
    let n = call.values::<Decimal256Type>(0);
    call.make_text(|row| n.get(row)?.as_i128().checked_mul(100).map(money))
}

/// All arguments in one value that is equal only for equal arguments; NULL when one is NULL (COUNT(DISTINCT a, b)).
fn tuple(call: &Call<'_>) -> Result<ArrayRef> {
    let writers =
        call.args.iter().map(|arg| text::TextWriter::new(arg.array().as_ref())).collect::<Result<Vec<_>>>()?;
    let mut part = Vec::new();
    let rows = (0..call.rows).map(|row| {
        let mut out = String::new();
        for (writer, arg) in writers.iter().zip(&call.args) {
            let row = if arg.is_constant() { 0 } else { row };
            if writer.is_null(row) {
                return None;
            }
            part.clear();
            writer.write(row, &mut part);
            // The length makes it unambiguous. Writing to a String cannot fail.
            let _ = write!(out, "{}:{}", part.len(), String::from_utf8_lossy(&part));
        }
        Some(out)
    });
    let rows: Vec<Option<String>> = rows.collect();
    call.make_text(|row| rows[row].as_deref())
}
