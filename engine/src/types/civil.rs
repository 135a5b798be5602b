//! The proleptic Gregorian calendar on plain integers: days and microseconds since 1970-01-01 00:00:00, years 0 to
//! 9999. Day numbers by the algorithm of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub const DAY: i64 = 86_400 * SECOND;
/// 0000-01-01.
pub const DAYS_MIN: i32 = -719_528;
/// 9999-12-31.
pub const DAYS_MAX: i32 = 2_932_896;
/// 0000-01-01 00:00:00.
pub const MICROS_MIN: i64 = DAYS_MIN as i64 * DAY;
/// 9999-12-31 23:59:59.999999.
pub const MICROS_MAX: i64 = (DAYS_MAX as i64 + 1) * DAY - 1;
/// 0001-01-01, the origin of `time_slice`.
pub const DAYS_YEAR_ONE: i32 = -719_162;

/// A calendar day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ymd {
    /// 0 to 9999.
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
}

/// A time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hms {
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 to 999,999.
    pub micro: u32,
}

/// Day number of a calendar day that need not be checked.
pub fn days_of(year: i32, month: u32, day: u32) -> i32 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let shifted = (month + 9) % 12;
    let day_of_year = ((153 * shifted + 2) / 5 + day) as i32 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Day number of a calendar day, `None` when there is no such day between the years 0 and 9999.
pub fn days_checked(year: i32, month: u32, day: u32) -> Option<i32> {
    let sound = (0..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1 && day <= month_days(year, month);
    sound.then(|| days_of(year, month, day))
}

/// Calendar day of a day number.
pub fn ymd_of(days: i32) -> Ymd {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    let year = year_of_era + era * 400 + i32::from(month <= 2);
    Ymd { year, month, day }
}

/// Whether February has 29 days.
pub fn is_leap(year: i32) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

/// Days of a month.
pub fn month_days(year: i32, month: u32) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 30,
    }
}

/// Day of the year, from 1.
pub fn day_of_year(days: i32) -> i32 {
    days - days_of(ymd_of(days).year, 1, 1) + 1
}

/// Day of the week, Monday 0 to Sunday 6.
pub fn weekday(days: i32) -> i32 {
    (days + 3).rem_euclid(7)
}

/// Splits a DATETIME into its day number and the microseconds of that day.
pub fn split(micros: i64) -> (i32, i64) {
    (micros.div_euclid(DAY) as i32, micros.rem_euclid(DAY))
}

/// Time of day of a DATETIME.
pub fn hms_of(micros: i64) -> Hms {
    let of_day = micros.rem_euclid(DAY);
    let seconds = of_day / SECOND;
    Hms {
        hour: (seconds / 3600) as u32,
        minute: (seconds / 60 % 60) as u32,
        second: (seconds % 60) as u32,
        micro: (of_day % SECOND) as u32,
    }
}

/// DATETIME of a day number and a time of day.
pub fn micros_of(days: i32, time: Hms) -> i64 {
    let seconds = i64::from(time.hour) * 3600 + i64::from(time.minute) * 60 + i64::from(time.second);
    i64::from(days) * DAY + seconds * SECOND + i64::from(time.micro)
}

/// Adds months; a day past the month's end becomes its last. `None` outside the years 0 to 9999.
pub fn add_months(days: i32, months: i64) -> Option<i32> {
    let from = ymd_of(days);
    let count = (i64::from(from.year) * 12 + i64::from(from.month) - 1).checked_add(months)?;
    let year = i32::try_from(count.div_euclid(12)).ok()?;
    if !(0..=9999).contains(&year) {
        return None;
    }
    let month = count.rem_euclid(12) as u32 + 1;
    Some(days_of(year, month, from.day.min(month_days(year, month))))
}

/// The day number when it is one of the years 0 to 9999.
pub fn days_in_range(days: i64) -> Option<i32> {
    (i64::from(DAYS_MIN)..=i64::from(DAYS_MAX)).contains(&days).then_some(days as i32)
}

