//! The headers of a Stream Load (StarRocks 4.1), checked before the first byte of the body is read.
//!
//! A header that is known but not built is refused by name: to accept and ignore it would load wrong rows.

use std::time::Duration;

/// Separators longer than this are refused.
const SEPARATOR_BYTES_MAX: usize = 50;
/// `stream_load_default_timeout_second` of StarRocks.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// The longest timeout StarRocks takes.
const TIMEOUT_SECONDS_MAX: u64 = 259_200;

/// Headers that change what is loaded and that this version does not build.
const NOT_BUILT: [&str; 11] = [
    "where",
    "partitions",
    "temporary_partitions",
    "jsonpaths",
    "json_root",
    "partial_update",
    "merge_condition",
    "compression",
    "content-encoding",
    "envelope",
    "negative",
];

/// How the body is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// Separated text.
    Csv(CsvFormat),
    /// Objects one after the other, or (`strip_outer_array`) one array of them.
    Json {
        /// The body is one array.
        strip_outer_array: bool,
    },
}

/// The separators of CSV.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvFormat {
    /// Between fields.
    pub column_separator: Vec<u8>,
    /// Between rows.
    pub row_delimiter: Vec<u8>,
    /// Records to pass over at the start.
    pub skip_header: usize,
    /// Blanks around unquoted fields are dropped.
    pub trim_space: bool,
    /// Quotes a field.
    pub enclose: Option<u8>,
    /// Makes the next byte literal.
    pub escape: Option<u8>,
}

impl Default for CsvFormat {
    fn default() -> Self {
        CsvFormat {
            column_separator: vec![b'\t'],
            row_delimiter: vec![b'\n'],
            skip_header: 0,
            trim_space: false,
            enclose: None,
            escape: None,
        }
    }
}

/// What a Stream Load asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadSpec {
    /// The client's label.
    pub label: Option<String>,
    /// How the body is written.
    pub format: Format,
    /// The `columns` header as written.
    pub columns: Option<String>,
    /// Share of rows that may be filtered, 0 to 1.
    pub max_filter_ratio: f64,
    /// A value that cannot be cast rejects its row instead of becoming NULL.
    pub strict_mode: bool,
    /// From begin to commit.
    pub timeout: Duration,
}

/// Reads the headers. An error is the `Message` of a `Fail` reply.
pub fn parse<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Result<LoadSpec, String> {
    let mut csv = CsvFormat::default();
    let mut spec = LoadSpec {
        label: None,
        format: Format::Csv(CsvFormat::default()),
        columns: None,
        max_filter_ratio: 0.0,
        strict_mode: false,
        timeout: TIMEOUT_DEFAULT,
    };
    let (mut format, mut strip_outer_array) = ("csv".to_string(), false);
    for (name, value) in headers {
        match name.to_ascii_lowercase().as_str() {
            "label" => spec.label = (!value.is_empty()).then(|| value.to_string()),
            "format" => format = value.trim().to_ascii_lowercase(),
            "columns" => spec.columns = Some(value.to_string()),
            "column_separator" => csv.column_separator = separator("column_separator", value)?,
            "row_delimiter" => csv.row_delimiter = separator("row_delimiter", value)?,
            "skip_header" => csv.skip_header = number("skip_header", value)?,
            "trim_space" => csv.trim_space = boolean("trim_space", value)?,
            "enclose" => csv.enclose = value.bytes().next(),
            "escape" => csv.escape = value.bytes().next(),
            "max_filter_ratio" => spec.max_filter_ratio = ratio(value)?,
            "strict_mode" => spec.strict_mode = boolean("strict_mode", value)?,
            "timeout" => spec.timeout = timeout(value)?,
            "strip_outer_array" => strip_outer_array = boolean("strip_outer_array", value)?,
            name if NOT_BUILT.contains(&name) && !harmless(value) => {
                return Err(format!(
                    "header {name} is not supported yet; remove it, or prepare the data before the load"
                ));
            }
            _ => {}
        }
    }
    spec.format = match format.as_str() {
        "csv" | "" => Format::Csv(csv),
        "json" => Format::Json { strip_outer_array },
        other => return Err(format!("unknown data format, format={other}; use csv or json")),
    };
    Ok(spec)
}

