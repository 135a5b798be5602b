//! Functions on DATE and DATETIME.

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::builtin::Param::{Big, Date, DateTime, Int, Text};
use super::builtin::{Builtin, Call, Returns, returns};
use super::date_format;
use crate::types::DATETIME;
use crate::types::civil::{self, DAY, SECOND};

/// A unit of time arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
}

impl Unit {
    /// By its name in any case.
    pub(super) fn named(name: &str) -> Option<Unit> {
        Some(match name.to_ascii_lowercase().as_str() {
            "year" => Unit::Year,
            "quarter" => Unit::Quarter,
            "month" => Unit::Month,
            "week" => Unit::Week,
            "day" => Unit::Day,
            "hour" => Unit::Hour,
            "minute" => Unit::Minute,
            "second" => Unit::Second,
            "millisecond" => Unit::Millisecond,
            "microsecond" => Unit::Microsecond,
            _ => return None,
        })
    }

    /// Months of a unit that is counted in months.
    fn months(self) -> Option<i64> {
        match self {
            Unit::Year => Some(12),
            Unit::Quarter => Some(3),
            Unit::Month => Some(1),
            _ => None,
        }
    }

    /// Microseconds of a unit of fixed length.
    fn micros(self) -> i64 {
        match self {
            Unit::Week => 7 * DAY,
            Unit::Day => DAY,
            Unit::Hour => 3600 * SECOND,
            Unit::Minute => 60 * SECOND,
            Unit::Second => SECOND,
            Unit::Millisecond => 1000,
            _ => 1,
        }
    }

    fn is_of_day(self) -> bool {
        matches!(self, Unit::Hour | Unit::Minute | Unit::Second | Unit::Millisecond | Unit::Microsecond)
    }
}

/// `micros + count units`; none outside the years 0 to 9999.
pub(super) fn add(micros: i64, count: i64, unit: Unit) -> Option<i64> {
    match unit.months() {
        Some(months) => {
            let (days, rest) = civil::split(micros);
            Some(i64::from(civil::add_months(days, count.checked_mul(months)?)?) * DAY + rest)
        }
        None => civil::micros_in_range(micros.checked_add(count.checked_mul(unit.micros())?)?),
    }
}

/// Whole units from `from` to `to`.
fn whole_units(from: i64, to: i64, unit: Unit) -> i64 {
    match unit.months() {
        Some(months) => whole_months(from, to) / months,
        None => (to - from) / unit.micros(),
    }
}

fn whole_months(from: i64, to: i64) -> i64 {
    let ((from_days, from_rest), (to_days, to_rest)) = (civil::split(from), civil::split(to));
    let (a, b) = (civil::ymd_of(from_days), civil::ymd_of(to_days));
    let months = i64::from(b.year - a.year) * 12 + i64::from(b.month) - i64::from(a.month);
    let (within_from, within_to) = ((a.day, from_rest), (b.day, to_rest));
    if months > 0 && within_to < within_from {
        months - 1
    } else if months < 0 && within_to > within_from {
        months + 1
    } else {
        months
    }
}

/// The start of the unit a moment lies in; weeks begin on Monday.
fn truncated(micros: i64, unit: Unit) -> i64 {
    let (days, _) = civil::split(micros);
    let date = civil::ymd_of(days);
    let first = match unit {
        Unit::Year => civil::days_of(date.year, 1, 1),
        Unit::Quarter => civil::days_of(date.year, (date.month - 1) / 3 * 3 + 1, 1),
        Unit::Month => civil::days_of(date.year, date.month, 1),
        Unit::Week => days - civil::weekday(days),
        _ => return micros - micros.rem_euclid(unit.micros()),
    };
    i64::from(first) * DAY
}

