//! The parts of a line: numbers, times, addresses, and texts with their escapes.
//!
//! Every text that a client chose is escaped, so that it can neither end its line or its string nor
//! reach a terminal as a control sequence: a line is ASCII without control characters.

use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

/// Appends the date and the time of day of a second since the Unix epoch: `1970-01-01T00:00:00`.
pub(super) fn put_second(out: &mut Vec<u8>, second: u64) {
    let (day, time) = (second / 86_400, second % 86_400);
    // The civil calendar in eras of 400 years that begin on 1 March 0000 (Hinnant,
    // `civil_from_days`).
    let day = day + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    for (separator, number, digits) in [
        (None, year, 4),
        (Some(b'-'), month, 2),
        (Some(b'-'), day_of_month, 2),
        (Some(b'T'), time / 3600, 2),
        (Some(b':'), time / 60 % 60, 2),
        (Some(b':'), time % 60, 2),
    ] {
        out.extend(separator);
        put_padded(out, number, digits);
    }
}

pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Returns the last three digits of a number.
pub(super) fn digits(number: u64) -> [u8; 3] {
    [100, 10, 1].map(|unit| b'0' + u8::try_from(number / unit % 10).unwrap_or_default())
}

/// Appends a number with at least this many digits, four at most.
pub(super) fn put_padded(out: &mut Vec<u8>, number: u64, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    out.extend_from_slice(b"0000".get(..digits.saturating_sub(text.len())).unwrap_or_default());
    out.extend_from_slice(text);
}

#[inline(always)]
pub(super) fn put_optional(out: &mut Vec<u8>, name: &[u8], number: Option<u64>) {
    if let Some(number) = number {
        out.extend_from_slice(name);
        put_number(out, number);
    }
}

#[inline(always)]
pub(super) fn put_optional_word(out: &mut Vec<u8>, name: &[u8], word: Option<&str>) {
    if let Some(word) = word {
        put_word(out, name, word);
    }
}

#[inline(always)]
pub(super) fn put_optional_seconds(out: &mut Vec<u8>, name: &[u8], duration: Option<Duration>) {
    if let Some(duration) = duration {
        out.extend_from_slice(name);
        put_seconds(out, duration);
    }
}

/// Appends seconds with microseconds.
pub(super) fn put_seconds(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::from(duration.subsec_micros());
    let ([a, b, c], [d, e, f]) = (digits(micros / 1000), digits(micros % 1000));
    match duration.as_secs() {
        0 => out.extend_from_slice(&[b'0', b'.', a, b, c, d, e, f]),
        seconds => {
            put_number(out, seconds);
            out.extend_from_slice(&[b'.', a, b, c, d, e, f]);
        }
    }
}

/// Appends milliseconds with microseconds, and their unit.
pub(super) fn put_millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    put_number(out, micros / 1000);
    let [hundreds, tens, ones] = digits(micros % 1000);
    out.extend_from_slice(&[b'.', hundreds, tens, ones, b'm', b's']);
}

pub(super) fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                put_number(out, u64::from(octet));
            }
        }
        // Writing to a vector cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Appends the beginning of a member, which ends with a quotation mark, and a word without escapes.
///
/// Inlined with its callers' names, so that the copy of a name is a few instructions and no call.
#[inline(always)]
pub(super) fn put_word(out: &mut Vec<u8>, name: &[u8], word: &str) {
    out.extend_from_slice(name);
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

/// Appends the beginning of a member, which ends with a quotation mark, and a text in it.
#[inline(always)]
pub(super) fn put_string(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    out.extend_from_slice(name);
    put_escaped(out, text);
    out.push(b'"');
}

/// Returns whether a text needs no escape: printable ASCII but `"` and `\\`.
fn is_plain(text: &[u8]) -> bool {
    const LANES: usize = 16;
    let is_plain = |byte: u8| (byte.wrapping_sub(b' ') < 95) & (byte != b'"') & (byte != b'\\');
    // A loop of a fixed length without a branch, so the compiler makes a vector of it.
    let are_plain = |chunk: &[u8; LANES]| chunk.iter().fold(true, |all, byte| all & is_plain(*byte));
    let (chunks, rest) = text.as_chunks::<LANES>();
    let mut padded = [b' '; LANES];
    for (cell, byte) in padded.iter_mut().zip(rest) {
        *cell = *byte;
    }
    chunks.iter().all(are_plain) && are_plain(&padded)
}

/// Appends a text with the escapes of JSON (RFC 8259 §7) for all but printable ASCII. Bytes that
/// are not UTF-8 become U+FFFD.
pub(super) fn put_escaped(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => out.extend([b'\\', u8::try_from(letter).unwrap_or_default()]),
                ' '..='~' => out.push(u8::try_from(letter).unwrap_or_default()),
                other => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        // Writing to a vector cannot fail.
                        drop(write!(out, "\\u{unit:04x}"));
                    }
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}
