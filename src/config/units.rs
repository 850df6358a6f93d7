//! Numbers within the bounds of a setting. `quantity` has the grammar of those with a unit.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::ConfigError;
use crate::quantity::{self, QuantityError, show_duration, show_size, split};

/// Reads a duration: `250ms`, `30s`, `5m`, `1h`; a bare number is in seconds.
pub(super) fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
    let duration = quantity::duration(text).map_err(ConfigError::Duration)?;
    within(duration, bounds, |bound| show_duration(*bound))
}

/// Reads a size: `512B`, `64KiB`, `1MiB`, `2GiB`; a bare number is in bytes.
pub(super) fn size(text: &str, bounds: RangeInclusive<usize>) -> Result<usize, ConfigError> {
    let size = quantity::size(text).map_err(ConfigError::Size)?;
    within(size, bounds, |bound| show_size(*bound))
}

/// Reads a whole number.
pub(super) fn number(text: &str, bounds: RangeInclusive<usize>) -> Result<usize, ConfigError> {
    match split(text) {
        Ok((number, "")) => within(number, bounds, usize::to_string),
        Err(QuantityError::Overflow) => Err(ConfigError::Above(bounds.end().to_string())),
        Ok(_) | Err(_) => Err(ConfigError::Number),
    }
}

/// Reads a percentage, `10%` or `10`, as a fraction.
pub(super) fn percent(text: &str, bounds: RangeInclusive<u16>) -> Result<f64, ConfigError> {
    let bounds = usize::from(*bounds.start())..=usize::from(*bounds.end());
    let of_a_hundred = number(text.strip_suffix('%').unwrap_or(text), bounds)?;
    Ok(f64::from(u16::try_from(of_a_hundred).unwrap_or(u16::MAX)) / 100.0)
}

fn within<T: PartialOrd, S: Display>(
    value: T,
    bounds: RangeInclusive<T>,
    show: impl Fn(&T) -> S,
) -> Result<T, ConfigError> {
    if value < *bounds.start() {
        Err(ConfigError::Below(show(bounds.start()).to_string()))
    } else if value > *bounds.end() {
        Err(ConfigError::Above(show(bounds.end()).to_string()))
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MIB;
    use crate::quantity::{suggested_duration, suggested_size};

    const ANY_TIME: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;
    const ANY_SIZE: RangeInclusive<usize> = 0..=usize::MAX;

    #[test]
    fn percents() {
        for (text, part) in [("0", 0.0), ("0%", 0.0), ("10%", 0.1), ("100", 1.0)] {
            assert_eq!(percent(text, 0..=100), Ok(part), "{text}");
        }
        for text in ["", "%", "101", "-1%", "1.5%", "10 %", "ten"] {
            assert!(percent(text, 0..=100).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7", 7000),
            ("0", 0),
            ("007s", 7000),
        ] {
            assert_eq!(duration(text, ANY_TIME), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn malformed_durations_are_refused() {
        for text in
            ["", "s", "-1s", "+1s", "1.5s", "1,5s", " 1s", "1s ", "1 s", "1e3", "1s2", "٣s", "1m30s", "0x10"]
        {
            let error = duration(text, ANY_TIME);
            assert!(
                matches!(error, Err(ConfigError::Duration(QuantityError::Shape | QuantityError::Unit(_)))),
                "{text}"
            );
        }
        for text in ["1S", "1MS", "1d", "1sec", "1us", "1ns"] {
            assert!(
                matches!(duration(text, ANY_TIME), Err(ConfigError::Duration(QuantityError::Unit(_)))),
                "{text}"
            );
        }
        for text in ["18446744073709551616", "18446744073709551615h"] {
            assert_eq!(
                duration(text, ANY_TIME),
                Err(ConfigError::Duration(QuantityError::Overflow)),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("1", 1), ("9B", 9), ("1KiB", 1024), ("64MiB", 64 << 20), ("2GiB", 2 << 30)]
        {
            assert_eq!(size(text, ANY_SIZE), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "1 MiB",
            "1MB",
            "1mb",
            "1kib",
            "1K",
            "1TiB",
            "1b",
            "99999999999999999999",
        ] {
            assert!(matches!(size(text, ANY_SIZE), Err(ConfigError::Size(_))), "{text}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number("20", 1..=1024), Ok(20));
        assert_eq!(number("0", 1..=1024), Err(ConfigError::Below("1".to_owned())));
        assert_eq!(number("1025", 1..=1024), Err(ConfigError::Above("1024".to_owned())));
        assert_eq!(number("99999999999999999999", 1..=9), Err(ConfigError::Above("9".to_owned())));
        for text in ["", "a", "-1", "+1", "1.0", "1k", "1 ", "0x1", "½"] {
            assert_eq!(number(text, ANY_SIZE), Err(ConfigError::Number), "{text}");
        }
    }

    #[test]
    fn bounds_are_inclusive_and_shown_with_a_unit() {
        let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
        assert!(duration("1ms", bounds.clone()).is_ok() && duration("60m", bounds.clone()).is_ok());
        assert_eq!(duration("0", bounds.clone()), Err(ConfigError::Below("1ms".to_owned())));
        assert_eq!(duration("3601s", bounds), Err(ConfigError::Above("1h".to_owned())));
        assert_eq!(size("65MiB", 0..=64 * MIB), Err(ConfigError::Above("64MiB".to_owned())));
        assert_eq!(
            (show_duration(Duration::ZERO), show_duration(Duration::from_millis(1500))),
            ("0s".into(), "1500ms".into())
        );
        assert_eq!((show_size(0), show_size(1025)), ("0".to_owned(), "1025B".to_owned()));
    }

    #[test]
    fn a_malformed_quantity_has_a_suggestion() {
        for (text, suggestion) in
            [("30 s", "30s"), ("5min", "5m"), ("2D", "48h"), ("10 Seconds", "10s"), ("1MS", "1ms")]
        {
            assert_eq!(suggested_duration(text).as_deref(), Some(suggestion), "{text}");
        }
        for (text, suggestion) in [("64MB", "64MiB"), ("1 k", "1KiB"), ("2gb", "2GiB"), ("3bytes", "3B")] {
            assert_eq!(suggested_size(text).as_deref(), Some(suggestion), "{text}");
        }
        assert_eq!(suggested_duration("1.5s"), None);
        assert_eq!(suggested_size("plenty"), None);
    }
}
