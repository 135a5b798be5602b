//! Text to values, by the rules of CAST: surrounding blanks are ignored, anything else that is not part of the value
//! makes it none. Works on bytes; UTF-8 is not needed.

use super::civil::{self, Hms};

/// `10^n` for n up to 38.
pub const POW10: [i128; 39] = powers();

const fn powers() -> [i128; 39] {
    let mut table = [1i128; 39];
    let mut n = 1;
    while n < 39 {
        table[n] = table[n - 1] * 10;
        n += 1;
    }
    table
}

/// Text without blanks around it.
pub fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// An integer of 64 bits: a sign, digits, and at most a fraction of digits, which is cut off.
pub fn int(text: &[u8]) -> Option<i64> {
    let text = trim(text);
    let (negative, digits) = sign(text);
    if digits.len() <= 18 && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
        let value = digits.iter().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        return Some(if negative { -value } else { value });
    }
    i64::try_from(wide_int(text)?).ok()
}

/// An integer of 128 bits, as [`int`].
pub fn wide_int(text: &[u8]) -> Option<i128> {
    let (negative, digits) = sign(trim(text));
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(end);
    let fraction = rest.is_empty() || (rest[0] == b'.' && rest[1..].iter().all(u8::is_ascii_digit));
    if whole.is_empty() || !fraction {
        return None;
    }
    // Counted below zero, where there is one value more.
    let below =
        whole.iter().try_fold(0i128, |value, digit| value.checked_mul(10)?.checked_sub(i128::from(digit - b'0')))?;
    if negative { Some(below) } else { below.checked_neg() }
}

/// A DOUBLE. `NaN`, infinities and values beyond the range are none.
pub fn double(text: &[u8]) -> Option<f64> {
    let text = trim(text);
    let plain = text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if !plain {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// A BOOLEAN: `true`, `false` in any case, or a number, of which zero is false.
pub fn boolean(text: &[u8]) -> Option<bool> {
    let text = trim(text);
    if text.eq_ignore_ascii_case(b"true") {
        return Some(true);
    }
    if text.eq_ignore_ascii_case(b"false") {
        return Some(false);
    }
    int(text).map(|value| value != 0)
}

/// A DECIMAL(precision, scale), unscaled: digits with a point and an exponent, rounded half up (away from zero).
pub fn decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let (negative, digits) = sign(trim(text));
    let mut reader = DecimalDigits::default();
    let exponent = reader.read(digits)?;
    let unscaled = reader.scaled(i64::from(scale) + exponent)?;
    if unscaled >= POW10[precision as usize] {
        return None;
    }
    Some(if negative { -unscaled } else { unscaled })
}

#[derive(Default)]
struct DecimalDigits {
    /// Significant digits, as many as fit into 38; the rest only says how to round.
    value: i128,
    /// Digits after the point that `value` holds.
    fraction: i64,
    /// Digits before the point that did not fit.
    dropped: i64,
    /// The first digit that did not fit.
    next: u8,
    full: bool,
}

impl DecimalDigits {
    /// Reads digits, point and exponent; gives the exponent.
    fn read(&mut self, text: &[u8]) -> Option<i64> {
        let (mut seen, mut point) = (false, false);
        for (index, &byte) in text.iter().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    self.push(byte - b'0', point);
                }
                b'.' if !point => point = true,
                b'e' | b'E' if seen => {
                    let exponent = int(&text[index + 1..])?;
                    return (exponent.abs() < 1000).then_some(exponent);
                }
                _ => return None,
            }
        }
        seen.then_some(0)
    }

    fn push(&mut self, digit: u8, point: bool) {
        if !self.full && self.value < POW10[37] {
            self.value = self.value * 10 + i128::from(digit);
            self.fraction += i64::from(point);
            return;
        }
        if !self.full {
            self.full = true;
            self.next = digit;
        }
        self.dropped += i64::from(!point);
    }

    /// The value times `10^places`, rounded half up.
    fn scaled(&self, places: i64) -> Option<i128> {
        let shift = places - self.fraction + self.dropped;
        if self.value == 0 {
            return Some(0);
        }
        if shift == 0 {
            return Some(self.value + i128::from(self.full && self.next >= 5));
        }
        if shift > 0 {
            let power = POW10.get(usize::try_from(shift).ok()?)?;
            return if self.full { None } else { self.value.checked_mul(*power) };
        }
        match POW10.get(usize::try_from(-shift).ok()?) {
            Some(power) => Some(self.value / power + i128::from(self.value % power >= power / 2)),
            None => Some(0),
        }
    }
}