/// A value that asks for what happens anyway.
fn harmless(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "" | "false" | "identity")
}

fn boolean(name: &str, value: &str) -> Result<bool, String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("Invalid {name}: {value}. Must be bool type")),
    }
}

fn number(name: &str, value: &str) -> Result<usize, String> {
    value.trim().parse().map_err(|_| format!("Invalid {name}: {value}. Must be an integer of 0 or more"))
}

fn ratio(value: &str) -> Result<f64, String> {
    match value.trim().parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(format!("Invalid max_filter_ratio: {value}. Must be between 0 and 1")),
    }
}

fn timeout(value: &str) -> Result<Duration, String> {
    match value.trim().parse::<u64>() {
        Ok(seconds) if (1..=TIMEOUT_SECONDS_MAX).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("Invalid timeout: {value}. Must be 1 to {TIMEOUT_SECONDS_MAX} seconds")),
    }
}

/// A separator: as it stands, or escaped (`\t`, `\n`, `\r`, `\x01`, `\\x01`), or `0x0102`.
fn separator(name: &str, text: &str) -> Result<Vec<u8>, String> {
    let bad = || format!("Invalid {name}: {text}");
    let bytes = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.is_empty() => hex_bytes(hex).ok_or_else(bad)?,
        _ => unescape(text).ok_or_else(bad)?,
    };
    match bytes.len() {
        0 => Err(format!("Invalid {name}: it is empty")),
        n if n > SEPARATOR_BYTES_MAX => Err(format!("Invalid {name}: {n} bytes, at most {SEPARATOR_BYTES_MAX}")),
        _ => Ok(bytes),
    }
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) || !hex.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).ok()).collect()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    // A header cannot hold a backslash before x01 without some clients doubling it.
    let text = text.replace("\\\\", "\\");
    let (mut out, mut rest) = (Vec::new(), text.as_str());
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let tail = &rest[at + 1..];
        let (byte, used) = match tail.as_bytes().first() {
            Some(b't') => (b'\t', 1),
            Some(b'n') => (b'\n', 1),
            Some(b'r') => (b'\r', 1),
            Some(b'x') => (u8::from_str_radix(tail.get(1..3)?, 16).ok()?, 3),
            _ => (b'\\', 0),
        };
        out.push(byte);
        rest = &tail[used..];
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(headers: &[(&str, &str)]) -> Result<LoadSpec, String> {
        parse(headers.iter().copied())
    }

    #[test]
    fn separators() {
        for (text, bytes) in [
            (",", &b","[..]),
            ("\\t", b"\t"),
            ("\\x01", b"\x01"),
            ("\\\\x01", b"\x01"),
            ("0x0102", b"\x01\x02"),
            ("||", b"||"),
            ("\\x0a\\x0d", b"\n\r"),
            ("\u{e9}", "\u{e9}".as_bytes()),
        ] {
            assert_eq!(separator("column_separator", text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "0xabc", "0x\u{e9}", "\\x", "\\xzz", &"a".repeat(51)] {
            assert!(separator("column_separator", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_headers_are_named() {
        for (name, value) in [
            ("format", "parquet"),
            ("max_filter_ratio", "1.1"),
            ("max_filter_ratio", "NaN"),
            ("strict_mode", "maybe"),
            ("timeout", "0"),
            ("skip_header", "-1"),
            ("partial_update", "true"),
            ("jsonpaths", "[\"$.a\"]"),
        ] {
            let message = spec(&[(name, value)]).unwrap_err();
            assert!(message.contains(name) || message.contains("format"), "{message}");
        }
        assert!(spec(&[("partial_update", "false"), ("user-agent", "curl"), ("Label", "l1")]).is_ok());
    }
}
