//! One value of a binary row or of a statement's parameter, and its encoding by column type.

use std::fmt;

use crate::codec::{Reader, put_lenenc_bytes};
use crate::constants::column_type as ty;
use crate::error::{Result, WireError};

/// A value as it travels. Strings, decimals and everything the protocol sends as a length-encoded string are `Bytes`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
    Date {
        year: u16,
        month: u8,
        day: u8,
    },
    DateTime {
        year: u16,
        month: u8,
        day: u8,
        hour: u8,
        minute: u8,
        second: u8,
        micros: u32,
    },
    /// `hours` includes the days the protocol carries apart.
    Time {
        negative: bool,
        hours: u32,
        minute: u8,
        second: u8,
        micros: u32,
    },
}

impl Value {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The column type that carries it as a parameter, and whether it is unsigned.
    pub fn parameter_type(&self) -> (u8, bool) {
        match self {
            Self::Null => (ty::NULL, false),
            Self::Int(_) => (ty::LONGLONG, false),
            Self::UInt(_) => (ty::LONGLONG, true),
            Self::Float(_) => (ty::FLOAT, false),
            Self::Double(_) => (ty::DOUBLE, false),
            Self::Bytes(_) => (ty::VAR_STRING, false),
            Self::Date { .. } => (ty::DATE, false),
            Self::DateTime { .. } => (ty::DATETIME, false),
            Self::Time { .. } => (ty::TIME, false),
        }
    }

    /// Appends it in the width its `parameter_type` has; NULL has no bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Int(v) => out.extend_from_slice(&v.to_le_bytes()),
            Self::UInt(v) => out.extend_from_slice(&v.to_le_bytes()),
            Self::Float(v) => out.extend_from_slice(&v.to_le_bytes()),
            Self::Double(v) => out.extend_from_slice(&v.to_le_bytes()),
            Self::Bytes(v) => put_lenenc_bytes(out, v),
            Self::Date { year, month, day } => put_date(out, *year, *month, *day),
            Self::DateTime { year, month, day, hour, minute, second, micros } => {
                put_datetime(out, (*year, *month, *day), (*hour, *minute, *second), *micros);
            }
            Self::Time { negative, hours, minute, second, micros } => {
                put_time(out, *negative, *hours, (*minute, *second), *micros);
            }
        }
    }

    /// Reads a value of the given column type.
    pub fn decode(reader: &mut Reader<'_>, column_type: u8, unsigned: bool) -> Result<Self> {
        Ok(match column_type {
            ty::NULL => Self::Null,
            ty::TINY => integer(u64::from(reader.u8()?), 8, unsigned),
            ty::SHORT | ty::YEAR => integer(u64::from(reader.u16()?), 16, unsigned),
            ty::LONG | ty::INT24 => integer(u64::from(reader.u32()?), 32, unsigned),
            ty::LONGLONG => integer(reader.u64()?, 64, unsigned),
            ty::FLOAT => Self::Float(f32::from_bits(reader.u32()?)),
            ty::DOUBLE => Self::Double(f64::from_bits(reader.u64()?)),
            ty::DATE | ty::DATETIME | ty::TIMESTAMP => date_or_datetime(reader, column_type == ty::DATE)?,
            ty::TIME => time(reader)?,
            ty::DECIMAL | ty::VARCHAR | ty::BIT | ty::JSON..=ty::GEOMETRY => {
                Self::Bytes(reader.lenenc_bytes()?.to_vec())
            }
            _ => return Err(WireError::Malformed("unknown column type")),
        })
    }
}

fn integer(raw: u64, bits: u32, unsigned: bool) -> Value {
    if unsigned {
        return Value::UInt(raw);
    }
    let shift = 64 - bits;
    Value::Int((raw << shift) as i64 >> shift)
}

fn date_or_datetime(reader: &mut Reader<'_>, is_date: bool) -> Result<Value> {
    let len = reader.u8()?;
    if !matches!(len, 0 | 4 | 7 | 11) {
        return Err(WireError::Malformed("a date has 0, 4, 7 or 11 bytes"));
    }
    let (mut year, mut month, mut day) = (0, 0, 0);
    let (mut hour, mut minute, mut second, mut micros) = (0, 0, 0, 0);
    if len >= 4 {
        (year, month, day) = (reader.u16()?, reader.u8()?, reader.u8()?);
    }
    if len >= 7 {
        (hour, minute, second) = (reader.u8()?, reader.u8()?, reader.u8()?);
    }
    if len == 11 {
        micros = reader.u32()?;
    }
    if is_date && len <= 4 {
        return Ok(Value::Date { year, month, day });
    }
    Ok(Value::DateTime { year, month, day, hour, minute, second, micros })
}

fn time(reader: &mut Reader<'_>) -> Result<Value> {
    let len = reader.u8()?;
    if !matches!(len, 0 | 8 | 12) {
        return Err(WireError::Malformed("a time has 0, 8 or 12 bytes"));
    }
    if len == 0 {
        return Ok(Value::Time { negative: false, hours: 0, minute: 0, second: 0, micros: 0 });
    }
    let negative = reader.u8()? != 0;
    let days = reader.u32()?;
    let rest = u32::from(reader.u8()?);
    let hours = days.checked_mul(24).and_then(|hours| hours.checked_add(rest));
    let hours = hours.ok_or(WireError::Malformed("a time of too many days"))?;
    let (minute, second) = (reader.u8()?, reader.u8()?);
    let micros = if len == 12 { reader.u32()? } else { 0 };
    Ok(Value::Time { negative, hours, minute, second, micros })
}

