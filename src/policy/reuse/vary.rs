//! Which request fields chose a response, and what a request says in them (RFC 9111 §4.1, RFC 9110
//! §12.5.5).
//!
//! Two requests get the same variant only if every named field has the same meaning in both. The
//! comparison is a hash of the values, so "the same meaning" has to be made "the same bytes" first;
//! where that is not certain, bytes stay different, which costs a fetch and never shows one variant
//! in another's place.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, FORWARDED, HeaderName, HeaderValue, VARY,
};

use crate::hop;
use crate::limits::VARY_FIELDS_MAX;

use crate::policy::parse::{accept, syntax};

/// What the `Vary` fields of a response say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// One response for all requests.
    None,
    /// One response for each combination of values of these request fields.
    Fields(VaryFields),
    /// Something that is not in the request, or not as the client sent it: no other request
    /// matches.
    Star,
    /// More fields than [`VARY_FIELDS_MAX`].
    TooMany,
}

/// The names of a `Vary`: in order of the alphabet, each once, at most [`VARY_FIELDS_MAX`], at
/// least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VaryFields(Vec<HeaderName>);

/// A request field by name, and its value as [`VaryFields::values`] makes it.
pub type SelectingField<'a> = (&'a [u8], Cow<'a, [u8]>);

/// Fields that the origin does not see as the client sent them. We write them anew, from the
/// client's connection and address, so what a client put there says nothing about which variant it
/// got.
static REWRITTEN: [HeaderName; 4] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

impl Vary {
    /// Reads all `Vary` fields of a response. `*` as any member is `*`, and so is a member that is
    /// no field name.
    pub fn of(response: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for line in response.get_all(VARY) {
            for member in syntax::members(line.as_bytes()) {
                match HeaderName::from_bytes(member) {
                    Ok(name) if member != b"*" => names.push(name),
                    Ok(_) | Err(_) => return Self::Star,
                }
            }
        }
        names.into()
    }

    /// The response that depends on these request fields too.
    #[must_use]
    pub(in crate::policy) fn with(self, fields: &[HeaderName]) -> Self {
        if fields.is_empty() {
            return self;
        }
        match self {
            Self::None => fields.to_vec().into(),
            Self::Fields(VaryFields(names)) => [names.as_slice(), fields].concat().into(),
            Self::Star | Self::TooMany => self,
        }
    }
}

impl From<Vec<HeaderName>> for Vary {
    /// What a `Vary` with these names says, in whichever order and however often it names them.
    fn from(mut names: Vec<HeaderName>) -> Self {
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        if names.iter().any(|name| REWRITTEN.contains(name)) {
            return Self::Star;
        }
        match names.len() {
            0 => Self::None,
            1..=VARY_FIELDS_MAX => Self::Fields(VaryFields(names)),
            _ => Self::TooMany,
        }
    }
}

impl Vary {
    /// What two of them say together: the fields of both select.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Star, _) | (_, Self::Star) => Self::Star,
            (Self::TooMany, _) | (_, Self::TooMany) => Self::TooMany,
            (Self::None, said) | (said, Self::None) => said,
            (Self::Fields(one), Self::Fields(other)) if one == other => Self::Fields(one),
            (Self::Fields(VaryFields(mut names)), Self::Fields(VaryFields(more))) => {
                names.extend(more);
                names.into()
            }
        }
    }
}

impl VaryFields {
    /// Whether all names of `other` are among these.
    pub fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|name| self.0.contains(name))
    }

    /// As a response says it.
    pub(in crate::policy) fn line(&self) -> Option<HeaderValue> {
        let names: Vec<&str> = self.0.iter().map(HeaderName::as_str).collect();
        HeaderValue::try_from(names.join(", ")).ok()
    }

    /// The names, in lower case.
    pub fn names(&self) -> &[HeaderName] {
        &self.0
    }

    /// Whether these are among them.
    pub fn contain(&self, fields: &[HeaderName]) -> bool {
        fields.iter().all(|field| self.0.contains(field))
    }

    /// What a request says in these fields, in their order. A field that it does not have is left
    /// out, so that it is not the same as one with an empty value. So is one that the client's
    /// `Connection` names: it does not reach the origin, which chose without it, and its value must
    /// not become the name of what was chosen.
    ///
    /// Borrowed from the request wherever a field has one line and that is in its one spelling.
    pub fn values<'a>(&'a self, request: &'a HeaderMap) -> Vec<SelectingField<'a>> {
        self.that_select(request)
            .filter_map(|name| Some((name.as_str().as_bytes(), meaning(name, combined(name, request)?))))
            .collect()
    }

    /// The same as it came, line by line: what another request for the same variant has to say.
    pub fn lines(&self, request: &HeaderMap) -> HeaderMap {
        self.that_select(request)
            .flat_map(|name| request.get_all(name).into_iter().map(|line| (name.clone(), line.clone())))
            .collect()
    }

    fn that_select(&self, request: &HeaderMap) -> impl Iterator<Item = &HeaderName> {
        let ended: Vec<HeaderName> = hop::named_in_connection(request).collect();
        self.0.iter().filter(move |name| !ended.contains(name))
    }
}

