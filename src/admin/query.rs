//! The parameters of an operator's request, strictly: one that is not known, or not allowed twice,
//! is an error.

use percent_encoding::percent_decode_str;

use crate::limits::TOP_PATHS_SHOWN_MAX;

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    /// Nothing that we know.
    #[error("there is no parameter {given:?}, only {known}")]
    Unknown {
        /// As given.
        given: String,
        /// Those that there are.
        known: &'static str,
    },
    /// The same again.
    #[error("the parameter {0} is there twice")]
    Twice(&'static str),
    /// Not there, and needed.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// Bytes that are no text.
    #[error("the query is not UTF-8")]
    NotText,
    /// Nothing can be stored under it.
    #[error("url {0}")]
    Url(#[from] crate::key::UrlError),
    /// No field of a request.
    #[error("header is not `Name: value`, or there are too many")]
    Header,
    /// Not a number within bounds.
    #[error("top is not a number from 1 to {TOP_PATHS_SHOWN_MAX}")]
    Top,
}

/// Names and values, decoded, in their order.
pub(super) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, QueryError> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Result<String, QueryError> {
    // As forms and curl's --data-urlencode write a space.
    let text = text.replace('+', " ");
    Ok(percent_decode_str(&text).decode_utf8().map_err(|_| QueryError::NotText)?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values() {
        let read = |query| {
            pairs(Some(query))
                .map(|pairs| pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(read("a=b&c&&d=%26%3d+e=f").unwrap(), "a=b|c=|d=&= e=f");
        assert_eq!(read("%61=%C3%A9").unwrap(), "a=é");
        assert_eq!(read("a=%FF"), Err(QueryError::NotText));
        assert_eq!(pairs(None), Ok(Vec::new()));
    }
}
