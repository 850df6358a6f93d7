//! Requests to the admin listener from the command line: purge, reload, inspect, statistics.
//!
//! The error for a refused request carries the detail of its problem document.

use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::get::{AwaitedPart, HttpError, ProbeAnswer, ProbeContent, ProbeRequest, get};
use super::report::AdminReport;
use crate::limits::{OPERATOR_ANSWER_BYTES_MAX, OPERATOR_TIMEOUT};
use crate::probe::target::ProbeTarget;
use crate::secret::Secret;

/// Access to an admin listener.
#[derive(Clone, Debug)]
pub struct AdminClient {
    /// The admin listener. Commands replace the path.
    pub listener: ProbeTarget,
    /// The token to send, if there is one.
    pub token: Option<Secret>,
}

/// An operator's command.
#[derive(Clone, Debug)]
pub enum AdminCommand {
    /// Carries out a purge order: the body of a `POST /purge`.
    Purge(String),
    /// Reads the settings again.
    Reload,
    /// Shows the stored responses of a URL, for a request with these fields.
    Inspect {
        /// The URL, as a client requests it.
        url: String,
        /// Request fields, each as `Name: value`.
        fields: Vec<String>,
        /// The content of a `QUERY`; `None` for a `GET`.
        query: Option<String>,
    },
}

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No answer.
    #[error(transparent)]
    Unanswered(#[from] HttpError),
    /// An answer with an error status.
    #[error("the admin listener returned \"{status}\": {detail}")]
    Refused {
        /// The status code.
        status: StatusCode,
        /// The detail of the problem document.
        detail: String,
    },
    /// A purge that not every node has confirmed.
    #[error("purged, but not all nodes have confirmed:\n{0}")]
    NotEverywhere(AdminReport),
    /// An answer that is not JSON.
    #[error("cannot read the answer: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl AdminClient {
    /// Runs a command, and returns its answer as a report.
    pub fn run(&self, command: &AdminCommand) -> Result<AdminReport, AdminError> {
        let (path, content) = match command {
            AdminCommand::Purge(order) => ("/purge".to_owned(), Some(order.as_str())),
            AdminCommand::Reload => ("/reload".to_owned(), Some("{}")),
            AdminCommand::Inspect { url, fields, query } => (inspection(url, fields, query.as_deref()), None),
        };
        let AdminReply { status, document } = self.ask(path, content)?;
        let report = AdminReport::of(&status.to_string(), &document);
        if status == StatusCode::ACCEPTED { Err(AdminError::NotEverywhere(report)) } else { Ok(report) }
    }

    /// Returns the statistics, with this many of the most requested paths.
    pub fn stats(&self, top: usize) -> Result<Value, AdminError> {
        Ok(self.ask(format!("/stats?top={top}"), None)?.document)
    }

    fn ask(&self, path: String, content: Option<&str>) -> Result<AdminReply, AdminError> {
        let mut fields = Vec::new();
        if content.is_some() {
            fields.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        if let Some(token) = &self.token {
            fields.push((AUTHORIZATION, bearer(token)?));
        }
        let target = ProbeTarget { path, ..self.listener.clone() };
        let answer = get(&ProbeRequest {
            target: &target,
            fields: &fields,
            content: content.map(ProbeContent::Post),
            part: AwaitedPart::Whole,
            timeout: OPERATOR_TIMEOUT,
            bytes_max: OPERATOR_ANSWER_BYTES_MAX,
        })?;
        AdminReply::read(&answer)
    }
}

/// A problem document (RFC 9457). Its other members are ignored (§3.2).
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// A successful answer.
struct AdminReply {
    status: StatusCode,
    document: Value,
}

impl AdminReply {
    fn read(answer: &ProbeAnswer) -> Result<Self, AdminError> {
        let (status, body) = (answer.status, &answer.body);
        if status.is_success() {
            return Ok(Self { status, document: serde_json::from_slice(body)? });
        }
        let detail = match serde_json::from_slice(body) {
            Ok(Problem { detail }) => detail.chars().filter(|letter| !letter.is_control()).collect(),
            Err(_) => "no detail".to_owned(),
        };
        Err(AdminError::Refused { status, detail })
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, HttpError> {
    let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|error| HttpError::Request(error.into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn inspection(url: &str, fields: &[String], query: Option<&str>) -> String {
    let mut path = format!("/entries?url={}", utf8_percent_encode(url, NON_ALPHANUMERIC));
    for field in fields {
        path += &format!("&header={}", utf8_percent_encode(field, NON_ALPHANUMERIC));
    }
    if let Some(content) = query {
        path += &format!("&method=QUERY&content={}", utf8_percent_encode(content, NON_ALPHANUMERIC));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::get::tests::asked;
    use super::*;

    fn run(answer: &[u8], token: Option<&str>, command: &AdminCommand) -> (String, Result<String, String>) {
        let (request, outcome) = asked(answer, |target| {
            let operator = AdminClient { listener: target, token: token.map(Secret::new) };
            Ok(operator.run(command)?.to_string())
        });
        (request, outcome.map_err(|error| error.to_string()))
    }

    #[test]
    fn a_purge_is_sent_and_its_outcome_reported() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\n{\"outcome\":\"everywhere\",\"nodes\":2,\"confirmed\":2,\"took_ms\":3,\"purged\":[{\"tag\":\"t\"},{\"all\":true}]}";
        let command = AdminCommand::Purge("{\"all\":true}".to_owned());
        let (request, outcome) = run(answer, Some("sesame"), &command);
        assert!(request.starts_with("POST /purge HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("\r\ncontent-type: application/json\r\nauthorization: Bearer sesame\r\n"),
            "{request}"
        );
        assert!(request.contains("\r\ncontent-length: 12\r\n"), "{request}");
        assert_eq!(
            outcome.unwrap(),
            "\
answer      200 OK
outcome     everywhere
nodes       2
confirmed   2
took_ms     3
purged.tag  t
purged.all  true
"
        );
    }

    #[test]
    fn an_entry_is_inspected_by_its_url() {
        let (url, fields) = ("http://a/b?c&d".to_owned(), vec!["X: y z".to_owned()]);
        let command = AdminCommand::Inspect { url: url.clone(), fields: fields.clone(), query: None };
        let answer = b"HTTP/1.1 200 OK\r\n\r\n{\"found\":\"nothing\"}";
        let (request, outcome) = run(answer, None, &command);
        let line = "GET /entries?url=http%3A%2F%2Fa%2Fb%3Fc%26d&header=X%3A%20y%20z HTTP/1.1\r\n";
        assert!(request.starts_with(line) && !request.contains("authorization"), "{request}");
        assert_eq!(outcome.unwrap(), "answer  200 OK\nfound   nothing\n");
        let query = AdminCommand::Inspect { url, fields, query: Some("{}".to_owned()) };
        let (request, _) = run(answer, None, &query);
        assert!(
            request.contains("&header=X%3A%20y%20z&method=QUERY&content=%7B%7D HTTP/1.1\r\n"),
            "{request}"
        );
    }

    #[test]
    fn every_failure_is_reported_with_its_detail() {
        let command = AdminCommand::Purge("{}".to_owned());
        for (answer, error) in [
            (
                &b"HTTP/1.1 401 Unauthorized\r\n\r\n{\"detail\":\"send \\u001b[2Jit\"}"[..],
                "the admin listener returned \"401 Unauthorized\": send [2Jit",
            ),
            (
                b"HTTP/1.1 404 Not Found\r\n\r\n<html>",
                "the admin listener returned \"404 Not Found\": no detail",
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n<html>", "cannot read the answer: expected value at line 1 column 1"),
            (b"SSH-2.0\r\n\r\n", "the service at this address does not speak HTTP/1.1"),
            (
                b"HTTP/1.1 202 Accepted\r\n\r\n{\"nodes\":2}",
                "purged, but not all nodes have confirmed:\nanswer  202 Accepted\nnodes   2\n",
            ),
        ] {
            assert_eq!(run(answer, None, &command).1.unwrap_err(), error);
        }
    }
}
