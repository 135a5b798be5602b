//! The `%` codes of DATE_FORMAT and STR_TO_DATE, as MySQL defines them, and StarRocks' patterns by name.

use std::fmt::Write;

use crate::types::civil::{self, Hms};

/// Names of the days, Monday first.
pub(super) const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Names of the months.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Patterns that stand for a format.
fn spelled_out(format: &str) -> &str {
    match format {
        "yyyyMMdd" => "%Y%m%d",
        "yyyy-MM-dd" => "%Y-%m-%d",
        "yyyy-MM-dd HH:mm:ss" => "%Y-%m-%d %H:%i:%s",
        other => other,
    }
}

/// Writes a DATETIME; none when the format is empty.
pub(super) fn format(micros: i64, format: &str, out: &mut String) -> Option<()> {
    let (days, _) = civil::split(micros);
    let (date, time) = (civil::ymd_of(days), civil::hms_of(micros));
    let mut codes = spelled_out(format).chars();
    if format.is_empty() {
        return None;
    }
    while let Some(c) = codes.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(code) = codes.next() else {
            break;
        };
        // Writing to a String cannot fail.
        let _ = match code {
            'f' => write!(out, "{:06}", time.micro),
            'H' | 'k' | 'h' | 'I' | 'l' | 'i' | 's' | 'S' | 'p' | 'r' | 'T' => clock(code, time, out),
            'U' | 'u' | 'V' | 'v' | 'X' | 'x' => week(code, days, out),
            _ => calendar(code, days, date, out),
        };
    }
    Some(())
}

fn clock(code: char, time: Hms, out: &mut String) -> std::fmt::Result {
    let twelve = (time.hour + 11) % 12 + 1;
    let half = if time.hour < 12 { "AM" } else { "PM" };
    match code {
        'H' => write!(out, "{:02}", time.hour),
        'k' => write!(out, "{}", time.hour),
        'h' | 'I' => write!(out, "{twelve:02}"),
        'l' => write!(out, "{twelve}"),
        'i' => write!(out, "{:02}", time.minute),
        's' | 'S' => write!(out, "{:02}", time.second),
        'p' => out.write_str(half),
        'r' => write!(out, "{twelve:02}:{:02}:{:02} {half}", time.minute, time.second),
        _ => write!(out, "{:02}:{:02}:{:02}", time.hour, time.minute, time.second),
    }
}

fn week(code: char, days: i32, out: &mut String) -> std::fmt::Result {
    let mode = match code {
        'U' => 0,
        'u' => 1,
        'V' | 'X' => 2,
        _ => 3,
    };
    let (year, week) = civil::mysql_week(days, mode);
    if matches!(code, 'X' | 'x') { write!(out, "{year:04}") } else { write!(out, "{week:02}") }
}

fn calendar(code: char, days: i32, date: civil::Ymd, out: &mut String) -> std::fmt::Result {
    let month = MONTHS[date.month as usize - 1];
    let day = DAYS[civil::weekday(days) as usize];
    match code {
        'Y' => write!(out, "{:04}", date.year),
        'y' => write!(out, "{:02}", date.year % 100),
        'm' => write!(out, "{:02}", date.month),
        'c' => write!(out, "{}", date.month),
        'd' => write!(out, "{:02}", date.day),
        'e' => write!(out, "{}", date.day),
        'D' => write!(out, "{}{}", date.day, ordinal(date.day)),
        'j' => write!(out, "{:03}", civil::day_of_year(days)),
        'M' => out.write_str(month),
        'b' => out.write_str(&month[..3]),
        'W' => out.write_str(day),
        'a' => out.write_str(&day[..3]),
        'w' => write!(out, "{}", (civil::weekday(days) + 1) % 7),
        // Any other character stands for itself, '%' too.
        other => out.write_char(other),
    }
}

