//! The grammar of `Cache-Control` directives (RFC 9111 §5.2, RFC 9110 §5.6).
//!
//! ```text
//! cache-control = #( token [ "=" ( token / quoted-string ) ] )
//! ```
//!
//! The parser borrows from the field line and allocates nothing. It does not repair a line that
//! violates the grammar: `public; private` has two readings, and a cache that picks the wrong one
//! shows one client's data to another. Only the argument of an unknown directive may be any text,
//! since it has no meaning (RFC 9111 §5.2.3).

use std::borrow::Cow;

/// A directive as the sender wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct RawDirective<'a> {
    /// The name: a token in its original letter case.
    pub(in crate::policy) name: &'a [u8],
    /// The argument.
    pub(in crate::policy) argument: DirectiveArgument<'a>,
}

/// The text after the `=` of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum DirectiveArgument<'a> {
    /// No `=`.
    None,
    /// A token.
    Token(&'a [u8]),
    /// The text between the quotes. A quoted pair is still two bytes.
    Quoted(&'a [u8]),
    /// Text that is neither a token nor a quoted string.
    Other(&'a [u8]),
}

impl<'a> DirectiveArgument<'a> {
    /// Returns the bytes of the value. A quoted pair yields its second byte (RFC 9110 §5.6.4).
    pub(in crate::policy) fn octets(self) -> impl Iterator<Item = u8> + 'a {
        let (text, escape) = match self {
            Self::None => (&[] as &[u8], None),
            Self::Token(text) => (text, None),
            Self::Quoted(text) => (text, Some(b'\\')),
            Self::Other(text) => (text, None),
        };
        let mut escaped = false;
        text.iter().copied().filter(move |&byte| {
            escaped = !escaped && Some(byte) == escape;
            !escaped
        })
    }

    /// Returns the non-empty members of an argument that is a list.
    pub(in crate::policy) fn members(self) -> impl Iterator<Item = &'a [u8]> {
        let text = match self {
            Self::None | Self::Other(_) => &[] as &[u8],
            Self::Token(text) | Self::Quoted(text) => text,
        };
        members(text)
    }
}

/// Returns the non-empty members of a comma-separated list without quoted strings (RFC 9110
/// §5.6.1.2).
pub(in crate::policy) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Returns a comma-separated list without white space around its commas and without empty members
/// (RFC 9110 §5.6.1). Quoted strings stay unchanged.
pub(in crate::policy) fn without_list_space(list: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let members: Vec<&[u8]> = ListElements { rest: &list }.filter(|element| !element.is_empty()).collect();
    let bytes = members.iter().map(|member| member.len() + 1).sum::<usize>();
    if bytes == list.len() + 1 { list } else { Cow::Owned(members.join(&b","[..])) }
}

/// The error for text that follows no known grammar and so may contain any restriction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct FieldSyntaxError;

/// Returns the directives of one field line.
pub(in crate::policy) fn directives(
    line: &[u8],
) -> impl Iterator<Item = Result<RawDirective<'_>, FieldSyntaxError>> {
    ListElements { rest: line }.filter(|element| !element.is_empty()).map(directive)
}

/// An iterator over the trimmed elements of a line, split at the commas outside quotes.
struct ListElements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ListElements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut quoted = false;
        let mut escaped = false;
        let comma = self.rest.iter().position(|&byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        let (element, rest) = match comma.and_then(|at| self.rest.split_at_checked(at)) {
            Some((element, [_, rest @ ..])) => (element, rest),
            Some((element, [])) => (element, &[] as &[u8]),
            None => (self.rest, &[] as &[u8]),
        };
        self.rest = rest;
        Some(trim(element))
    }
}

/// Parses one directive. RFC 9111 §5.2 allows no white space around `=` and no text after a quoted
/// argument.
fn directive(element: &[u8]) -> Result<RawDirective<'_>, FieldSyntaxError> {
    let mut parts = element.splitn(2, |&byte| byte == b'=');
    let name = parts.next().filter(|name| is_token(name)).ok_or(FieldSyntaxError)?;
    let argument = match parts.next() {
        None => DirectiveArgument::None,
        Some([b'"', rest @ ..]) => DirectiveArgument::Quoted(inside_quotes(rest).ok_or(FieldSyntaxError)?),
        Some(text) if is_token(text) => DirectiveArgument::Token(text),
        Some(text) => DirectiveArgument::Other(text),
    };
    Ok(RawDirective { name, argument })
}

/// Returns the text before the closing quote, which must be the last byte.
fn inside_quotes(text: &[u8]) -> Option<&[u8]> {
    let mut escaped = false;
    let close = text.iter().position(|&byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })?;
    (close + 1 == text.len()).then(|| text.get(..close)).flatten()
}

