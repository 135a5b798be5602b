//! Constants beside a column: brought to the column's type when that loses nothing, so that the column stays bare and
//! storage can prune by it.

use datafusion::arrow::datatypes::{DataType, i256};
use datafusion::common::ScalarValue;

use super::coercion::{self, integer_rank};
use super::parse::{self, POW10};
use super::{DATETIME, LARGEINT, civil};

/// The literal with the type StarRocks gives it: the narrowest integer.
pub fn narrowed(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Int64(Some(number)) => integer(i128::from(number), &coercion::narrowest_integer(number))
            .unwrap_or(ScalarValue::Int64(Some(number))),
        ScalarValue::UInt64(Some(number)) => ScalarValue::Decimal256(Some(i256::from_i128(i128::from(number))), 39, 0),
        ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => ScalarValue::Utf8(text),
        other => other,
    }
}

/// The literal as `ty`, when it is exactly one of its values and comparing there is comparing by the rules.
pub fn fit(value: &ScalarValue, ty: &DataType) -> Option<ScalarValue> {
    if value.data_type() == *ty {
        return Some(value.clone());
    }
    match value {
        ScalarValue::Utf8(Some(text)) => fit_text(text, ty),
        ScalarValue::Date32(Some(days)) if *ty == DATETIME => {
            Some(ScalarValue::TimestampMicrosecond(Some(i64::from(*days) * civil::DAY), None))
        }
        ScalarValue::TimestampMicrosecond(Some(micros), None) if *ty == DataType::Date32 => {
            let (days, rest) = civil::split(*micros);
            (rest == 0).then_some(ScalarValue::Date32(Some(days)))
        }
        _ => {
            let (unscaled, scale) = exact(value)?;
            fit_number(unscaled, scale, ty)
        }
    }
}

/// Value and scale of an exact number.
fn exact(value: &ScalarValue) -> Option<(i128, i8)> {
    Some(match value {
        ScalarValue::Boolean(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Int8(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Int16(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Int32(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Int64(Some(v)) => (i128::from(*v), 0),
        ScalarValue::Decimal128(Some(v), _, scale) => (*v, *scale),
        ScalarValue::Decimal256(Some(v), _, scale) => (v.to_i128()?, *scale),
        _ => return None,
    })
}

fn fit_number(unscaled: i128, scale: i8, ty: &DataType) -> Option<ScalarValue> {
    match ty {
        DataType::Decimal128(precision, target) => {
            let value = rescale(unscaled, scale, *target)?;
            (value.unsigned_abs() < POW10[*precision as usize] as u128).then_some(ScalarValue::Decimal128(
                Some(value),
                *precision,
                *target,
            ))
        }
        DataType::Boolean => match rescale(unscaled, scale, 0)? {
            0 => Some(ScalarValue::Boolean(Some(false))),
            1 => Some(ScalarValue::Boolean(Some(true))),
            _ => None,
        },
        _ if integer_rank(ty).is_some() => integer(rescale(unscaled, scale, 0)?, ty),
        _ => None,
    }
}

/// Another scale without rounding.
fn rescale(unscaled: i128, from: i8, to: i8) -> Option<i128> {
    if to >= from {
        return unscaled.checked_mul(*POW10.get((to - from) as usize)?);
    }
    let power = *POW10.get((from - to) as usize)?;
    (unscaled % power == 0).then_some(unscaled / power)
}

fn integer(value: i128, ty: &DataType) -> Option<ScalarValue> {
    Some(match ty {
        DataType::Int8 => ScalarValue::Int8(Some(value.try_into().ok()?)),
        DataType::Int16 => ScalarValue::Int16(Some(value.try_into().ok()?)),
        DataType::Int32 => ScalarValue::Int32(Some(value.try_into().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.try_into().ok()?)),
        &LARGEINT => ScalarValue::Decimal256(Some(i256::from_i128(value)), 39, 0),
        _ => return None,
    })
}

fn fit_text(text: &str, ty: &DataType) -> Option<ScalarValue> {
    let bytes = parse::trim(text.as_bytes());
    match ty {
        DataType::Date32 => {
            let (days, time) = parse::date_and_time(bytes)?;
            (time == civil::Hms::default()).then_some(ScalarValue::Date32(Some(days)))
        }
        DataType::Timestamp(..) if *ty == DATETIME => {
            Some(ScalarValue::TimestampMicrosecond(Some(parse::datetime(bytes)?), None))
        }
        DataType::Float64 => Some(ScalarValue::Float64(Some(parse::double(bytes)?))),
        _ => {
            let (unscaled, scale) = exact_text(bytes)?;
            fit_number(unscaled, scale, ty)
        }
    }
}

/// An exact number written as digits with at most a point.
fn exact_text(text: &[u8]) -> Option<(i128, i8)> {
    if text.iter().any(|b| matches!(b, b'e' | b'E')) {
        return None;
    }
    let scale = text.iter().position(|b| *b == b'.').map_or(0, |at| text.len() - at - 1);
    if scale > 37 || text.len() > 38 {
        return None;
    }
    Some((parse::decimal(text, 38, scale as i8)?, scale as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_loses_nothing_fits() {
        let text = |t: &str| ScalarValue::Utf8(Some(t.into()));
        assert_eq!(fit(&text("5"), &DataType::Int32), Some(ScalarValue::Int32(Some(5))));
        assert_eq!(fit(&text("5.5"), &DataType::Int32), None);
        assert_eq!(fit(&text("5.0"), &DataType::Int32), Some(ScalarValue::Int32(Some(5))));
        assert_eq!(fit(&text("x"), &DataType::Int32), None);
        assert_eq!(fit(&ScalarValue::Int64(Some(300)), &DataType::Int8), None);
        let price = DataType::Decimal128(10, 2);
        assert_eq!(fit(&ScalarValue::Int8(Some(5)), &price), Some(ScalarValue::Decimal128(Some(500), 10, 2)));
        assert_eq!(fit(&ScalarValue::Decimal128(Some(5), 2, 3), &price), None);
        assert_eq!(fit(&text("1995-01-01"), &DataType::Date32), Some(ScalarValue::Date32(Some(9131))));
        assert_eq!(fit(&text("1995-01-01 00:00:01"), &DataType::Date32), None);
    }
}
