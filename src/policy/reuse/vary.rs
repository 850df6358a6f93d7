//! The request fields that select a response, and their values in a request (RFC 9111 §4.1, RFC
//! 9110 §12.5.5).
//!
//! Two requests receive one variant only if every selecting field has one meaning in both. The
//! cache key contains a hash of the values, so values with one meaning are first normalised to the
//! same bytes. If the meaning is not certain, the bytes stay different: this may cost a fetch, but
//! it never serves a wrong variant.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, COOKIE, FORWARDED, HeaderName, HeaderValue,
    VARY,
};

use crate::hop;
use crate::limits::VARY_FIELDS_MAX;

use crate::policy::parse::{accept, syntax};

/// The combined `Vary` fields of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// No fields: one response for all requests.
    None,
    /// One response for each combination of values of these request fields.
    Fields(VaryFields),
    /// `*`: the response depends on more than the client's fields, so no other request matches.
    Star,
    /// More fields than [`VARY_FIELDS_MAX`].
    TooMany,
}

/// The names in a `Vary`: sorted, without duplicates, at least one and at most [`VARY_FIELDS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VaryFields(Vec<HeaderName>);

/// The name of a request field and its normalised value from [`VaryFields::values`].
pub type SelectingField<'a> = (&'a [u8], Cow<'a, [u8]>);

/// Fields that the proxy rewrites. It writes them from the client's connection and address, so the
/// client's own values do not tell which variant the origin selected.
static REWRITTEN: [HeaderName; 4] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

impl Vary {
    /// Reads all `Vary` fields of a response. A member that is `*` or that is not a field name
    /// makes the result `*`.
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

    /// Adds request fields that also select the response.
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
    /// Returns the `Vary` with these names, ignoring their order and duplicates.
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
    /// Combines two `Vary`s: the fields of both select.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Star, _) | (_, Self::Star) => Self::Star,
            (Self::TooMany, _) | (_, Self::TooMany) => Self::TooMany,
            (Self::None, vary) | (vary, Self::None) => vary,
            (Self::Fields(one), Self::Fields(other)) if one == other => Self::Fields(one),
            (Self::Fields(VaryFields(mut names)), Self::Fields(VaryFields(more))) => {
                names.extend(more);
                names.into()
            }
        }
    }
}

impl VaryFields {
    /// Returns whether these names include all names of `other`.
    pub fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|name| self.0.contains(name))
    }

    /// Returns the value of a `Vary` field with these names.
    pub(in crate::policy) fn line(&self) -> Option<HeaderValue> {
        let names: Vec<&str> = self.0.iter().map(HeaderName::as_str).collect();
        HeaderValue::try_from(names.join(", ")).ok()
    }

    /// Returns the names, in lower case.
    pub fn names(&self) -> &[HeaderName] {
        &self.0
    }

    /// Returns whether these names include all of `fields`.
    pub fn contain(&self, fields: &[HeaderName]) -> bool {
        fields.iter().all(|field| self.0.contains(field))
    }

    /// Returns the values of these fields in a request, in the order of the names. A field that the
    /// request lacks is omitted, so that it differs from an empty value. A field that the client's
    /// `Connection` names is omitted too: it does not reach the origin, which selected the response
    /// without it, so its value must not become part of the cache key.
    ///
    /// A value is borrowed from the request if the field has one line and that line is in its
    /// normal form.
    pub fn values<'a>(&'a self, request: &'a HeaderMap) -> Vec<SelectingField<'a>> {
        self.selecting(request)
            .filter_map(|name| Some((name.as_str().as_bytes(), normalised(name, combined(name, request)?))))
            .collect()
    }

    /// Returns the lines of these fields as the request carries them, for building another request
    /// for the variant.
    pub fn lines(&self, request: &HeaderMap) -> HeaderMap {
        self.selecting(request)
            .flat_map(|name| request.get_all(name).into_iter().map(|line| (name.clone(), line.clone())))
            .collect()
    }

    fn selecting(&self, request: &HeaderMap) -> impl Iterator<Item = &HeaderName> {
        let named_in_connection: Vec<HeaderName> = hop::named_in_connection(request).collect();
        self.0.iter().filter(move |name| !hop::is_connection_option(name, &named_in_connection))
    }
}

/// Returns the normal form of a value, for the fields whose grammar is known. In any other field,
/// even white space may have a meaning.
fn normalised<'a>(name: &HeaderName, value: Cow<'a, [u8]>) -> Cow<'a, [u8]> {
    if *name == ACCEPT_ENCODING || *name == ACCEPT_LANGUAGE {
        accept::normalised(value)
    } else if *name == ACCEPT || *name == ACCEPT_CHARSET {
        syntax::without_list_space(value)
    } else {
        value
    }
}

/// Joins all lines of a field into one value (RFC 9110 §5.3; cookies by RFC 9113 §8.2.3, as the
/// origin receives them), without white space around the lines.
fn combined<'a>(name: &HeaderName, request: &'a HeaderMap) -> Option<Cow<'a, [u8]>> {
    let mut lines = request.get_all(name).into_iter().map(|line: &HeaderValue| syntax::trim(line.as_bytes()));
    let mut value = Cow::Borrowed(lines.next()?);
    let separator: &[u8] = if *name == COOKIE { b"; " } else { b", " };
    for line in lines {
        let value = value.to_mut();
        value.extend_from_slice(separator);
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
    fn names_are_sorted_without_duplicates() {
        assert_eq!(vary(&[]), Vary::None);
        assert_eq!(vary(&["", " , "]), Vary::None);
        assert_eq!(vary(&["B, a", "A,x-c"]), fields(&["a", "b", "x-c"]));
        assert_eq!(vary(&["accept-encoding"]), fields(&["accept-encoding"]));
    }

    #[test]
    fn combining_two_varies_joins_their_fields() {
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
    fn any_star_makes_the_vary_a_star() {
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
    fn equivalent_values_are_equal_and_others_differ() {
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