/// A value in its one spelling, for the fields whose grammar we know. Of any other, also white
/// space may mean something.
fn meaning<'a>(name: &HeaderName, value: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    if *name == ACCEPT_ENCODING || *name == ACCEPT_LANGUAGE {
        accept::normalised(value)
    } else if *name == ACCEPT || *name == ACCEPT_CHARSET {
        syntax::without_list_space(value)
    } else {
        value
    }
}

/// All lines of a field as one value (RFC 9110 §5.3), without white space around the lines.
fn combined<'a>(name: &HeaderName, request: &'a HeaderMap) -> Option<Cow<'a, [u8]>> {
    let mut lines = request.get_all(name).into_iter().map(|line: &HeaderValue| syntax::trim(line.as_bytes()));
    let mut value = Cow::Borrowed(lines.next()?);
    for line in lines {
        let value = value.to_mut();
        value.extend_from_slice(b", ");
        value.extend_from_slice(line);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vary(lines: &[&str]) -> Vary {
        Vary::of(&lines.iter().map(|line| (VARY, line.parse().unwrap())).collect())
    }

    fn fields(names: &[&'static str]) -> Vary {
        Vary::Fields(VaryFields(names.iter().map(|&name| HeaderName::from_static(name)).collect()))
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn names_are_sorted_and_alike_ones_are_one() {
        assert_eq!(vary(&[]), Vary::None);
        assert_eq!(vary(&["", " , "]), Vary::None);
        assert_eq!(vary(&["B, a", "A,x-c"]), fields(&["a", "b", "x-c"]));
        assert_eq!(vary(&["accept-encoding"]), fields(&["accept-encoding"]));
    }

    #[test]
    fn two_of_them_together() {
        let many: Vec<String> = (0..VARY_FIELDS_MAX).map(|i| format!("x-{i}")).collect();
        let many = vary(&[&many.join(",")]);
        for (one, other, both) in [
            (vary(&[]), vary(&[]), Vary::None),
            (vary(&["b"]), vary(&[]), fields(&["b"])),
            (vary(&["b"]), vary(&["b"]), fields(&["b"])),
            (vary(&["b"]), vary(&["a, b"]), fields(&["a", "b"])),
            (vary(&["c"]), vary(&["a"]), fields(&["a", "c"])),
            (vary(&["a"]), Vary::Star, Vary::Star),
            (many.clone(), vary(&["x-0"]), many.clone()),
            (many, vary(&["a"]), Vary::TooMany),
        ] {
            assert_eq!(one.clone().and(other.clone()), both);
            assert_eq!(other.and(one), both);
        }
    }

    #[test]
    fn a_star_anywhere_is_a_star() {
        for lines in [
            &["*"][..],
            &["*, *"],
            &["*", "*"],
            &[", *"],
            &["", "*"],
            &["*, a"],
            &["a, *"],
            &["a", "\t*"],
            &["a b"],
            &["a;b"],
            &["\"a\""],
            &["X-Forwarded-For"],
            &["accept, x-forwarded-proto"],
            &["Forwarded"],
        ] {
            assert_eq!(vary(lines), Vary::Star, "{lines:?}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let line = |count: usize| (0..count).map(|i| format!("x-{i}")).collect::<Vec<_>>().join(",");
        assert!(matches!(vary(&[&line(VARY_FIELDS_MAX)]), Vary::Fields(_)));
        assert_eq!(vary(&[&line(VARY_FIELDS_MAX + 1)]), Vary::TooMany);
        assert_eq!(vary(&["a,".repeat(100).as_str()]), fields(&["a"]));
    }

    #[test]
    fn values_mean_the_same_or_differ() {
        let Vary::Fields(fields) = vary(&["b, a"]) else { panic!("two names") };
        let alike = [
            headers(&[("a", "1, 2"), ("b", "x")]),
            headers(&[("a", "1"), ("a", "2"), ("b", "x")]),
            headers(&[("b", " x\t"), ("a", " 1"), ("a", "2 "), ("c", "y")]),
        ];
        for request in &alike {
            let values = fields.values(request);
            assert_eq!(values, [(&b"a"[..], b"1, 2"[..].into()), (b"b", b"x"[..].into())]);
        }
        let without =
            [headers(&[("b", "x")]), headers(&[("connection", "close, A"), ("a", "1, 2"), ("b", "x")])];
        assert_eq!(fields.values(&without[0]), fields.values(&without[1]));
        let different = [
            headers(&[("a", "1, 2"), ("b", "X")]),
            headers(&[("a", "2, 1"), ("b", "x")]),
            headers(&[("a", "1, 2"), ("b", "")]),
            headers(&[("a", "1, 2")]),
            headers(&[("b", "1, 2")]),
            headers(&[]),
        ];
        for (i, one) in different.iter().chain(alike.first()).enumerate() {
            for other in different.iter().skip(i + 1) {
                assert_ne!(fields.values(one), fields.values(other));
            }
        }
    }
}
