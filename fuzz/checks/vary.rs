//! Normalised values of selecting fields: equal values must have an equal meaning.

use std::collections::BTreeMap;

use cachewarp::policy::{Vary, VaryFields};
use http::{HeaderMap, HeaderValue};

use super::heads::{head, lines};

/// The first byte chooses the field, and the number of lines of the first request's value; then the
/// lines, of which the second request has the rest.
///
/// Checks that equal normalised values have equal meanings in a simple model, and the reverse if
/// both follow the grammar; and that a normalised value is its own normal form.
pub(crate) fn vary(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else { return };
    let name = ["accept-encoding", "accept-language", "accept", "cookie"][usize::from(choice % 4)];
    let of = |lines: &mut dyn Iterator<Item = &[u8]>| -> HeaderMap { head(lines.map(|line| (name, line))) };
    let mut all = lines(text);
    let one = of(&mut all.by_ref().take(usize::from(choice >> 6)));
    let other = of(&mut all);
    let Vary::Fields(fields) = Vary::of(&head([("vary", name.as_bytes())])) else { unreachable!("one name") };
    let (left, right) = (value(&fields, &one), value(&fields, &other));
    let meanings = (Meaning::of(name, &one), Meaning::of(name, &other));
    if left == right {
        assert_eq!(meanings.0, meanings.1, "{one:?} and {other:?} are both {left:?}");
    }
    if let (Some(Meaning::List(_)), Some(Meaning::List(_)))
    | (Some(Meaning::Members(_)), Some(Meaning::Members(_))) = &meanings
    {
        let alike = meanings.0 == meanings.1;
        assert_eq!(alike, left == right, "{one:?} and {other:?}: {left:?} and {right:?}");
    }
    // In other texts, a line may end with a blank, which disappears when it becomes one line.
    if let (Some(left), Some(Meaning::List(_) | Meaning::Members(_))) = (left, meanings.0) {
        let again = head([(name, &left[..])]);
        assert_eq!(value(&fields, &again), Some(left), "a normal form changes again");
    }
}

fn value(fields: &VaryFields, request: &HeaderMap) -> Option<Vec<u8>> {
    fields.values(request).pop().map(|(_, value)| value.into_owned())
}

/// The meaning of a field.
#[derive(Debug, PartialEq)]
enum Meaning {
    /// Names in lower case, with their weights in thousandths.
    List(BTreeMap<String, u32>),
    /// The list members, in their order.
    Members(Vec<Vec<u8>>),
    /// Bytes without further structure.
    Bytes(Vec<u8>),
}

impl Meaning {
    fn of(name: &str, request: &HeaderMap) -> Option<Self> {
        let trimmed = |line: &HeaderValue| line.as_bytes().trim_ascii().to_vec();
        let lines: Vec<Vec<u8>> = request.get_all(name).iter().map(trimmed).collect();
        let joined = (!lines.is_empty()).then(|| lines.join(&b", "[..]))?;
        Some(match name {
            "accept" => Self::Members(members(&joined)),
            "cookie" => Self::Bytes(joined),
            _ => weights(&joined).map_or(Self::Bytes(joined), Self::List),
        })
    }
}

/// Splits at commas outside quotes, trims, and drops empty members (RFC 9110 §5.6.1).
fn members(text: &[u8]) -> Vec<Vec<u8>> {
    let (mut members, mut member) = (Vec::new(), Vec::new());
    let (mut quoted, mut escaped) = (false, false);
    for &byte in text {
        if byte == b',' && !quoted {
            members.push(std::mem::take(&mut member));
            continue;
        }
        quoted ^= byte == b'"' && !escaped;
        escaped = quoted && byte == b'\\' && !escaped;
        member.push(byte);
    }
    members.push(member);
    let trimmed = members.into_iter().map(|member| member.trim_ascii().to_vec());
    trimmed.filter(|member| !member.is_empty()).collect()
}

/// Reads RFC 9110 §12.4.2 and §12.5.3 with strings. Returns `None` if the text does not follow
/// them.
fn weights(text: &[u8]) -> Option<BTreeMap<String, u32>> {
    let mut weights = BTreeMap::new();
    let blank = [' ', '\t'];
    for member in std::str::from_utf8(text).ok()?.split(',').map(|member| member.trim_matches(blank)) {
        if member.is_empty() {
            continue;
        }
        let (name, weight) = match member.split_once(';') {
            None => (member, 1000),
            Some((name, weight)) => {
                let weight = weight.trim_matches(blank).to_ascii_lowercase();
                (name.trim_matches(blank), thousandths(weight.strip_prefix("q=")?)?)
            }
        };
        let plain = |char: char| char.is_ascii_alphanumeric() || "-_*".contains(char);
        if name.is_empty() || !name.chars().all(plain) {
            return None;
        }
        if weights.insert(name.to_ascii_lowercase(), weight).is_some_and(|before| before != weight) {
            return None;
        }
    }
    Some(weights)
}

fn thousandths(weight: &str) -> Option<u32> {
    let (whole, digits) = weight.split_once('.').unwrap_or((weight, ""));
    let plain = digits.len() <= 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !plain || !["0", "1"].contains(&whole) {
        return None;
    }
    let total: u32 = format!("{whole}{digits:0<3}").parse().ok()?;
    (total <= 1000).then_some(total)
}
