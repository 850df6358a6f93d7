//! The normal forms of `Accept-Encoding` and `Accept-Language` (RFC 9110 §12.5.3 and §12.5.4).
//!
//! Both fields are lists of names with weights. Letter case, white space, order and `q=1` have no
//! meaning, so the normal form drops them. It keeps the weight `0`: an origin that ignores weights
//! may answer with the excluded coding, and that response must not reach clients that did not name
//! the coding. A value that does not follow the grammar is its own normal form.

use std::borrow::Cow;
use std::fmt::Write;

use crate::policy::parse::syntax;

/// A member of the list: a name in lower case and its weight in thousandths.
type WeightedMember = (String, u16);

/// The weight of a member that gives none.
const FULL_WEIGHT: u16 = 1000;

/// Returns the normal form of a field value. Two values have equal normal forms only if they have
/// one meaning.
pub(in crate::policy) fn normalised(value: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if is_name(&value) && !value.iter().any(u8::is_ascii_uppercase) {
        return value;
    }
    match syntax::members(&value).map(weighted).collect::<Option<Vec<WeightedMember>>>().and_then(sorted) {
        Some(members) => Cow::Owned(format_members(&members).into_bytes()),
        None => value,
    }
}

/// Reads `name [ ";" "q=" qvalue ]`.
fn weighted(member: &[u8]) -> Option<WeightedMember> {
    let mut parts = member.splitn(2, |&byte| byte == b';').map(syntax::trim);
    let name = parts.next().filter(|name| is_name(name))?;
    let weight = match parts.next() {
        None => FULL_WEIGHT,
        Some([b'q' | b'Q', b'=', weight @ ..]) => thousandths(weight)?,
        Some(_) => return None,
    };
    Some((std::str::from_utf8(name).ok()?.to_ascii_lowercase(), weight))
}

/// Returns whether `text` is a content coding or a language range: letters, digits, `-`, `_`, `*`.
fn is_name(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_*".contains(byte))
}

/// Reads a weight in thousandths (RFC 9110 §12.4.2): from `0` to `1`, with at most three decimals.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let (whole, digits) = match weight {
        [whole @ (b'0' | b'1')] => (whole, &[] as &[u8]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut total = u16::from(whole - b'0') * FULL_WEIGHT;
    for (digit, worth) in digits.iter().zip([100, 10, 1]) {
        total += digit.is_ascii_digit().then(|| u16::from(digit - b'0'))? * worth;
    }
    (total <= FULL_WEIGHT).then_some(total)
}

/// Sorts the members by name and removes duplicates. Returns none if one name has two weights.
fn sorted(mut members: Vec<WeightedMember>) -> Option<Vec<WeightedMember>> {
    members.sort_unstable();
    members.dedup();
    let names = members.iter().map(|(name, _)| name);
    names.clone().zip(names.skip(1)).all(|(one, next)| one != next).then_some(members)
}

fn format_members(members: &[WeightedMember]) -> String {
    let mut text = String::new();
    for (name, weight) in members {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = match weight {
            &FULL_WEIGHT => write!(text, "{comma}{name}"),
            weight => write!(text, "{comma}{name};q=0.{weight:03}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: &str) -> String {
        String::from_utf8(normalised(Cow::Borrowed(value.as_bytes())).into_owned()).unwrap()
    }

    #[test]
    fn equivalent_values_have_one_normal_form() {
        for (want, alike) in [
            (
                "de,en",
                &["en, de", "de, en", "eN, De", " en ,\t de", "de,,en,", "en,de,en", "en;q=1,de;q=1.000"][..],
            ),
            ("de;q=0.500,en", &["en, de;q=0.5", "de;Q=0.50, en", "de ;\tq=0.500,en;q=1.0"]),
            ("br;q=0.000,gzip", &["gzip, br;q=0", "br;q=0.0,GZIP", "br;q=0.,gzip"]),
            ("*;q=0.100,gzip", &["gzip, *;q=0.1"]),
            ("gzip", &["gzip", "GZip", "gzip;q=1"]),
            ("en-gb", &["en-GB"]),
            ("", &["", ","]),
        ] {
            for value in alike {
                assert_eq!(text(value), want, "{value:?}");
            }
        }
    }

    #[test]
    fn malformed_values_stay_unchanged() {
        for value in [
            "en;q=1.5",
            "en;q=2",
            "en;q=0.1234",
            "en;q=",
            "en;q=x",
            "en;q=0.x",
            "en;level=1",
            "en;q=0.5;x",
            "e n",
            "en/de",
            "\u{e4}",
            "en;q=0.5, en;q=0.4",
            "en; q = 0.5",
            ";q=1",
            "En;q=1.001",
        ] {
            assert_eq!(text(value), value);
        }
    }

    #[test]
    fn different_values_stay_different() {
        let values = ["en", "de", "en,de", "en;q=0.5", "en;q=0.500,de", "en;q=0", "", "*", "en-us", "en,*"];
        for (i, one) in values.iter().enumerate() {
            for other in values.iter().skip(i + 1) {
                assert_ne!(text(one), text(other));
            }
        }
    }

    proptest! {
        #[test]
        fn normalising_is_idempotent(value in "[a-c;q=01., *A-B]{0,24}") {
            prop_assert_eq!(text(&text(&value)), text(&value));
        }
    }
}
