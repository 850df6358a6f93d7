//! The query parameters of an operator's request. An unknown or repeated parameter is an error.

use percent_encoding::percent_decode_str;

use crate::limits::TOP_PATHS_SHOWN_MAX;

/// An error in a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    /// An unknown parameter.
    #[error("unknown parameter {given:?}; the parameters are {known}")]
    Unknown {
        /// The name in the query.
        given: String,
        /// The known names.
        known: &'static str,
    },
    /// A parameter that occurs twice.
    #[error("the parameter {0} occurs twice")]
    Twice(&'static str),
    /// A missing required parameter.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// A query that is not UTF-8.
    #[error("the query is not UTF-8")]
    NotText,
    /// A URL under which nothing can be stored.
    #[error("url {0}")]
    Url(#[from] crate::key::UrlError),
    /// A parameter that is no header field, or one header field too many.
    #[error("header is not `Name: value`, or there are too many")]
    Header,
    /// A method that the cache does not handle.
    #[error("method is GET or QUERY")]
    Method,
    /// Content of another method.
    #[error("content needs method=QUERY")]
    Content,
    /// A `QUERY` that the cache does not handle.
    #[error("{0}")]
    Passed(#[from] crate::proxy::QueryPassedError),
    /// A number out of bounds, or no number.
    #[error("top is not a number from 1 to {TOP_PATHS_SHOWN_MAX}")]
    Top,
}

/// Returns the decoded names and values, in their order.
pub(super) fn pairs(query: Option<&str>) -> Result<form_urlencoded::Parse<'_>, QueryError> {
    let query = query.unwrap_or_default();
    // The parser replaces invalid UTF-8. No sequence of UTF-8 crosses a separator.
    percent_decode_str(query).decode_utf8().map_err(|_| QueryError::NotText)?;
    Ok(form_urlencoded::parse(query.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_their_order() {
        let read = |query| {
            pairs(Some(query))
                .map(|pairs| pairs.map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(read("a=b&c&&d=%26%3d+e=f").unwrap(), "a=b|c=|d=&= e=f");
        assert_eq!(read("%61=%C3%A9").unwrap(), "a=é");
        for query in ["a=%FF", "a%C3&%A9=b", "a=%C3=%A9"] {
            assert_eq!(read(query), Err(QueryError::NotText), "{query}");
        }
        assert_eq!(pairs(None).unwrap().count(), 0);
    }
}