/// All of them, under all their names.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let mut all = Vec::new();
    parts(&mut all);
    sums(&mut all);
    let mut add = |names: &[&'static str], make: fn(&'static str) -> Builtin| {
        all.extend(names.iter().map(|name| make(name).build()));
    };
    add(&["__interval_add"], |n| interval(n, |c| interval_sum(c, 1)));
    add(&["__interval_sub"], |n| interval(n, |c| interval_sum(c, -1)));
    add(&["timestampadd"], |n| {
        Builtin::new(n).on(&[Text, Big, DateTime], returns::MOMENT, |c| {
            let (unit, count, at) = (c.text(0), c.big(1), c.datetime(2));
            known_unit(c, 0)?;
            c.make::<TimestampMicrosecondType>(|row| {
                self::add(at.get(row)?, count.get(row)?, Unit::named(unit.get(row)?)?)
            })
        })
    });
    add(&["timestampdiff"], |n| {
        Builtin::new(n).on(&[Text, DateTime, DateTime], returns::BIG, |c| {
            let (unit, from, to) = (c.text(0), c.datetime(1), c.datetime(2));
            known_unit(c, 0)?;
            c.make::<Int64Type>(|row| Some(whole_units(from.get(row)?, to.get(row)?, Unit::named(unit.get(row)?)?)))
        })
    });
    add(&["date_diff"], |n| {
        Builtin::new(n).on(&[Text, DateTime, DateTime], returns::BIG, |c| {
            let (unit, to, from) = (c.text(0), c.datetime(1), c.datetime(2));
            known_unit(c, 0)?;
            c.make::<Int64Type>(|row| Some(whole_units(from.get(row)?, to.get(row)?, Unit::named(unit.get(row)?)?)))
        })
    });
    add(&["datediff"], |n| {
        Builtin::new(n).on(&[DateTime, DateTime], returns::INT, |c| {
            let (a, b) = (c.datetime(0), c.datetime(1));
            c.make::<Int32Type>(|row| Some(civil::split(a.get(row)?).0 - civil::split(b.get(row)?).0))
        })
    });
    add(&["timediff"], |n| {
        Builtin::new(n).on(&[DateTime, DateTime], TIME, |c| {
            let (a, b) = (c.datetime(0), c.datetime(1));
            c.make::<DurationMicrosecondType>(|row| Some(a.get(row)? - b.get(row)?))
        })
    });
    add(&["date_trunc"], |n| {
        Builtin::new(n).on(&[Text, Date], returns::DATE, trunc_date).on(&[Text, DateTime], returns::MOMENT, |c| {
            let (unit, at) = (c.text(0), c.datetime(1));
            known_unit(c, 0)?;
            c.make::<TimestampMicrosecondType>(|row| Some(truncated(at.get(row)?, Unit::named(unit.get(row)?)?)))
        })
    });
    add(&["__time_slice"], |n| {
        Builtin::new(n)
            .on(&[Date, Big, Text, Text], returns::DATE, |c| {
                let at = c.date(0);
                let slice = slicer(c)?;
                c.make::<Date32Type>(|row| {
                    slice(row, i64::from(at.get(row)?) * DAY).map(|micros| civil::split(micros).0)
                })
            })
            .on(&[DateTime, Big, Text, Text], returns::MOMENT, |c| {
                let at = c.datetime(0);
                let slice = slicer(c)?;
                c.make::<TimestampMicrosecondType>(|row| slice(row, at.get(row)?))
            })
    });
    add(&["to_date", "date"], |n| {
        Builtin::new(n).on(&[DateTime], returns::DATE, |c| {
            let at = c.datetime(0);
            c.make::<Date32Type>(|row| Some(civil::split(at.get(row)?).0))
        })
    });
    add(&["timestamp"], |n| {
        Builtin::new(n).on(&[DateTime], returns::MOMENT, |c| {
            let at = c.datetime(0);
            c.make::<TimestampMicrosecondType>(|row| at.get(row))
        })
    });
    add(&["last_day"], |n| {
        Builtin::new(n).on(&[DateTime], returns::DATE, last_day).on(&[DateTime, Text], returns::DATE, last_day)
    });
    add(&["makedate"], |n| {
        Builtin::new(n).on(&[Int, Int], returns::DATE, |c| {
            let (year, day) = (c.int(0), c.int(1));
            c.make::<Date32Type>(|row| {
                let (year, day) = (year.get(row)?, day.get(row)?);
                let sound = (0..=9999).contains(&year) && day > 0;
                sound
                    .then(|| civil::days_in_range(i64::from(civil::days_of(year, 1, 1)) + i64::from(day) - 1))
                    .flatten()
            })
        })
    });
    add(&["to_days"], |n| {
        Builtin::new(n).on(&[Date], returns::INT, |c| {
            let d = c.date(0);
            c.make::<Int32Type>(|row| Some(d.get(row)? - civil::DAYS_MIN))
        })
    });
    add(&["from_days"], |n| {
        Builtin::new(n).on(&[Int], returns::DATE, |c| {
            let n = c.int(0);
            c.make::<Date32Type>(|row| civil::days_in_range(i64::from(n.get(row)?) + i64::from(civil::DAYS_MIN)))
        })
    });
    add(&["time_to_sec"], |n| {
        Builtin::new(n).on(&[Text], returns::BIG, |c| {
            let t = c.text(0);
            c.make::<Int64Type>(|row| seconds_of_time(t.get(row)?))
        })
    });
    add(&["sec_to_time"], |n| {
        Builtin::new(n).on(&[Big], TIME, |c| {
            let s = c.big(0);
            c.make::<DurationMicrosecondType>(|row| Some(s.get(row)?.clamp(-3_020_399, 3_020_399) * SECOND))
        })
    });
    add(&["date_format"], |n| {
        Builtin::new(n).on(&[DateTime, Text], returns::TEXT, |c| {
            let (at, format) = (c.datetime(0), c.text(1));
            c.write_text(|row, out| date_format::format(at.get(row)?, format.get(row)?, out))
        })
    });
    add(&["str_to_date"], |n| {
        Builtin::new(n).on(&[Text, Text], returns::MOMENT, |c| {
            let (s, format) = (c.text(0), c.text(1));
            c.make::<TimestampMicrosecondType>(|row| date_format::parse(s.get(row)?, format.get(row)?))
        })
    });
    add(&["str2date"], |n| {
        Builtin::new(n).on(&[Text, Text], returns::DATE, |c| {
            let (s, format) = (c.text(0), c.text(1));
            c.make::<Date32Type>(|row| Some(civil::split(date_format::parse(s.get(row)?, format.get(row)?)?).0))
        })
    });
    add(&["to_iso8601"], |n| {
        Builtin::new(n)
            .on(&[Date], returns::TEXT, |c| {
                let d = c.date(0);
                c.write_text(|row, out| date_format::format(i64::from(d.get(row)?) * DAY, "%Y-%m-%d", out))
            })
            .on(&[DateTime], returns::TEXT, |c| {
                let d = c.datetime(0);
                c.write_text(|row, out| date_format::format(d.get(row)?, "%Y-%m-%dT%H:%i:%s.%f", out))
            })
    });
    add(&["next_day"], |n| Builtin::new(n).on(&[DateTime, Text], returns::DATE, |c| named_day(c, true)));
    add(&["previous_day"], |n| Builtin::new(n).on(&[DateTime, Text], returns::DATE, |c| named_day(c, false)));
    all
}

