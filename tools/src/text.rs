//! Values as text.

use starling_storage::schema::{ColumnType, CompareOp, Predicate, Scalar};
use starling_storage::segment::{Bounds, Zone};

/// Most bytes of a value that are printed.
const BYTES_MAX: usize = 64;

/// Bytes, printable ones as they are.
pub fn bytes(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(BYTES_MAX)];
    let more = if cut.len() < bytes.len() { format!("... ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{more}", cut.escape_ascii())
}

/// The names and other words within bytes of the engine: runs of four printable characters and more.
pub fn words(bytes: &[u8]) -> String {
    let words = bytes.split(|byte| !byte.is_ascii_graphic() && *byte != b' ').filter(|run| run.len() >= 4);
    let words: Vec<_> = words.take(16).map(|run| String::from_utf8_lossy(run)).collect();
    words.join(" ")
}

/// A type as SQL writes it.
pub fn column_type(ty: ColumnType) -> String {
    match ty {
        ColumnType::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
        ColumnType::Char(length) => format!("CHAR({length})"),
        ColumnType::Varchar(length) => format!("VARCHAR({length})"),
        other => format!("{other:?}").to_uppercase(),
    }
}

/// A zone of a column of this type.
pub fn zone(zone: &Zone, ty: ColumnType) -> String {
    let bounds = match &zone.bounds {
        Bounds::Empty => "no values".to_string(),
        Bounds::Int(min, max) => format!("{} to {}", int(*min, ty), int(*max, ty)),
        Bounds::Wide(min, max) => format!("{} to {}", wide(*min, ty), wide(*max, ty)),
        Bounds::Float(min, max) => format!("{:?} to {:?}", float(*min), float(*max)),
        Bounds::Text { min, max, max_cut } => {
            format!("{} to {}{}", bytes(min), bytes(max), if *max_cut { " and beyond" } else { "" })
        }
    };
    format!("{bounds}, {} of {} NULL", zone.nulls, zone.rows)
}

fn int(value: i64, ty: ColumnType) -> String {
    let days = match ty {
        ColumnType::Date => value,
        ColumnType::DateTime => value.div_euclid(86_400_000_000),
        _ => return value.to_string(),
    };
    let (year, month, day) = date(days);
    let date = format!("{year:04}-{month:02}-{day:02}");
    if ty == ColumnType::Date {
        return date;
    }
    let micros = value.rem_euclid(86_400_000_000);
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    format!("{date} {:02}:{:02}:{:02}.{micros:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of days since 1970-01-01. (Source: Hinnant, "chrono-compatible low-level date algorithms".)
fn date(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn wide(value: i128, ty: ColumnType) -> String {
    let ColumnType::Decimal { scale, .. } = ty else { return value.to_string() };
    if scale == 0 {
        return value.to_string();
    }
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale as usize + 1);
    let (whole, part) = digits.split_at(digits.len() - scale as usize);
    format!("{}{whole}.{part}", if value < 0 { "-" } else { "" })
}

/// The inverse of the total order of floats (FORMAT.md of segments).
fn float(order: i64) -> f64 {
    f64::from_bits((order ^ (((order >> 63) as u64) >> 1) as i64) as u64)
}

/// A conjunction.
pub fn predicates(predicates: &[Predicate]) -> String {
    let texts: Vec<String> = predicates.iter().map(predicate).collect();
    if texts.is_empty() { "all rows".to_string() } else { texts.join(" AND ") }
}

fn predicate(predicate: &Predicate) -> String {
    let list = |values: &[Scalar]| values.iter().map(scalar).collect::<Vec<_>>().join(", ");
    match predicate {
        Predicate::Compare { column, op, value } => format!("column {column} {} {}", operator(*op), scalar(value)),
        Predicate::In { column, values } => format!("column {column} IN ({})", list(values)),
        Predicate::NotIn { column, values } => format!("column {column} NOT IN ({})", list(values)),
        Predicate::Prefix { column, prefix } => format!("column {column} begins with {}", bytes(prefix.as_bytes())),
        Predicate::IsNull { column } => format!("column {column} IS NULL"),
        Predicate::IsNotNull { column } => format!("column {column} IS NOT NULL"),
    }
}

fn operator(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => "=",
        CompareOp::Ne => "<>",
        CompareOp::Lt => "<",
        CompareOp::Le => "<=",
        CompareOp::Gt => ">",
        CompareOp::Ge => ">=",
    }
}

fn scalar(value: &Scalar) -> String {
    match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Wide(value) => value.to_string(),
        Scalar::Float(value) => format!("{value:?}"),
        Scalar::Text(value) => bytes(value.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_sql_writes_them() {
        assert_eq!(int(0, ColumnType::Date), "1970-01-01");
        assert_eq!(int(-1, ColumnType::Date), "1969-12-31");
        assert_eq!(int(19_782, ColumnType::Date), "2024-02-29");
        assert_eq!(int(1_709_210_096_000_007, ColumnType::DateTime), "2024-02-29 12:34:56.000007");
        assert_eq!(int(i64::MIN, ColumnType::Int), i64::MIN.to_string());
        // Damaged bounds are any number.
        for any in [i64::MIN, i64::MAX] {
            assert!(!int(any, ColumnType::Date).is_empty() && !int(any, ColumnType::DateTime).is_empty());
        }
        let money = ColumnType::Decimal { precision: 10, scale: 2 };
        assert_eq!(
            [wide(-5, money), wide(12_345, money), wide(0, money)],
            ["-0.05".to_string(), "123.45".to_string(), "0.00".to_string()]
        );
        for value in [-1.5, -0.0, 0.0, 2.25e300, f64::NEG_INFINITY] {
            let bits = f64::to_bits(value) as i64;
            assert_eq!(float(bits ^ (((bits >> 63) as u64) >> 1) as i64).to_bits(), value.to_bits());
        }
        assert_eq!(words(b"\x01\x02orders\x00ab\x00status"), "orders status");
    }
}
