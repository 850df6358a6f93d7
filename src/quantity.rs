//! Numbers with a unit: durations and sizes, in settings and in the routes file.
//!
//! The grammar is strict, since a limit that is wrong by a factor of 1000 shows up in production
//! only: whole numbers, no spaces, one spelling for each unit, and no `MB`, which may be 10⁶ or
//! 1024².

use std::str::FromStr;
use std::time::Duration;

use crate::limits::{KIB, MIB};

/// The milliseconds of each unit, largest first.
const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// The bytes of each unit, largest first.
const SIZES: [(&str, usize); 4] = [("GiB", 1024 * MIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];

/// An error in a duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Text without digits, or with a sign, a point, or a space.
    #[error("is not a whole number with a unit")]
    Shape,
    /// An unknown unit.
    #[error("has the unknown unit {0:?}")]
    Unit(String),
    /// A number that overflows.
    #[error("is too large")]
    Overflow,
}

/// Reads a duration: `250ms`, `30s`, `5m`, `1h`; a bare number is in seconds.
pub fn duration(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split::<u64>(text)?;
    let unit = if unit.is_empty() { "s" } else { unit };
    times(number, unit, &DURATIONS, u64::checked_mul).map(Duration::from_millis)
}

/// Reads a size: `512B`, `64KiB`, `1MiB`, `2GiB`; a bare number is in bytes.
pub fn size(text: &str) -> Result<usize, QuantityError> {
    let (number, unit) = split::<usize>(text)?;
    let unit = if unit.is_empty() { "B" } else { unit };
    times(number, unit, &SIZES, usize::checked_mul)
}

/// Returns the duration that malformed text may mean.
pub fn suggested_duration(text: &str) -> Option<String> {
    let plain: String = text.to_lowercase().split_whitespace().collect();
    let (number, unit) = split::<u64>(&plain).ok()?;
    let unit = match unit {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hour" | "hours" => "h",
        "d" | "day" | "days" => return Some(format!("{}h", number.checked_mul(24)?)),
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// Returns the size that malformed text may mean.
pub fn suggested_size(text: &str) -> Option<String> {
    let plain: String = text.to_lowercase().split_whitespace().collect();
    let (number, unit) = split::<usize>(&plain).ok()?;
    let unit = match unit {
        "" | "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "ki" | "kib" => "KiB",
        "m" | "mb" | "mi" | "mib" => "MiB",
        "g" | "gb" | "gi" | "gib" => "GiB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// Splits a text into its number and its unit, which may be empty.
pub fn split<N: FromStr>(text: &str) -> Result<(N, &str), QuantityError> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if digits.is_empty() || !unit.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(QuantityError::Shape);
    }
    Ok((digits.parse().map_err(|_| QuantityError::Overflow)?, unit))
}

fn times<N: Copy>(
    number: N,
    unit: &str,
    units: &[(&str, N)],
    multiply: fn(N, N) -> Option<N>,
) -> Result<N, QuantityError> {
    let (_, factor) =
        units.iter().find(|(name, _)| *name == unit).ok_or_else(|| QuantityError::Unit(unit.to_owned()))?;
    multiply(number, *factor).ok_or(QuantityError::Overflow)
}

/// Returns a duration with the largest unit that divides it.
pub fn show_duration(duration: Duration) -> String {
    let millis = crate::time::millis(duration);
    let whole = DURATIONS.iter().find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor));
    whole.map_or("0s".to_owned(), |(unit, factor)| format!("{}{unit}", millis / factor))
}

/// Returns a size with the largest unit that divides it.
pub fn show_size(bytes: usize) -> String {
    let whole = SIZES.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    whole.map_or("0".to_owned(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}