const TIME: Returns = Returns::Type(|| DataType::Duration(TimeUnit::Microsecond));

/// An unknown unit is the statement's error, where it is constant.
fn known_unit(call: &Call<'_>, at: usize) -> Result<()> {
    match call.text(at).constant() {
        Some(name) if Unit::named(name).is_none() => Err(DataFusionError::Plan(format!("unknown time unit '{name}'"))),
        _ => Ok(()),
    }
}

/// year, month, hour, ..., and EXTRACT.
fn parts(all: &mut Vec<ScalarUDF>) {
    type Part = fn(i64) -> i64;
    const DATES: [(&[&str], Returns, Part); 15] = [
        (&["year"], returns::SMALL, |t| i64::from(date_of(t).year)),
        (&["month"], returns::TINY, |t| i64::from(date_of(t).month)),
        (&["day", "dayofmonth"], returns::TINY, |t| i64::from(date_of(t).day)),
        (&["hour"], returns::TINY, |t| i64::from(civil::hms_of(t).hour)),
        (&["minute"], returns::TINY, |t| i64::from(civil::hms_of(t).minute)),
        (&["second"], returns::TINY, |t| i64::from(civil::hms_of(t).second)),
        (&["microsecond"], returns::INT, |t| i64::from(civil::hms_of(t).micro)),
        (&["quarter"], returns::INT, |t| i64::from((date_of(t).month - 1) / 3 + 1)),
        (&["dayofweek"], returns::INT, |t| i64::from((civil::weekday(civil::split(t).0) + 1) % 7 + 1)),
        (&["dayofweek_iso"], returns::INT, |t| i64::from(civil::weekday(civil::split(t).0) + 1)),
        (&["weekday"], returns::INT, |t| i64::from(civil::weekday(civil::split(t).0))),
        (&["dayofyear"], returns::INT, |t| i64::from(civil::day_of_year(civil::split(t).0))),
        (&["weekofyear", "week_iso"], returns::INT, |t| i64::from(civil::iso_week(civil::split(t).0).1)),
        (&["__millisecond"], returns::INT, |t| i64::from(civil::hms_of(t).micro / 1000)),
        (&["__epoch"], returns::BIG, |t| t.div_euclid(SECOND)),
    ];
    macro_rules! routine {
        ($($at:literal)+) => {[$(|c: &Call<'_>| part(c, DATES[$at].2)),+]};
    }
    let routines: [super::builtin::Routine; 15] = routine!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    for ((names, returns, _), routine) in DATES.into_iter().zip(routines) {
        all.extend(names.iter().map(|name| Builtin::new(name).on(&[DateTime], returns, routine).build()));
    }
    let week = |c: &Call<'_>| -> Result<ArrayRef> {
        let (at, mode) = (c.datetime(0), (c.count() == 2).then(|| c.int(1)));
        c.make::<Int32Type>(|row| {
            let mode = mode.as_ref().map_or(Some(0), |mode| mode.get(row))?;
            Some(civil::mysql_week(civil::split(at.get(row)?).0, mode as u32 & 7).1)
        })
    };
    all.push(Builtin::new("week").on(&[DateTime], returns::INT, week).on(&[DateTime, Int], returns::INT, week).build());
    let year_week = |c: &Call<'_>| -> Result<ArrayRef> {
        let (at, mode) = (c.datetime(0), (c.count() == 2).then(|| c.int(1)));
        c.make::<Int32Type>(|row| {
            let mode = mode.as_ref().map_or(Some(0), |mode| mode.get(row))?;
            Some(yearweek(at.get(row)?, mode as u32) as i32)
        })
    };
    let builtin = Builtin::new("yearweek");
    all.push(builtin.on(&[DateTime], returns::INT, year_week).on(&[DateTime, Int], returns::INT, year_week).build());
    all.push(Builtin::new("__extract").on(&[Text, DateTime], returns::INT, extract).build());
    all.push(
        Builtin::new("dayname")
            .on(&[DateTime], returns::TEXT, |c| {
                let at = c.datetime(0);
                c.make_text(|row| Some(date_format::DAYS[civil::weekday(civil::split(at.get(row)?).0) as usize]))
            })
            .build(),
    );
    all.push(
        Builtin::new("monthname")
            .on(&[DateTime], returns::TEXT, |c| {
                let at = c.datetime(0);
                c.make_text(|row| Some(date_format::MONTHS[date_of(at.get(row)?).month as usize - 1]))
            })
            .build(),
    );
}

fn date_of(micros: i64) -> civil::Ymd {
    civil::ymd_of(civil::split(micros).0)
}

fn yearweek(micros: i64, mode: u32) -> i64 {
    let (year, week) = civil::mysql_week(civil::split(micros).0, (mode & 7) | 2);
    i64::from(year) * 100 + i64::from(week)
}

fn part(call: &Call<'_>, part: fn(i64) -> i64) -> Result<ArrayRef> {
    let at = call.datetime(0);
    match call.returns {
        DataType::Int8 => call.make::<Int8Type>(|row| Some(part(at.get(row)?) as i8)),
        DataType::Int16 => call.make::<Int16Type>(|row| Some(part(at.get(row)?) as i16)),
        DataType::Int64 => call.make::<Int64Type>(|row| Some(part(at.get(row)?))),
        _ => call.make::<Int32Type>(|row| Some(part(at.get(row)?) as i32)),
    }
}

fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let unit = call.text(0).constant().unwrap_or_default().to_ascii_lowercase();
    let part: fn(i64) -> i64 = match unit.as_str() {
        "year" => |t| i64::from(date_of(t).year),
        "quarter" => |t| i64::from((date_of(t).month - 1) / 3 + 1),
        "month" => |t| i64::from(date_of(t).month),
        "week" => |t| i64::from(civil::mysql_week(civil::split(t).0, 0).1),
        "day" => |t| i64::from(date_of(t).day),
        "hour" => |t| i64::from(civil::hms_of(t).hour),
        "minute" => |t| i64::from(civil::hms_of(t).minute),
        "second" => |t| i64::from(civil::hms_of(t).second),
        "microsecond" => |t| i64::from(civil::hms_of(t).micro),
        "millisecond" => |t| i64::from(civil::hms_of(t).micro / 1000),
        "dayofweek" => |t| i64::from((civil::weekday(civil::split(t).0) + 1) % 7 + 1),
        "dayofyear" => |t| i64::from(civil::day_of_year(civil::split(t).0)),
        "epoch" => |t| t.div_euclid(SECOND),
        other => return Err(DataFusionError::Plan(format!("EXTRACT does not know the unit '{other}'"))),
    };
    let at = call.datetime(1);
    call.make::<Int32Type>(|row| i32::try_from(part(at.get(row)?)).ok())
}

