//! Functions of the clock and the session's time zone. The time of a query is fixed when its plan is simplified
//! (`SimplifyContext::query_execution_start_time`); a plan that is kept must be simplified anew for each execution.

use std::str::FromStr;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::arrow::temporal_conversions::{as_datetime, as_datetime_with_timezone};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::builtin::Param::{Big, DateTime, Text};
use super::builtin::{Builtin, Call, returns};
use super::date_format;
use crate::types::civil::{self, DAY, SECOND};
use crate::types::{DATETIME, text};

/// All of them, under all their names.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut all: Vec<ScalarUDF> = [
        ("now", Reading::Local),
        ("current_timestamp", Reading::Local),
        ("localtime", Reading::Local),
        ("localtimestamp", Reading::Local),
        ("sysdate", Reading::Local),
        ("curdate", Reading::Date),
        ("current_date", Reading::Date),
        ("curtime", Reading::Time),
        ("current_time", Reading::Time),
        ("utc_timestamp", Reading::Utc),
        ("utc_time", Reading::UtcTime),
        ("__unix_now", Reading::Unix),
    ]
    .into_iter()
    .map(|(name, reading)| ScalarUDF::from(Clock::new(name, reading)))
    .collect();
    let mut add = |names: &[&'static str], make: fn(&'static str) -> Builtin| {
        all.extend(names.iter().map(|name| make(name).build()));
    };
    add(&["unix_timestamp"], |n| {
        Builtin::new(n)
            .on(&[DateTime], returns::BIG, unix_timestamp)
            .on(&[Text, Text], returns::BIG, |c| {
                let (s, format) = (c.text(0), c.text(1));
                let zone = known_zone(c.zone)?;
                c.make::<Int64Type>(|row| Some(unix_of(date_format::parse(s.get(row)?, format.get(row)?)?, zone)))
            })
            .zoned()
    });
    add(&["from_unixtime"], |n| {
        Builtin::new(n)
            .zoned()
            .on(&[Big], returns::TEXT, from_unixtime)
            .on(&[Big, Text], returns::TEXT, from_unixtime)
            .on(&[Big, Text, Text], returns::TEXT, from_unixtime)
    });
    add(&["from_unixtime_ms"], |n| {
        Builtin::new(n)
            .on(&[Big], returns::TEXT, |c| {
                let ms = c.big(0);
                let zone = known_zone(c.zone)?;
                c.write_text(|row, out| write_moment(local_of(ms.get(row)?.checked_mul(1000)?, zone)?, out))
            })
            .zoned()
    });
    add(&["convert_tz"], |n| {
        Builtin::new(n).on(&[DateTime, Text, Text], returns::MOMENT, |c| {
            let (at, from, to) = (c.datetime(0), c.text(1), c.text(2));
            c.make::<TimestampMicrosecondType>(|row| {
                let utc = utc_of(at.get(row)?, zone_named(from.get(row)?)?)?;
                civil::micros_in_range(local_of(utc, zone_named(to.get(row)?)?)?)
            })
        })
    });
    add(&["current_timezone"], |n| {
        Builtin::new(n)
            .on(&[], returns::TEXT, |c| {
                let zone = c.zone;
                c.make_text(|_| Some(zone))
            })
            .zoned()
    });
    all
}

/// The zone a session's `time_zone` names: an offset (`+08:00`), a name, or `SYSTEM`; none when there is no such zone.
pub fn zone_named(name: &str) -> Option<Tz> {
    let name = match name.trim() {
        "SYSTEM" | "system" | "" => "UTC",
        // StarRocks' own default, China Standard Time.
        "CST" => "Asia/Shanghai",
        other => other,
    };
    Tz::from_str(name).ok().or_else(|| Tz::from_str(&padded_offset(name)?).ok())
}

/// `+8:00` as `+08:00`.
fn padded_offset(name: &str) -> Option<String> {
    let (sign, rest) = name.split_at_checked(1)?;
    let (hour, minute) = rest.split_once(':')?;
    let hour: u32 = hour.parse().ok()?;
    matches!(sign, "+" | "-").then(|| format!("{sign}{hour:02}:{minute}"))
}

/// The session's zone, by a plan's options.
pub(crate) fn zone_of(config: &ConfigOptions) -> &str {
    config.execution.time_zone.as_deref().unwrap_or("UTC")
}

fn known_zone(name: &str) -> Result<Tz> {
    zone_named(name).ok_or_else(|| DataFusionError::Plan(format!("Unknown or incorrect time zone: '{name}'")))
}

/// UTC to local time, in microseconds.
fn local_of(utc: i64, zone: Tz) -> Option<i64> {
    let at = as_datetime_with_timezone::<TimestampMicrosecondType>(utc, zone)?;
    Some(at.naive_local().and_utc().timestamp_micros())
}