/// The DATETIME when it is one of the years 0 to 9999.
pub fn micros_in_range(micros: i64) -> Option<i64> {
    (MICROS_MIN..=MICROS_MAX).contains(&micros).then_some(micros)
}

/// ISO 8601 week: the year it belongs to and its number, 1 to 53.
pub fn iso_week(days: i32) -> (i32, i32) {
    let thursday = days - weekday(days) + 3;
    let year = ymd_of(thursday).year;
    (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
}

/// MySQL's `WEEK(d, mode)`, mode 0 to 7: the year the week belongs to and its number (0 to 53). After MySQL's
/// `calc_week`: bit 0 weeks begin on Monday, bit 1 weeks count from 1 (last year's tail belongs to last year), bit 2
/// (inverted with bit 0 clear) the first week is the one with its first weekday in the year.
pub fn mysql_week(days: i32, mode: u32) -> (i32, i32) {
    let mode = if mode & 1 == 0 { mode ^ 4 } else { mode };
    let (monday_first, mut week_year, first_weekday) = (mode & 1 != 0, mode & 2 != 0, mode & 4 != 0);
    let ymd = ymd_of(days);
    let mut year = ymd.year;
    let mut first = days_of(year, 1, 1);
    let mut weekday_of_first = first_day_of_week(first, monday_first);
    let late = |first: i32| (first_weekday && first != 0) || (!first_weekday && first >= 4);
    if ymd.month == 1 && (ymd.day as i32) <= 7 - weekday_of_first {
        if !week_year && late(weekday_of_first) {
            return (year, 0);
        }
        week_year = true;
        year -= 1;
        let length = year_days(year);
        first -= length;
        weekday_of_first = (weekday_of_first + 53 * 7 - length) % 7;
    }
    let week_one = if late(weekday_of_first) { first + 7 - weekday_of_first } else { first - weekday_of_first };
    let since = days - week_one;
    if week_year && since >= 52 * 7 && !late((weekday_of_first + year_days(year)) % 7) {
        return (year + 1, 1);
    }
    (year, since / 7 + 1)
}

fn year_days(year: i32) -> i32 {
    if is_leap(year) { 366 } else { 365 }
}

/// Days since the week began, 0 to 6.
fn first_day_of_week(days: i32, monday_first: bool) -> i32 {
    if monday_first { weekday(days) } else { (weekday(days) + 1) % 7 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_numbers_round_trip_over_all_years() {
        assert_eq!(days_of(1970, 1, 1), 0);
        assert_eq!(days_of(0, 1, 1), DAYS_MIN);
        assert_eq!(days_of(1, 1, 1), DAYS_YEAR_ONE);
        assert_eq!(days_of(9999, 12, 31), DAYS_MAX);
        for days in DAYS_MIN..=DAYS_MAX {
            let d = ymd_of(days);
            assert_eq!(days_checked(d.year, d.month, d.day), Some(days));
        }
    }

    #[test]
    fn weeks_are_those_of_mysql() {
        // From MySQL's manual: WEEK('2008-02-20') is 7, mode 0 7, mode 1 8; WEEK('2008-12-31', 1) is 53.
        let d = |y, m, d| days_checked(y, m, d).unwrap();
        assert_eq!(mysql_week(d(2008, 2, 20), 0).1, 7);
        assert_eq!(mysql_week(d(2008, 2, 20), 1).1, 8);
        assert_eq!(mysql_week(d(2008, 12, 31), 1).1, 53);
        assert_eq!(mysql_week(d(2000, 1, 1), 0).1, 0);
        assert_eq!(mysql_week(d(2000, 1, 1), 2), (1999, 52));
        for days in d(1990, 1, 1)..d(2030, 1, 1) {
            assert_eq!(mysql_week(days, 3), iso_week(days));
        }
    }

    #[test]
    fn months_clamp_to_their_end() {
        let day = days_checked(2020, 1, 31).unwrap();
        assert_eq!(add_months(day, 1), days_checked(2020, 2, 29));
        assert_eq!(add_months(day, -2), days_checked(2019, 11, 30));
        assert_eq!(add_months(day, 12 * 9000), None);
    }
}
