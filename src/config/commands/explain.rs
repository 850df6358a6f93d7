//! The arguments of `cachewarp explain`, turned into a request.

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};

use crate::config::reporting::error::{ConfigError, RequestFieldError};
use crate::config::resolve::values;
use crate::config::urls;
use crate::hop::EXPLAIN;
use crate::probe;
use crate::secret::Secret;

/// The arguments as given.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct ExplainArgs {
    pub(in crate::config) url: String,
    /// Fields of the form `Name: value`.
    pub(in crate::config) fields: Vec<String>,
    /// The content of a `QUERY`.
    pub(in crate::config) query: Option<String>,
    /// A token that replaces `explain_token`.
    pub(in crate::config) token: Option<String>,
    /// The file of the authorities that an `https` URL trusts.
    pub(in crate::config) ca_file: Option<String>,
}

impl ExplainArgs {
    /// Returns the request, or every error in the arguments.
    pub(in crate::config) fn request(
        &self,
        token_set: Option<&Secret>,
    ) -> Result<probe::ExplainRequest, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let target = urls::explain(&self.url, self.ca_file.as_deref())
            .map_err(|error| errors.push(ConfigError::ExplainUrl(error)));
        let mut fields = Vec::new();
        for text in &self.fields {
            match field(text) {
                Ok(field) => fields.push(field),
                Err(error) => errors.push(error.into()),
            }
        }
        let token = match &self.token {
            Some(token) => values::token(token).map_err(|_| ConfigError::TokenFlag),
            None => token_set.cloned().ok_or(ConfigError::NoToken),
        };
        let token = token.map_err(|error| errors.push(error));
        match (target, token) {
            (Ok(target), Ok(token)) if errors.is_empty() => {
                Ok(probe::ExplainRequest { target, fields, query: self.query.clone(), token })
            }
            _ => Err(errors),
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

    fn explain(
        url: &str,
        fields: &[&str],
        token: Option<&str>,
    ) -> Result<probe::ExplainRequest, Vec<ConfigError>> {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        ExplainArgs {
            url: url.to_owned(),
            fields,
            query: None,
            token: token.map(str::to_owned),
            ca_file: None,
        }
        .request(Some(&Secret::new("of-the-settings")))
    }

    #[test]
    fn arguments_become_a_request() {
        let request = explain("http://a/b?c#d", &["Accept: x", "X-Empty:", "Host:b:1"], None).unwrap();
        assert_eq!((request.target.authority.as_str(), request.target.path.as_str()), ("a:80", "/b?c"));
        let fields: Vec<_> =
            request.fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(fields, [("accept", "x"), ("x-empty", ""), ("host", "b:1")]);
        assert!(request.token.is(b"of-the-settings"));
        assert!(explain("http://a", &[], Some("given")).unwrap().token.is(b"given"));
        let secret = explain("http://a", &["Authorization: hunter2"], Some("hunter2")).unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn every_error_is_reported() {
        let error = explain("ftp://a", &["no colon", "a b: c", "Content-Length: 1", "x: a\0b"], Some("a b"));
        let error: Vec<_> = error.unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            error,
            [
                "the URL has the scheme \"ftp\"; expected http, https",
                "-H is not of the form `Name: value`",
                "-H is not of the form `Name: value`",
                "-H has content-length, which CacheWarp sets itself",
                "-H is not of the form `Name: value`",
                "--token must be 1 to 256 printable ASCII characters without spaces",
            ]
        );
        let url = "http://a".to_owned();
        let none =
            ExplainArgs { url, fields: Vec::new(), query: None, token: None, ca_file: None }.request(None);
        assert_eq!(none.unwrap_err(), [ConfigError::NoToken]);
    }
}
