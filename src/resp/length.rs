//! The header line of a frame that announces a length: `3\r\n`, or `-1\r\n` for nil.
//!
//! Plain decimal digits only: no sign, no space. So redis-protocol, which would accept more, reads
//! the number that this parser read.

use super::reply::ProtocolError;

/// Digits of 2^64.
pub(super) const DIGITS_MAX: usize = 20;

/// An announced length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameLength {
    /// A number of bytes or elements.
    Of(usize),
    /// Nil.
    Nil,
}

/// The result of reading a header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The length, and the bytes of the line with its end.
    Whole(FrameLength, usize),
    /// Incomplete: at least this many bytes are missing.
    NotYet(usize),
}

/// Reads the header line at the beginning of `bytes`, behind the type byte.
pub(super) fn read(bytes: &[u8]) -> Result<Header, ProtocolError> {
    let (length, digits) = match bytes {
        [b'?', ..] => return Err(ProtocolError::Streamed),
        [b'-'] => (FrameLength::Nil, 1),
        [b'-', b'1', ..] => (FrameLength::Nil, 2),
        _ => decimal(bytes)?,
    };
    match bytes.get(digits..) {
        Some([b'\r', b'\n', ..]) if digits > 0 => Ok(Header::Whole(length, digits + 2)),
        Some([b'\r']) if digits > 0 => Ok(Header::NotYet(1)),
        None | Some([]) => Ok(Header::NotYet(2)),
        Some(_) => Err(ProtocolError::Length),
    }
}

/// Reads the number at the beginning of `text`. Returns it with the number of its digits.
fn decimal(text: &[u8]) -> Result<(FrameLength, usize), ProtocolError> {
    let mut value = 0_usize;
    let mut digits = 0;
    for digit in text.iter().take_while(|byte| byte.is_ascii_digit()) {
        let next = value.checked_mul(10).and_then(|tens| tens.checked_add(usize::from(digit - b'0')));
        value = next.ok_or(ProtocolError::Length)?;
        digits += 1;
        // Leading zeros could go on for ever.
        if digits > DIGITS_MAX {
            return Err(ProtocolError::Length);
        }
    }
    Ok((FrameLength::Of(value), digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_plain_decimal_numbers() {
        let whole = |length, bytes| Ok(Header::Whole(length, bytes));
        let rows: &[(&str, Result<Header, ProtocolError>)] = &[
            ("3\r\nabc", whole(FrameLength::Of(3), 3)),
            ("0\r\n", whole(FrameLength::Of(0), 3)),
            ("007\r\n", whole(FrameLength::Of(7), 5)),
            ("18446744073709551615\r\n", whole(FrameLength::Of(usize::MAX), 22)),
            ("-1\r\n", whole(FrameLength::Nil, 4)),
            ("", Ok(Header::NotYet(2))),
            ("-", Ok(Header::NotYet(2))),
            ("-1", Ok(Header::NotYet(2))),
            ("12", Ok(Header::NotYet(2))),
            ("12\r", Ok(Header::NotYet(1))),
            ("?\r\n", Err(ProtocolError::Streamed)),
            ("\r\n", Err(ProtocolError::Length)),
            ("\r", Err(ProtocolError::Length)),
            ("+1\r\n", Err(ProtocolError::Length)),
            ("-2\r\n", Err(ProtocolError::Length)),
            ("-12\r\n", Err(ProtocolError::Length)),
            ("1 \r\n", Err(ProtocolError::Length)),
            ("1\n", Err(ProtocolError::Length)),
            ("1\rx", Err(ProtocolError::Length)),
            ("18446744073709551616\r\n", Err(ProtocolError::Length)),
            ("000000000000000000000", Err(ProtocolError::Length)),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text.as_bytes()), *expected, "{text:?}");
        }
    }
}