/// A DATE as a day number; a time of day after it is checked and dropped.
pub fn date(text: &[u8]) -> Option<i32> {
    date_and_time(text).map(|(days, _)| days)
}

/// A DATETIME in microseconds.
pub fn datetime(text: &[u8]) -> Option<i64> {
    date_and_time(text).map(|(days, time)| civil::micros_of(days, time))
}

/// Reads a date with an optional time. Forms: `yyyy-MM-dd`, `yyyy-M-d`, `yyyy/MM/dd`, `yy-MM-dd`, `yyyyMMdd`,
/// `yyMMdd`, `yyyyMMddHHmmss`, `yyMMddHHmmss`; the time `HH:mm[:ss[.f{1,6}]]` after a blank or `T`.
pub fn date_and_time(text: &[u8]) -> Option<(i32, Hms)> {
    let text = trim(text);
    if text.len() == 10 && text[4] == b'-' && text[7] == b'-' {
        return Some((fixed_date(text)?, Hms::default()));
    }
    let run = digits(text);
    if run == text.len() || (run >= 6 && matches!(text[run], b' ' | b'T' | b'.')) {
        return packed(text, run);
    }
    let mut rest = text;
    let (year, year_digits) = number(&mut rest, 4)?;
    let separator = *rest.first().filter(|b| matches!(b, b'-' | b'/' | b'.'))?;
    rest = &rest[1..];
    let (month, _) = number(&mut rest, 2)?;
    rest = rest.strip_prefix(&[separator])?;
    let (day, _) = number(&mut rest, 2)?;
    let days = civil::days_checked(full_year(year, year_digits)?, month, day)?;
    Some((days, time_after(rest)?))
}

/// `yyyy-MM-dd`, the form nearly all data has.
fn fixed_date(text: &[u8]) -> Option<i32> {
    let digit = |at: usize| {
        let value = text[at].wrapping_sub(b'0');
        (value < 10).then_some(u32::from(value))
    };
    let year = digit(0)? * 1000 + digit(1)? * 100 + digit(2)? * 10 + digit(3)?;
    let month = digit(5)? * 10 + digit(6)?;
    civil::days_checked(year as i32, month, digit(8)? * 10 + digit(9)?)
}

/// Digits without separators, then perhaps a time.
fn packed(text: &[u8], run: usize) -> Option<(i32, Hms)> {
    let year_digits = match run {
        8 | 14 => 4,
        6 | 12 => 2,
        _ => return None,
    };
    let mut rest = text;
    let (year, _) = number(&mut rest, year_digits)?;
    let (month, _) = number(&mut rest, 2)?;
    let (day, _) = number(&mut rest, 2)?;
    let days = civil::days_checked(full_year(year, year_digits)?, month, day)?;
    if run <= 8 {
        return Some((days, time_after(rest)?));
    }
    let (hour, _) = number(&mut rest, 2)?;
    let (minute, _) = number(&mut rest, 2)?;
    let (second, _) = number(&mut rest, 2)?;
    let time = time_of(hour, minute, second, fraction(&mut rest)?)?;
    rest.is_empty().then_some((days, time))
}

/// The time that follows a date: nothing, or a blank or `T` and `HH:mm[:ss[.f]]`.
fn time_after(rest: &[u8]) -> Option<Hms> {
    let Some(&first) = rest.first() else {
        return Some(Hms::default());
    };
    if !matches!(first, b' ' | b'T') {
        return None;
    }
    let mut rest = rest[1..].trim_ascii();
    if rest.last() == Some(&b'Z') {
        rest = &rest[..rest.len() - 1];
    }
    let (hour, _) = number(&mut rest, 2)?;
    if rest.is_empty() {
        return time_of(hour, 0, 0, 0);
    }
    rest = rest.strip_prefix(b":")?;
    let (minute, _) = number(&mut rest, 2)?;
    if rest.is_empty() {
        return time_of(hour, minute, 0, 0);
    }
    rest = rest.strip_prefix(b":")?;
    let (second, _) = number(&mut rest, 2)?;
    let micro = fraction(&mut rest)?;
    if rest.is_empty() { time_of(hour, minute, second, micro) } else { None }
}

fn time_of(hour: u32, minute: u32, second: u32, micro: u32) -> Option<Hms> {
    (hour < 24 && minute < 60 && second < 60).then_some(Hms { hour, minute, second, micro })
}