/// `days_add(d, n)` and the like: DATETIME in all cases.
fn sums(all: &mut Vec<ScalarUDF>) {
    macro_rules! sum {
        ($($unit:ident: $add:literal, $sub:literal, $diff:literal;)+) => {$(
            all.push(Builtin::new($add).on(&[DateTime, Big], returns::MOMENT, |c| shifted(c, Unit::$unit, 1)).build());
            all.push(Builtin::new($sub).on(&[DateTime, Big], returns::MOMENT, |c| shifted(c, Unit::$unit, -1)).build());
            all.push(Builtin::new($diff).on(&[DateTime, DateTime], returns::BIG, |c| {
                let (to, from) = (c.datetime(0), c.datetime(1));
                c.make::<Int64Type>(|row| Some(whole_units(from.get(row)?, to.get(row)?, Unit::$unit)))
            }).build());
        )+};
    }
    sum! {
        Year: "years_add", "years_sub", "years_diff";
        Quarter: "quarters_add", "quarters_sub", "quarters_diff";
        Month: "months_add", "months_sub", "months_diff";
        Week: "weeks_add", "weeks_sub", "weeks_diff";
        Day: "days_add", "days_sub", "days_diff";
        Hour: "hours_add", "hours_sub", "hours_diff";
        Minute: "minutes_add", "minutes_sub", "minutes_diff";
        Second: "seconds_add", "seconds_sub", "seconds_diff";
        Millisecond: "milliseconds_add", "milliseconds_sub", "milliseconds_diff";
        Microsecond: "microseconds_add", "microseconds_sub", "microseconds_diff";
    }
    for name in ["date_add", "adddate"] {
        all.push(Builtin::new(name).on(&[DateTime, Big], returns::MOMENT, |c| shifted(c, Unit::Day, 1)).build());
    }
    for name in ["date_sub", "subdate"] {
        all.push(Builtin::new(name).on(&[DateTime, Big], returns::MOMENT, |c| shifted(c, Unit::Day, -1)).build());
    }
    all.push(Builtin::new("add_months").on(&[DateTime, Big], returns::MOMENT, |c| shifted(c, Unit::Month, 1)).build());
}

