//! What `cachewarp explain` is to ask: from the words of the command line to a question.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};

use super::wrong::{ConfigError, RequestFieldError};
use super::{urls, values};
use crate::hop::EXPLAIN;
use crate::probe;
use crate::secret::Secret;

/// The words as they were given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExplainArgs {
    pub(super) url: String,
    /// `Name: value`
    pub(super) fields: Vec<String>,
    /// In place of the setting's.
    pub(super) token: Option<String>,
}

impl ExplainArgs {
    /// What they mean, or everything that is wrong with them.
    pub(super) fn question(
        &self,
        token_set: Option<&Secret>,
    ) -> Result<probe::ExplainRequest, Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let target = urls::explain(&self.url).map_err(|bad| wrong.push(ConfigError::ExplainUrl(bad)));
        let mut fields = Vec::new();
        for text in &self.fields {
            match field(text) {
                Ok(field) => fields.push(field),
                Err(bad) => wrong.push(bad.into()),
            }
        }
        let token = match &self.token {
            Some(token) => values::token(token).map_err(|_| ConfigError::TokenFlag),
            None => token_set.cloned().ok_or(ConfigError::NoToken),
        };
        let token = token.map_err(|bad| wrong.push(bad));
        match (target, token) {
            (Ok(target), Ok(token)) if wrong.is_empty() => {
                Ok(probe::ExplainRequest { target, fields, token })
            }
            _ => Err(wrong),
        }
    }
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), RequestFieldError> {
    let (name, value) = text.split_once(':').ok_or(RequestFieldError::Malformed)?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| RequestFieldError::Malformed)?;
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| RequestFieldError::Malformed)?;
    value.set_sensitive(true);
    if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, EXPLAIN].contains(&name) {
        return Err(RequestFieldError::Ours(name));
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        url: &str,
        fields: &[&str],
        token: Option<&str>,
    ) -> Result<probe::ExplainRequest, Vec<ConfigError>> {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        ExplainArgs { url: url.to_owned(), fields, token: token.map(str::to_owned) }
            .question(Some(&Secret::new("of-the-settings")))
    }

    #[test]
    fn a_question() {
        let question = asked("http://a/b?c#d", &["Accept: x", "X-Empty:", "Host:b:1"], None).unwrap();
        assert_eq!((question.target.authority.as_str(), question.target.path.as_str()), ("a:80", "/b?c"));
        let fields: Vec<_> =
            question.fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(fields, [("accept", "x"), ("x-empty", ""), ("host", "b:1")]);
        assert!(question.token.is(b"of-the-settings"));
        assert!(asked("http://a", &[], Some("given")).unwrap().token.is(b"given"));
        let secret = asked("http://a", &["Authorization: hunter2"], Some("hunter2")).unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn everything_that_is_wrong_with_one() {
        let wrong = asked("https://a", &["no colon", "a b: c", "Content-Length: 1", "x: a\0b"], Some("a b"));
        let wrong: Vec<_> = wrong.unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            wrong,
            [
                "the URL has the scheme \"https\", which is none of http",
                "-H gives something that is not `Name: value`",
                "-H gives something that is not `Name: value`",
                "-H gives content-length, which is for cachewarp to send",
                "-H gives something that is not `Name: value`",
                "--token must be 1 to 256 printable ASCII characters without spaces",
            ]
        );
        let none = ExplainArgs { url: "http://a".to_owned(), fields: Vec::new(), token: None }.question(None);
        assert_eq!(none.unwrap_err(), [ConfigError::NoToken]);
    }
}
