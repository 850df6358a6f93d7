//! `delta-seconds` (RFC 9111 §1.2.2): the number in `max-age=60` and in `Age: 60`.

use std::time::Duration;

/// A whole number of seconds, at most 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeltaSeconds(u32);

impl DeltaSeconds {
    /// Zero seconds.
    pub const ZERO: Self = Self(0);
    /// 2^31, which represents every larger number too.
    pub const MAX: Self = Self(1 << 31);

    /// Reads `1*DIGIT`. Returns none for any other text, including a sign or a fraction.
    pub fn parse(digits: impl IntoIterator<Item = u8>) -> Option<Self> {
        let mut digits = digits.into_iter().peekable();
        digits.peek()?;
        digits.try_fold(Self::ZERO, |Self(total), digit| {
            let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
            Some(Self(total.saturating_mul(10).saturating_add(digit)).min(Self::MAX))
        })
    }

    /// Converts a number from another grammar. Returns none if it is negative.
    pub fn of(seconds: i64) -> Option<Self> {
        let seconds = u64::try_from(seconds).ok()?;
        Some(u32::try_from(seconds).map_or(Self::MAX, |seconds| Self(seconds).min(Self::MAX)))
    }

    /// Returns the number as a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_digits_only() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("003600", Some(3600)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", Some(1 << 31)),
            ("2147483649", Some(1 << 31)),
            ("4294967296", Some(1 << 31)),
            ("99999999999999999999999999999999", Some(1 << 31)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("1 ", None),
            ("1a", None),
            ("99999999999999999999999999999999a", None),
            ("\u{0661}", None),
        ] {
            assert_eq!(DeltaSeconds::parse(text.bytes()), seconds.map(DeltaSeconds), "{text:?}");
        }
    }
}