fn shifted(call: &Call<'_>, unit: Unit, sign: i64) -> Result<ArrayRef> {
    let (at, count) = (call.datetime(0), call.big(1));
    call.make::<TimestampMicrosecondType>(|row| add(at.get(row)?, count.get(row)?.checked_mul(sign)?, unit))
}

/// `d + INTERVAL n unit` for units of a day and more: a DATE stays one.
fn interval(name: &'static str, routine: fn(&Call<'_>) -> Result<ArrayRef>) -> Builtin {
    Builtin::new(name).on(&[Date, Big, Text], returns::DATE, routine).on(
        &[DateTime, Big, Text],
        returns::MOMENT,
        routine,
    )
}

fn interval_sum(call: &Call<'_>, sign: i64) -> Result<ArrayRef> {
    let (count, unit) = (call.big(1), call.text(2));
    known_unit(call, 2)?;
    if *call.returns == DATETIME {
        let at = call.datetime(0);
        return call.make::<TimestampMicrosecondType>(|row| {
            add(at.get(row)?, count.get(row)?.checked_mul(sign)?, Unit::named(unit.get(row)?)?)
        });
    }
    let at = call.date(0);
    call.make::<Date32Type>(|row| {
        let unit = Unit::named(unit.get(row)?).filter(|unit| !unit.is_of_day())?;
        let sum = add(i64::from(at.get(row)?) * DAY, count.get(row)?.checked_mul(sign)?, unit)?;
        Some(civil::split(sum).0)
    })
}