/// Appends a DATE of a binary row.
pub fn put_date(out: &mut Vec<u8>, year: u16, month: u8, day: u8) {
    out.push(4);
    out.extend_from_slice(&year.to_le_bytes());
    out.extend_from_slice(&[month, day]);
}

/// Appends a DATETIME of a binary row, in the shortest of its three forms.
pub fn put_datetime(out: &mut Vec<u8>, date: (u16, u8, u8), time: (u8, u8, u8), micros: u32) {
    let len = match (time, micros) {
        ((0, 0, 0), 0) => 4,
        (_, 0) => 7,
        _ => 11,
    };
    out.push(len);
    out.extend_from_slice(&date.0.to_le_bytes());
    out.extend_from_slice(&[date.1, date.2]);
    if len >= 7 {
        out.extend_from_slice(&[time.0, time.1, time.2]);
    }
    if len == 11 {
        out.extend_from_slice(&micros.to_le_bytes());
    }
}

/// Appends a TIME of a binary row.
pub fn put_time(out: &mut Vec<u8>, negative: bool, hours: u32, rest: (u8, u8), micros: u32) {
    out.push(if micros == 0 { 8 } else { 12 });
    out.push(u8::from(negative));
    out.extend_from_slice(&(hours / 24).to_le_bytes());
    out.extend_from_slice(&[(hours % 24) as u8, rest.0, rest.1]);
    if micros != 0 {
        out.extend_from_slice(&micros.to_le_bytes());
    }
}

impl fmt::Display for Value {
    /// The value as a text row would carry it; NULL as `NULL`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(v) => write!(f, "{v}"),
            Self::UInt(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v}"),
            Self::Double(v) => write!(f, "{v}"),
            Self::Bytes(v) => f.write_str(&String::from_utf8_lossy(v)),
            Self::Date { year, month, day } => write!(f, "{year:04}-{month:02}-{day:02}"),
            Self::DateTime { year, month, day, hour, minute, second, micros } => {
                write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
                fraction(f, *micros)
            }
            Self::Time { negative, hours, minute, second, micros } => {
                let sign = if *negative { "-" } else { "" };
                write!(f, "{sign}{hours:02}:{minute:02}:{second:02}")?;
                fraction(f, *micros)
            }
        }
    }
}

fn fraction(f: &mut fmt::Formatter<'_>, micros: u32) -> fmt::Result {
    if micros == 0 { Ok(()) } else { write!(f, ".{micros:06}") }
}

impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Self::Double(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::Bytes(v.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Self {
        Self::Bytes(v.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datetime(hour: u8, micros: u32) -> Value {
        Value::DateTime { year: 2026, month: 11, day: 21, hour, minute: 0, second: 0, micros }
    }

    #[test]
    fn values_round_trip_by_their_parameter_type() {
        let values = [
            Value::Null,
            Value::Int(i64::MIN),
            Value::UInt(u64::MAX),
            Value::Float(1.5),
            Value::Double(-0.1),
            Value::from("text"),
            Value::Date { year: 9999, month: 12, day: 31 },
            datetime(0, 0),
            datetime(23, 0),
            datetime(0, 1),
            Value::Time { negative: true, hours: 838, minute: 59, second: 59, micros: 0 },
            Value::Time { negative: false, hours: 0, minute: 0, second: 0, micros: 7 },
        ];
        for value in values {
            let (column_type, unsigned) = value.parameter_type();
            let mut out = Vec::new();
            value.encode(&mut out);
            let mut reader = Reader::new(&out);
            assert_eq!(Value::decode(&mut reader, column_type, unsigned).unwrap(), value);
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn narrow_integers_keep_their_sign() {
        let read = |bytes: &[u8], t, unsigned| Value::decode(&mut Reader::new(bytes), t, unsigned).unwrap();
        assert_eq!(read(&[0xFF], ty::TINY, false), Value::Int(-1));
        assert_eq!(read(&[0xFF], ty::TINY, true), Value::UInt(255));
        assert_eq!(read(&[0, 0x80], ty::SHORT, false), Value::Int(-32768));
        assert_eq!(read(&[1, 0, 0, 0x80], ty::LONG, false), Value::Int(-2147483647));
    }

    #[test]
    fn text_forms() {
        assert_eq!(datetime(1, 20).to_string(), "2026-11-21 01:00:00.000020");
        assert_eq!(
            Value::Time { negative: true, hours: 100, minute: 2, second: 3, micros: 0 }.to_string(),
            "-100:02:03"
        );
    }

    #[test]
    fn bad_lengths_are_malformed() {
        assert!(Value::decode(&mut Reader::new(&[5, 1, 2, 3, 4, 5]), ty::DATETIME, false).is_err());
        assert!(Value::decode(&mut Reader::new(&[9]), ty::TIME, false).is_err());
        assert!(Value::decode(&mut Reader::new(&[8, 0, 255, 255, 255, 255, 0, 0, 0]), ty::TIME, false).is_err());
        assert!(Value::decode(&mut Reader::new(&[1]), 77, false).is_err());
    }
}
