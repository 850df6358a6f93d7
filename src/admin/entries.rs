//! `GET /entries?url=…&header=Name:%20value…`: the stored entries of a URL, and the decision for a
//! request with these header fields. `method=QUERY` and `content=…` describe a `QUERY`.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};

use super::problem::AdminProblem;
use super::query::{self, QueryError};
use super::response::{AdminResponse, json};
use crate::key::{Target, UrlError};
use crate::limits::INSPECTED_FIELDS_MAX;
use crate::proxy::{InspectedRequest, Proxy};

const KNOWN: &str = "url, header, method, content";

/// Inspects the store and returns a JSON document.
pub(super) async fn answer(proxy: &Proxy, uri: &Uri) -> Result<AdminResponse, AdminProblem> {
    let inspected = described_request(uri.query())?;
    proxy.reaches(&inspected.target).map_err(|bad| QueryError::from(UrlError::from(bad)))?;
    Ok(json(StatusCode::OK, proxy.inspect(inspected).await.map_err(QueryError::from)?))
}

/// Reads the request that the query describes.
fn described_request(query: Option<&str>) -> Result<InspectedRequest, QueryError> {
    let (mut target, mut method, mut content) = (None, None, None);
    let mut headers = HeaderMap::new();
    for (name, value) in query::pairs(query)? {
        match name.as_ref() {
            "url" if target.is_some() => return Err(QueryError::Twice("url")),
            "method" if method.is_some() => return Err(QueryError::Twice("method")),
            "content" if content.is_some() => return Err(QueryError::Twice("content")),
            "url" => target = Some(Target::of_url(&value)?),
            "method" if value == "GET" => method = Some(Method::GET),
            "method" if value == "QUERY" => method = Some(Method::QUERY),
            "method" => return Err(QueryError::Method),
            "content" => content = Some(Bytes::copy_from_slice(value.as_bytes())),
            "header" if headers.len() < INSPECTED_FIELDS_MAX => {
                let (name, value) = field(&value).ok_or(QueryError::Header)?;
                headers.append(name, value);
            }
            "header" => return Err(QueryError::Header),
            _ => return Err(QueryError::Unknown { given: name.into_owned(), known: KNOWN }),
        }
    }
    let target = target.ok_or(QueryError::Missing("url"))?;
    let content = match (method, content) {
        (Some(Method::QUERY), content) => Some(content.unwrap_or_default()),
        (_, None) => None,
        (_, Some(_)) => return Err(QueryError::Content),
    };
    Ok(InspectedRequest { target, headers, content })
}

fn field(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_url_and_header_fields() {
        let InspectedRequest { target, headers, content } = described_request(Some(
            "url=http%3A%2F%2FA.test%2Fb%3Fc%3Dd%26e&header=Accept:+br&header=x%3Ay&header=X:z",
        ))
        .unwrap();
        assert_eq!(content, None);
        assert_eq!(target.to_string(), "http://a.test/b?c=d&e");
        let fields: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(fields, [("accept", "br"), ("x", "y"), ("x", "z")]);
    }

    #[test]
    fn a_method_and_content_describe_a_query() {
        for (query, content) in [
            ("url=http://a/&method=GET", None),
            ("url=http://a/&method=QUERY", Some("")),
            ("content=%7B%22a%22:1%7D&method=QUERY&url=http://a/", Some("{\"a\":1}")),
        ] {
            let inspected = described_request(Some(query)).ok().and_then(|inspected| inspected.content);
            assert_eq!(inspected.as_deref(), content.map(str::as_bytes), "{query}");
        }
    }

    #[test]
    fn each_bad_query_has_its_own_error() {
        let many = format!("url=http://a/{}", "&header=a:b".repeat(INSPECTED_FIELDS_MAX + 1));
        for (query, bad) in [
            (None, QueryError::Missing("url")),
            (Some("header=a:b"), QueryError::Missing("url")),
            (Some("url=http://a/&url=http://a/"), QueryError::Twice("url")),
            (Some("url=/a"), QueryError::Url(UrlError::Scheme)),
            (Some("url=http://a/&header=a"), QueryError::Header),
            (Some("url=http://a/&header=a%20b:c"), QueryError::Header),
            (Some("url=http://a/&header=a:b%0d%0ac:d"), QueryError::Header),
            (Some(many.as_str()), QueryError::Header),
            (Some("url=http://a/&content=a"), QueryError::Content),
            (Some("url=http://a/&content=a&method=GET"), QueryError::Content),
            (Some("url=http://a/&method=POST"), QueryError::Method),
            (Some("url=http://a/&method=query"), QueryError::Method),
            (Some("url=http://a/&method=QUERY&method=QUERY"), QueryError::Twice("method")),
            (Some("url=http://a/&method=QUERY&content=a&content=a"), QueryError::Twice("content")),
            (Some("uri=http://a/"), QueryError::Unknown { given: "uri".to_owned(), known: KNOWN }),
        ] {
            assert_eq!(described_request(query).err(), Some(bad), "{query:?}");
        }
    }
}