/// `.f{1,}`: microseconds, digits past the sixth dropped; nothing is zero.
fn fraction(rest: &mut &[u8]) -> Option<u32> {
    let Some(digits_after) = rest.strip_prefix(b".") else {
        return Some(0);
    };
    let run = digits(digits_after);
    if run == 0 {
        return None;
    }
    let micro = (0..6).fold(0, |value, at| value * 10 + if at < run { u32::from(digits_after[at] - b'0') } else { 0 });
    *rest = &digits_after[run..];
    Some(micro)
}

/// Up to `most` digits, at least one.
fn number(rest: &mut &[u8], most: usize) -> Option<(u32, usize)> {
    let run = digits(rest).min(most);
    if run == 0 {
        return None;
    }
    let value = rest[..run].iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    *rest = &rest[run..];
    Some((value, run))
}

fn digits(text: &[u8]) -> usize {
    text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len())
}

/// A two-digit year below 70 is of this century.
fn full_year(year: u32, digits: usize) -> Option<i32> {
    match digits {
        4 => Some(year as i32),
        2 => Some(year as i32 + if year < 70 { 2000 } else { 1900 }),
        _ => None,
    }
}

/// A DATE or DATETIME of an integer: `20200101`, `200101`, `20200101235959`.
pub fn datetime_of_int(value: i64) -> Option<(i32, Hms)> {
    let (date, time) = match value {
        101..=99_991_231 => (value, 0),
        101_000_000..=99_991_231_235_959 => (value / 1_000_000, value % 1_000_000),
        _ => return None,
    };
    let year = match date / 10_000 {
        year @ 1000.. => year as i32,
        year @ 0..70 => year as i32 + 2000,
        year @ 70..100 => year as i32 + 1900,
        _ => return None,
    };
    let days = civil::days_checked(year, (date / 100 % 100) as u32, (date % 100) as u32)?;
    Some((days, time_of((time / 10_000) as u32, (time / 100 % 100) as u32, (time % 100) as u32, 0)?))
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        assert_eq!(int(b" -12 "), Some(-12));
        assert_eq!(int(b"12.9"), Some(12));
        assert_eq!(int(b"12a"), None);
        assert_eq!(int(b""), None);
        assert_eq!(int(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(int(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(int(b"9223372036854775808"), None);
        assert_eq!(wide_int(b"-170141183460469231731687303715884105728"), Some(i128::MIN));
        assert_eq!(wide_int(b"170141183460469231731687303715884105728"), None);
    }

    #[test]
    fn decimals_round_half_up() {
        assert_eq!(decimal(b"1.005", 10, 2), Some(101));
        assert_eq!(decimal(b"-1.005", 10, 2), Some(-101));
        assert_eq!(decimal(b"1.004999999999999999999999999999999999999999999999", 10, 2), Some(100));
        assert_eq!(decimal(b"12e-1", 10, 2), Some(120));
        assert_eq!(decimal(b"1e3", 10, 2), Some(100_000));
        assert_eq!(decimal(b"99999999.995", 10, 2), None);
        assert_eq!(decimal(b".5", 10, 2), Some(50));
        assert_eq!(decimal(b".", 10, 2), None);
        assert_eq!(decimal(b"99999999999999999999999999999999999999", 38, 0), Some(POW10[38] - 1));
        assert_eq!(decimal(b"0.000000000000000000000000000000000000000001", 10, 2), Some(0));
    }

    #[test]
    fn dates_of_all_forms() {
        let day = civil::days_of(2020, 1, 2);
        for text in ["2020-01-02", "2020-1-2", "20200102", "2020/01/02", "20-01-02", "200102", " 2020-01-02 "] {
            assert_eq!(date(text.as_bytes()), Some(day), "{text}");
        }
        for text in
            ["2020-02-30", "2020-13-01", "2020-01", "abc", "", "2020-01-02x", "2020-01-02 25:00:00", "202-01-01"]
        {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
        let at = civil::micros_of(day, Hms { hour: 3, minute: 4, second: 5, micro: 600_000 });
        for text in ["2020-01-02 03:04:05.6", "2020-01-02T03:04:05.600000", "20200102030405.6", "20200102 03:04:05.6"] {
            assert_eq!(datetime(text.as_bytes()), Some(at), "{text}");
        }
        assert_eq!(datetime_of_int(20_200_102), Some((day, Hms::default())));
        assert_eq!(datetime_of_int(20_200_102_030_405).map(|(_, t)| t.second), Some(5));
        assert_eq!(datetime_of_int(20_201_302), None);
    }
}