/// Local time to UTC; the earlier of two, and what a gap skips is read with the offset before it.
fn utc_of(local: i64, zone: Tz) -> Option<i64> {
    let naive = as_datetime::<TimestampMicrosecondType>(local)?;
    match naive.and_local_timezone(zone).earliest() {
        Some(at) => Some(at.timestamp_micros()),
        None => {
            let before = as_datetime::<TimestampMicrosecondType>(local - 3600 * SECOND)?;
            Some(before.and_local_timezone(zone).earliest()?.timestamp_micros() + 3600 * SECOND)
        }
    }
}

/// Seconds since 1970; what lies before it, or after 2^31 * 4, is 0.
fn unix_of(local: i64, zone: Tz) -> i64 {
    utc_of(local, zone).map_or(0, |utc| utc.div_euclid(SECOND)).max(0)
}

fn unix_timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let at = call.datetime(0);
    let zone = known_zone(call.zone)?;
    call.make::<Int64Type>(|row| Some(unix_of(at.get(row)?, zone)))
}

fn write_moment(micros: i64, out: &mut String) -> Option<()> {
    let mut bytes = Vec::with_capacity(26);
    text::push_datetime(&mut bytes, civil::micros_in_range(micros)?);
    out.push_str(std::str::from_utf8(&bytes).ok()?);
    Some(())
}

fn from_unixtime(call: &Call<'_>) -> Result<ArrayRef> {
    let seconds = call.big(0);
    let format = (call.count() >= 2).then(|| call.text(1));
    let zone_name = (call.count() == 3).then(|| call.text(2));
    let session = known_zone(call.zone)?;
    call.write_text(|row, out| {
        let seconds = seconds.get(row).filter(|s| (0..=253_402_243_199).contains(s))?;
        let zone = match &zone_name {
            Some(name) => zone_named(name.get(row)?)?,
            None => session,
        };
        let local = local_of(seconds * SECOND, zone)?;
        match &format {
            Some(format) => date_format::format(local, format.get(row)?, out),
            None => write_moment(local, out),
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reading {
    Local,
    Date,
    Time,
    Utc,
    UtcTime,
    /// Seconds since 1970.
    Unix,
}

/// A function of the query's time.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Clock {
    name: &'static str,
    reading: Reading,
    signature: Signature,
}

impl Clock {
    fn new(name: &'static str, reading: Reading) -> Clock {
        Clock { name, reading, signature: Signature::user_defined(Volatility::Stable) }
    }

    /// The value at a moment; `digits` of its fraction are kept.
    fn read(&self, utc: i64, digits: i64, config: &ConfigOptions) -> Result<ScalarValue> {
        let unit = 10i64.pow(6 - digits.clamp(0, 6) as u32);
        let utc = utc - utc.rem_euclid(unit);
        let zone = known_zone(zone_of(config))?;
        let local = local_of(utc, zone).unwrap_or(utc);
        Ok(match self.reading {
            Reading::Local => ScalarValue::TimestampMicrosecond(Some(local), None),
            Reading::Utc => ScalarValue::TimestampMicrosecond(Some(utc), None),
            Reading::Date => ScalarValue::Date32(Some(civil::split(local).0)),
            Reading::Time => ScalarValue::DurationMicrosecond(Some(local.rem_euclid(DAY))),
            Reading::UtcTime => ScalarValue::DurationMicrosecond(Some(utc.rem_euclid(DAY))),
            Reading::Unix => ScalarValue::Int64(Some(utc.div_euclid(SECOND))),
        })
    }
}

fn system_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as i64)
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [] => Ok(Vec::new()),
            [ty] if ty.is_integer() || ty.is_null() => Ok(vec![DataType::Int64]),
            _ => Err(DataFusionError::Plan(super::no_matching_function(self.name, types))),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(match self.reading {
            Reading::Local | Reading::Utc => DATETIME,
            Reading::Date => DataType::Date32,
            Reading::Time | Reading::UtcTime => DataType::Duration(TimeUnit::Microsecond),
            Reading::Unix => DataType::Int64,
        })
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let digits = match args.first() {
            None => 0,
            Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::Int64)? {
                ScalarValue::Int64(Some(digits)) => digits,
                _ => 0,
            },
            Some(_) => return Ok(ExprSimplifyResult::Original(args)),
        };
        let utc = info.query_execution_start_time().map_or_else(system_micros, |at| at.timestamp_micros());
        let value = self.read(utc, digits, info.config_options())?;
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(value, None)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.read(system_micros(), 0, &args.config_options)?))
    }
}
