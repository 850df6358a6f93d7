//! The identifier of a message.

use std::fmt;

/// A message's identifier, `<milliseconds>-<sequence>`; identifiers of a stream only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Usually the time at which the server received the message.
    pub millis: u64,
    /// The number of the message in its millisecond.
    pub sequence: u64,
}

impl StreamId {
    /// Before every message.
    pub const ZERO: Self = Self { millis: 0, sequence: 0 };

    /// Parses an identifier as a server writes it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let at = text.iter().position(|byte| *byte == b'-')?;
        let (millis, rest) = text.split_at(at);
        Some(Self { millis: number(millis)?, sequence: number(rest.get(1..)?)? })
    }

    /// Returns the least identifier after this one.
    pub fn next(self) -> Self {
        match self.sequence.checked_add(1) {
            Some(sequence) => Self { sequence, ..self },
            None => Self { millis: self.millis.saturating_add(1), sequence: 0 },
        }
    }
}

/// Parses digits alone: no sign, no leading zero.
fn number(digits: &[u8]) -> Option<u64> {
    let is_plain = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || !digits.starts_with(b"0"));
    if is_plain { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_as_servers_write_them() {
        let id = StreamId::parse(b"1526919030474-55").unwrap();
        assert_eq!((id.millis, id.sequence), (1_526_919_030_474, 55));
        assert_eq!(id.to_string(), "1526919030474-55");
        for text in
            ["", "-", "1", "1-", "-1", "1-2-3", "+1-2", "1-+2", "01-2", "1-18446744073709551616", "a-b"]
        {
            assert_eq!(StreamId::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_next_identifier_is_the_least_greater_one() {
        let id = StreamId { millis: 7, sequence: 8 };
        assert_eq!(id.next(), StreamId { millis: 7, sequence: 9 });
        let last = StreamId { sequence: u64::MAX, ..id };
        assert_eq!(last.next(), StreamId { millis: 8, sequence: 0 });
        assert!(id < id.next() && last < last.next() && StreamId::ZERO < id);
    }
}
