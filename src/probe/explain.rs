//! The request of `cachewarp explain`: an ordinary `GET` or `QUERY`, with the token.
//!
//! The command does not read the body of the answer, so it ends with the head.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::get::{AwaitedPart, HttpError, ProbeAnswer, ProbeContent, ProbeRequest, get};
use super::report::AdminReport;
use super::target::ProbeTarget;
use crate::hop::EXPLAIN;
use crate::limits::EXPLAIN_TIMEOUT;
use crate::secret::Secret;

/// A request for an explanation.
#[derive(Clone, Debug)]
pub struct ExplainRequest {
    /// The URL to request.
    pub target: ProbeTarget,
    /// The request fields besides `Host`.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The content of a `QUERY`; `None` for a `GET`.
    pub query: Option<String>,
    /// The token that permits an explanation.
    pub token: Secret,
}

/// The reason for a missing explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No answer.
    #[error(transparent)]
    Unanswered(#[from] HttpError),
    /// An answer without an explanation.
    #[error(
        "the answer \"{0}\" carries no explanation: the service is not CacheWarp, its explain_token is not set, \
         or the token is wrong"
    )]
    NotAllowed(StatusCode),
    /// An explanation that is not JSON.
    #[error("cannot read the explanation: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Sends the request, and returns the explanation as a report.
pub fn explain(question: &ExplainRequest) -> Result<AdminReport, ExplainError> {
    let ExplainRequest { target, fields, query, token } = question;
    let mut fields = fields.clone();
    let mut token =
        HeaderValue::from_str(token.expose()).map_err(|error| HttpError::Request(error.into()))?;
    token.set_sensitive(true);
    fields.push((EXPLAIN, token));
    let answer = get(&ProbeRequest {
        target,
        fields: &fields,
        content: query.as_deref().map(ProbeContent::Query),
        part: AwaitedPart::Head,
        timeout: EXPLAIN_TIMEOUT,
        bytes_max: 0,
    })?;
    read(&answer)
}

fn read(answer: &ProbeAnswer) -> Result<AdminReport, ExplainError> {
    let mut report = AdminReport::new(&answer.status.to_string());
    for value in answer.headers.get_all("cache-status") {
        report.add_fact("cache-status", &String::from_utf8_lossy(value.as_bytes()));
    }
    let explanation = answer.headers.get(EXPLAIN).ok_or(ExplainError::NotAllowed(answer.status))?;
    report.explain(&String::from_utf8_lossy(explanation.as_bytes()))?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::super::get::tests::asked;
    use super::*;

    #[test]
    fn the_token_is_sent_and_the_explanation_is_read() {
        let answer =
            b"HTTP/1.1 404 Not Found\r\nCache-Status: CacheWarp; fwd=uri-miss\r\nCacheWarp-Explain: {\"route\":\"cached\"}\r\n\r\n";
        let (request, report) = asked(answer, |target| {
            let fields = vec![(HeaderName::from_static("accept"), HeaderValue::from_static("text/html"))];
            Ok(explain(&ExplainRequest { target, fields, query: None, token: Secret::new("sesame") })?)
        });
        assert!(request.contains("\r\naccept: text/html\r\ncachewarp-explain: sesame\r\n"), "{request}");
        let report = report.unwrap().to_string();
        assert_eq!(
            report,
            "answer        404 Not Found\ncache-status  CacheWarp; fwd=uri-miss\nroute         cached\n"
        );
    }

    #[test]
    fn content_makes_a_query() {
        let (request, _) = asked(b"HTTP/1.1 200 OK\r\nCacheWarp-Explain: {}\r\n\r\n", |target| {
            let (fields, token) = (Vec::new(), Secret::new("sesame"));
            Ok(explain(&ExplainRequest { target, fields, query: Some("{\"a\":1}".to_owned()), token })?)
        });
        assert!(request.starts_with("QUERY /a?b HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{\"a\":1}"));
    }

    #[test]
    fn a_missing_explanation_has_a_reason() {
        let explained = |answer: &str| {
            let (_, report) = asked(answer.as_bytes(), |target| {
                let (fields, token) = (Vec::new(), Secret::new("sesame"));
                Ok(explain(&ExplainRequest { target, fields, query: None, token })?)
            });
            report.unwrap_err().to_string()
        };
        let malformed = explained("HTTP/1.1 200 OK\r\nCacheWarp-Explain: {\r\n\r\n");
        assert!(malformed.starts_with("cannot read the explanation: "), "{malformed}");
        let refused = explained("HTTP/1.1 200 OK\r\nVia: x\r\n\r\n");
        assert!(refused.contains("\"200 OK\"") && refused.contains("explain_token"), "{refused}");
    }
}
