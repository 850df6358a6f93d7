//! The request of `cachewarp explain`: an ordinary `GET`, with the token.
//!
//! The command does not read the body of the answer, so it ends with the head.

use http::header::{HeaderName, HeaderValue};

use super::get::{AwaitedPart, HttpError, ProbeRequest, get};
use super::target::ProbeTarget;
use crate::hop::EXPLAIN;
use crate::limits::{EXPLAIN_HEAD_BYTES_MAX, EXPLAIN_TIMEOUT};
use crate::probe::report::AdminReport;
use crate::secret::Secret;

/// A request for an explanation.
#[derive(Clone, Debug)]
pub struct ExplainRequest {
    /// The URL to request.
    pub target: ProbeTarget,
    /// The request fields besides `Host`.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The token that permits an explanation.
    pub token: Secret,
}

/// The reason for a missing explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No answer.
    #[error(transparent)]
    Unanswered(#[from] HttpError),
    /// Another service listens at the address.
    #[error("the service at this address does not speak HTTP/1.1")]
    NotHttp,
    /// An answer without an explanation.
    #[error(
        "the answer {0:?} carries no explanation: the service is not CacheWarp, its explain_token is not set, \
         or the token is wrong"
    )]
    NotAllowed(String),
    /// An explanation that is not JSON.
    #[error("cannot read the explanation: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Sends the request, and returns the explanation as a report.
pub fn explain(question: &ExplainRequest) -> Result<AdminReport, ExplainError> {
    let ExplainRequest { target, fields, token } = question;
    let mut fields = fields.clone();
    let mut token = HeaderValue::from_str(token.expose()).map_err(|_| ExplainError::NotHttp)?;
    token.set_sensitive(true);
    fields.push((EXPLAIN, token));
    let answer = get(&ProbeRequest {
        target,
        fields: &fields,
        content: None,
        part: AwaitedPart::Head,
        timeout: EXPLAIN_TIMEOUT,
        bytes_max: EXPLAIN_HEAD_BYTES_MAX,
    })?;
    read(&String::from_utf8_lossy(&answer))
}

fn read(answer: &str) -> Result<AdminReport, ExplainError> {
    let (head, _) = answer.split_once("\r\n\r\n").ok_or(ExplainError::NotHttp)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or(ExplainError::NotHttp)?;
    let mut report = AdminReport::new(status);
    let mut explanation = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case(EXPLAIN.as_str()) {
            explanation = Some(value);
        } else if name.eq_ignore_ascii_case("cache-status") {
            report.add_fact("cache-status", value.trim());
        }
    }
    let explanation = explanation.ok_or_else(|| ExplainError::NotAllowed(status.to_owned()))?;
    report.explain(explanation)?;
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
            Ok(explain(&ExplainRequest { target, fields, token: Secret::new("sesame") })?)
        });
        assert!(request.contains("\r\naccept: text/html\r\ncachewarp-explain: sesame\r\n"), "{request}");
        let report = report.unwrap().to_string();
        assert_eq!(
            report,
            "answer        404 Not Found\ncache-status  CacheWarp; fwd=uri-miss\nroute         cached\n"
        );
    }

    #[test]
    fn a_missing_explanation_has_a_reason() {
        assert!(matches!(read("SSH-2.0\r\n\r\n"), Err(ExplainError::NotHttp)));
        assert!(matches!(read("HTTP/1.1 200 OK\r\n"), Err(ExplainError::NotHttp)));
        assert!(matches!(
            read("HTTP/1.1 200 OK\r\nCacheWarp-Explain: {\r\n\r\n"),
            Err(ExplainError::Malformed(_))
        ));
        let refused = read("HTTP/1.1 200 OK\r\nVia: x\r\n\r\n").unwrap_err().to_string();
        assert!(refused.contains("\"200 OK\"") && refused.contains("explain_token"), "{refused}");
    }
}