fn ordinal(day: u32) -> &'static str {
    match (day % 10, day / 10) {
        (_, 1) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

/// What STR_TO_DATE has read so far.
#[derive(Default)]
struct Parsed {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<i32>,
    time: Hms,
    afternoon: Option<bool>,
}

/// Reads text by a format, in microseconds; none when they do not match.
pub(super) fn parse(text: &str, format: &str) -> Option<i64> {
    let mut rest = text.trim_start();
    let mut parsed = Parsed::default();
    read(&mut rest, spelled_out(format), &mut parsed)?;
    let year = parsed.year?;
    let days = match (parsed.day_of_year, parsed.month, parsed.day) {
        (Some(day), None, None) => civil::days_of(year, 1, 1) + day - 1,
        (_, month, day) => civil::days_checked(year, month.unwrap_or(1), day.unwrap_or(1))?,
    };
    let mut time = parsed.time;
    match parsed.afternoon {
        Some(true) if time.hour < 12 => time.hour += 12,
        Some(false) if time.hour == 12 => time.hour = 0,
        _ => {}
    }
    civil::micros_in_range(civil::micros_of(days, time))
}

fn read(rest: &mut &str, format: &str, parsed: &mut Parsed) -> Option<()> {
    let mut codes = format.chars();
    while let Some(c) = codes.next() {
        // Blanks may stand anywhere, as in MySQL.
        *rest = rest.trim_start();
        if c.is_whitespace() {
            continue;
        }
        if c != '%' {
            *rest = rest.strip_prefix(c)?;
            continue;
        }
        // What is missing at the end stays as it was: '%Y-%m-%d %H' reads a bare date.
        if rest.is_empty() {
            return Some(());
        }
        read_code(rest, codes.next()?, parsed)?;
    }
    rest.trim().is_empty().then_some(())
}

fn read_code(rest: &mut &str, code: char, parsed: &mut Parsed) -> Option<()> {
    match code {
        'Y' => parsed.year = Some(number(rest, 4)? as i32),
        'y' => {
            let year = number(rest, 2)? as i32;
            parsed.year = Some(year + if year < 70 { 2000 } else { 1900 });
        }
        'm' | 'c' => parsed.month = Some(number(rest, 2)?),
        'd' | 'e' => parsed.day = Some(number(rest, 2)?),
        'D' => {
            parsed.day = Some(number(rest, 2)?);
            *rest = rest.get(2..)?;
        }
        'j' => parsed.day_of_year = Some(number(rest, 3)? as i32),
        'M' => parsed.month = Some(name(rest, &MONTHS, false)?),
        'b' => parsed.month = Some(name(rest, &MONTHS, true)?),
        'W' => drop(name(rest, &DAYS, false)?),
        'a' => drop(name(rest, &DAYS, true)?),
        'H' | 'k' => parsed.time.hour = number(rest, 2).filter(|h| *h < 24)?,
        'h' | 'I' | 'l' => {
            parsed.time.hour = number(rest, 2).filter(|h| (1..=12).contains(h))?;
            parsed.afternoon = parsed.afternoon.or(Some(false));
        }
        'i' => parsed.time.minute = number(rest, 2).filter(|m| *m < 60)?,
        's' | 'S' => parsed.time.second = number(rest, 2).filter(|s| *s < 60)?,
        'f' => {
            let before = rest.len();
            let value = number(rest, 6)?;
            parsed.time.micro = value * 10u32.pow(6 - (before - rest.len()) as u32);
        }
        'p' => {
            let half = rest.get(..2)?;
            parsed.afternoon = Some(half.eq_ignore_ascii_case("PM"));
            if !half.eq_ignore_ascii_case("AM") && parsed.afternoon == Some(false) {
                return None;
            }
            *rest = &rest[2..];
        }
        'T' => read(rest_of(rest), "%H:%i:%s", parsed)?,
        'r' => read(rest_of(rest), "%h:%i:%s %p", parsed)?,
        '%' => *rest = rest.strip_prefix('%')?,
        _ => return None,
    }
    Some(())
}

fn rest_of<'a, 'b>(rest: &'a mut &'b str) -> &'a mut &'b str {
    rest
}

/// Up to `most` digits.
fn number(rest: &mut &str, most: usize) -> Option<u32> {
    let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (head, tail) = rest.split_at(digits);
    *rest = tail;
    head.parse().ok()
}

/// One of the names (its first three letters when `short`), numbered from 1.
fn name(rest: &mut &str, names: &[&str], short: bool) -> Option<u32> {
    for (at, name) in names.iter().enumerate() {
        let name = if short { &name[..3] } else { name };
        if rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)) {
            *rest = &rest[name.len()..];
            return Some(at as u32 + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str, pattern: &str) -> String {
        let mut out = String::new();
        format(crate::types::parse::datetime(text.as_bytes()).unwrap(), pattern, &mut out);
        out
    }

    #[test]
    fn formats_of_the_mysql_manual() {
        // The examples of MySQL's manual for DATE_FORMAT.
        assert_eq!(formatted("2009-10-04 22:23:00", "%W %M %Y"), "Sunday October 2009");
        assert_eq!(formatted("2007-10-04 22:23:00", "%H:%i:%s"), "22:23:00");
        assert_eq!(formatted("1900-10-04 22:23:00", "%D %y %a %d %m %b %j"), "4th 00 Thu 04 10 Oct 277");
        assert_eq!(formatted("1997-10-04 22:23:00", "%H %k %I %r %T %S %w"), "22 22 10 10:23:00 PM 22:23:00 00 6");
        assert_eq!(formatted("1999-01-01", "%X %V"), "1998 52");
        assert_eq!(formatted("2006-06-01", "%d"), "01");
        assert_eq!(formatted("2020-01-02 03:04:05", "yyyyMMdd"), "20200102");
    }

    #[test]
    fn parses_what_it_formats() {
        let at = |text: &str| crate::types::parse::datetime(text.as_bytes());
        assert_eq!(parse("01,5,2013", "%d,%m,%Y"), at("2013-05-01"));
        assert_eq!(parse("May 1, 2013", "%M %d,%Y"), at("2013-05-01"));
        assert_eq!(parse("2013-05-01 10:11:12.5", "%Y-%m-%d %H:%i:%s.%f"), at("2013-05-01 10:11:12.5"));
        assert_eq!(parse("abc", "%Y"), None);
        assert_eq!(parse("2013-13-01", "%Y-%m-%d"), None);
        assert_eq!(parse("11:00:00 PM 2020-01-01", "%r %Y-%m-%d"), None);
    }
}