/// Returns whether `text` is a token (RFC 9110 §5.6.2).
fn is_token(text: &[u8]) -> bool {
    const MARKS: &[u8] = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || MARKS.contains(byte))
}

/// Returns whether `text` is a token without `*`, which would look like a pattern.
pub(in crate::policy) fn is_plain_token(text: &str) -> bool {
    !text.contains('*') && is_token(text.as_bytes())
}

/// Removes optional white space from both ends: spaces and tabs (RFC 9110 §5.6.3).
pub(in crate::policy) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(line: &str) -> Vec<Result<(String, Option<String>), FieldSyntaxError>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        directives(line.as_bytes())
            .map(|directive| {
                directive.map(|RawDirective { name, argument }| {
                    let octets: Vec<u8> = argument.octets().collect();
                    (text(name), (argument != DirectiveArgument::None).then(|| text(&octets)))
                })
            })
            .collect()
    }

    fn one(name: &str, argument: Option<&str>) -> Result<(String, Option<String>), FieldSyntaxError> {
        Ok((name.to_owned(), argument.map(str::to_owned)))
    }

    #[test]
    fn empty_elements_and_white_space_are_skipped() {
        let want = vec![one("a", None), one("b", Some("1")), one("c", Some("x"))];
        for line in ["a,b=1,c=x", "a, b=1, c=x", " ,\ta ,, b=1\t,c=\"x\", ", "a,b=\"1\",c=\"\\x\""] {
            assert_eq!(cut(line), want, "{line:?}");
        }
        for line in ["", " ", ",", " , ,\t"] {
            assert_eq!(cut(line), [], "{line:?}");
        }
    }

    #[test]
    fn a_comma_in_quotes_does_not_separate() {
        assert_eq!(cut(r#"a="b, no-store", c"#), [one("a", Some("b, no-store")), one("c", None)]);
        assert_eq!(cut(r#"a="\", no-store""#), [one("a", Some("\", no-store"))]);
        assert_eq!(cut(r#"a="\\", no-store"#), [one("a", Some("\\")), one("no-store", None)]);
        assert_eq!(cut(r#"a="""#), [one("a", Some(""))]);
    }

    #[test]
    fn text_without_a_grammar_is_malformed() {
        for line in [
            "a b",
            "a;b",
            "a =1",
            "=1",
            "=",
            "\"a\"",
            "a=\"",
            "a=\"b",
            "a=\"b\\\"",
            "a=\"b\"c",
            "a=\"b\" c",
            "a/b",
            "\u{e4}",
            "a\u{0}",
            "a\u{a0}",
        ] {
            assert_eq!(cut(line), [Err(FieldSyntaxError)], "{line:?}");
        }
        assert_eq!(cut("a b, no-store"), [Err(FieldSyntaxError), one("no-store", None)]);
        assert_eq!(cut("c, a=\"b, no-store"), [one("c", None), Err(FieldSyntaxError)]);
    }

    #[test]
    fn an_argument_without_a_grammar_is_kept() {
        for argument in ["", " 1", "1 b", "b==", "b=c", "(b)", "b\"c\"", "b\"c, d\"", "b;c", "\u{e4}"] {
            let line = format!("a={argument}");
            let want = RawDirective { name: b"a", argument: DirectiveArgument::Other(argument.as_bytes()) };
            assert_eq!(directives(line.as_bytes()).collect::<Vec<_>>(), [Ok(want)], "{line:?}");
        }
    }

    #[test]
    fn space_around_commas_is_removed() {
        for (want, alike) in [
            ("a,b;q=\"x, y\",c", &["a,b;q=\"x, y\",c", "a , b;q=\"x, y\"\t,c", ",a,,b;q=\"x, y\", c ,"][..]),
            ("a b,c", &["a b, c"]),
            ("a,b=\", c", &["a, b=\", c"]),
            ("", &["", " , ", "\t"]),
        ] {
            for list in alike {
                assert_eq!(without_list_space(Cow::Borrowed(list.as_bytes())), want.as_bytes(), "{list:?}");
            }
        }
        assert!(matches!(without_list_space(Cow::Borrowed(b"a/b,*/*;q=0.8")), Cow::Borrowed(_)));
    }

    #[test]
    fn members_are_trimmed_and_not_empty() {
        let list = |text| -> Vec<&[u8]> { members(text).collect() };
        assert_eq!(list(b" a ,,\tb, "), [b"a", b"b"]);
        assert_eq!(list(b""), [] as [&[u8]; 0]);
    }
}