fn trunc_date(call: &Call<'_>) -> Result<ArrayRef> {
    let (unit, at) = (call.text(0), call.date(1));
    known_unit(call, 0)?;
    call.make::<Date32Type>(|row| {
        let start = truncated(i64::from(at.get(row)?) * DAY, Unit::named(unit.get(row)?)?);
        Some(civil::split(start).0)
    })
}

/// Start (or end) of the slice of `n units` since 0001-01-01 that a moment lies in.
fn slicer<'c>(call: &'c Call<'_>) -> Result<impl Fn(usize, i64) -> Option<i64> + 'c> {
    known_unit(call, 2)?;
    let (count, unit, bound) = (call.big(1), call.text(2), call.text(3));
    Ok(move |row: usize, micros: i64| {
        let (count, unit) = (count.get(row)?, Unit::named(unit.get(row)?)?);
        if count <= 0 {
            return None;
        }
        let origin = i64::from(civil::DAYS_YEAR_ONE) * DAY;
        let mut units = match unit.months() {
            Some(months) => {
                let date = date_of(micros);
                (i64::from(date.year - 1) * 12 + i64::from(date.month) - 1).div_euclid(months)
            }
            None => (micros - origin).div_euclid(unit.micros()),
        };
        units = units.div_euclid(count) * count;
        if bound.get(row)?.eq_ignore_ascii_case("ceil") {
            units = units.checked_add(count)?;
        }
        add(origin, units, unit)
    })
}

fn last_day(call: &Call<'_>) -> Result<ArrayRef> {
    let at = call.datetime(0);
    let unit = (call.count() == 2).then(|| call.text(1));
    call.make::<Date32Type>(|row| {
        let date = date_of(at.get(row)?);
        let month = match &unit {
            None => date.month,
            Some(unit) => match Unit::named(unit.get(row)?)? {
                Unit::Month => date.month,
                Unit::Quarter => (date.month - 1) / 3 * 3 + 3,
                Unit::Year => 12,
                _ => return None,
            },
        };
        Some(civil::days_of(date.year, month, civil::month_days(date.year, month)))
    })
}

/// `[-]HH:mm:ss` in seconds.
fn seconds_of_time(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let text = text.rsplit(' ').next()?;
    let mut parts = text.split(':');
    let mut next = || parts.next()?.parse::<i64>().ok();
    let (hour, minute) = (next()?, next()?);
    let second = parts.next().map_or(Some(0.0), |s| s.parse::<f64>().ok())?;
    (minute < 60 && second < 60.0).then_some(sign * (hour * 3600 + minute * 60 + second as i64))
}

fn named_day(call: &Call<'_>, next: bool) -> Result<ArrayRef> {
    let (at, name) = (call.datetime(0), call.text(1));
    call.make::<Date32Type>(|row| {
        let days = civil::split(at.get(row)?).0;
        let name = name.get(row)?;
        let wanted = date_format::DAYS.iter().position(|day| {
            name.len() >= 2 && name.len() <= day.len() && day[..name.len()].eq_ignore_ascii_case(name)
        })? as i32;
        let distance = (wanted - civil::weekday(days)).rem_euclid(7);
        civil::days_in_range(i64::from(if next {
            days + if distance == 0 { 7 } else { distance }
        } else {
            days - if distance == 0 { 7 } else { 7 - distance }
        }))
    })
}
