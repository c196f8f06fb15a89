//! Wall-clock time as text: RFC 3339, UTC, milliseconds. No time-zone data is needed, so no crate is either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-11-23T08:30:00.250Z`. A time before 1970 (an unset clock) reads as 1970-01-01.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    rfc3339_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Now.
pub fn now() -> String {
    rfc3339(SystemTime::now())
}

/// The same from Unix milliseconds.
pub fn rfc3339_millis(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1000
    )
}

/// Reads what [`rfc3339`] writes; `None` for anything else.
pub fn parse(text: &str) -> Option<SystemTime> {
    let number = |at: std::ops::Range<usize>| text.get(at)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let millis = number(20..23)?;
    // The inverse of `civil`: the date is found by its day number, a year holding at most 366.
    let first = year.checked_sub(1970)? * 365;
    let days =
        (first..first + 1 + (year - 1968) / 4 + 366).find(|d| civil(*d) == (year, month, day))?;
    let time = UNIX_EPOCH
        + Duration::from_millis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis);
    (rfc3339(time) == text).then_some(time)
}

/// Days since 1970-01-01 to year, month 1–12, day 1–31 of the proleptic Gregorian calendar: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`, for non-negative days. Years begin in March
/// there, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + u64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        // `date -u -d @N --iso-8601=seconds`
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_790_000_000, "2026-09-21T14:13:20.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339_millis(seconds * 1000), text);
        }
        assert_eq!(
            rfc3339_millis(1_790_000_000_007),
            "2026-09-21T14:13:20.007Z"
        );
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let leap =
            |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for n in 0..200_000 {
            assert_eq!(civil(n), (year, month, day));
            let last = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn an_unset_clock_is_not_a_panic() {
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(rfc3339(before), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for unix_ms in [
            0,
            951_782_399_999,
            951_782_400_000,
            1_795_422_600_250,
            4_102_444_800_001,
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(unix_ms);
            assert_eq!(parse(&rfc3339(time)), Some(time), "{unix_ms}");
        }
        for text in [
            "",
            "2026-13-01T00:00:00.000Z",
            "2026-02-29T00:00:00.000Z",
            "2026-11-23 08:30:00.250Z",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
