//! What an operator asks of the admin listener from the command line: to purge, to show an entry, to show how all is.
//!
//! An answer that is not the one hoped for is told with what its problem document says.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::get::{Get, Part, Unanswered, get};
use super::{Report, Target};
use crate::json::{self, Malformed, Value};
use crate::limits::{OPERATOR_ANSWER_BYTES_MAX, OPERATOR_TIMEOUT};
use crate::secret::Secret;

/// Whom to ask, and what shows that we may.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Where operators are served: `host:port`.
    pub authority: String,
    /// Sent if there is one.
    pub token: Option<Secret>,
}

/// Something that an operator wants.
#[derive(Clone, Debug)]
pub enum Errand {
    /// That this order is carried out: the body of a `POST /purge`.
    Purge(String),
    /// To be shown what is stored of a URL, for a request with these fields.
    Inspect {
        /// The URL, as a client asks for it.
        url: String,
        /// `Name: value`
        fields: Vec<String>,
    },
}

/// Why an errand came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// Something else listens there.
    #[error("what listens there does not speak HTTP/1.1")]
    NotHttp,
    /// There is an answer, and it is no.
    #[error("it answered {status:?}: {detail}")]
    Refused {
        /// Status and reason.
        status: String,
        /// What the problem document says.
        detail: String,
    },
    /// The order is taken, and it is not known to hold everywhere.
    #[error("purged, but not all nodes have confirmed:\n{0}")]
    NotEverywhere(Report),
    /// There is something else in it.
    #[error("its answer cannot be read: {0}")]
    Malformed(#[from] Malformed),
}

impl Operator {
    /// Runs an errand, and returns what is to be told of it.
    pub fn run(&self, errand: &Errand) -> Result<Report, Undone> {
        let (path, content) = match errand {
            Errand::Purge(order) => ("/purge".to_owned(), Some(order.as_str())),
            Errand::Inspect { url, fields } => (inspection(url, fields), None),
        };
        let Answered { status, document, .. } = self.ask(path, content)?;
        let report = Report::of(&status, &document);
        if status.starts_with("202") { Err(Undone::NotEverywhere(report)) } else { Ok(report) }
    }

    /// How all is, with so many of the paths asked for most.
    pub fn stats(&self, top: usize) -> Result<Value, Undone> {
        Ok(self.ask(format!("/stats?top={top}"), None)?.document)
    }

    fn ask(&self, path: String, content: Option<&str>) -> Result<Answered, Undone> {
        let mut fields = Vec::new();
        if content.is_some() {
            fields.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        if let Some(token) = &self.token {
            fields.push((AUTHORIZATION, bearer(token).ok_or(Undone::NotHttp)?));
        }
        let target = Target { authority: self.authority.clone(), path };
        let answer = get(&Get {
            target: &target,
            fields: &fields,
            content,
            part: Part::Whole,
            timeout: OPERATOR_TIMEOUT,
            bytes_max: OPERATOR_ANSWER_BYTES_MAX,
        })?;
        Answered::read(&String::from_utf8_lossy(&answer))
    }
}

/// A good answer.
struct Answered {
    status: String,
    document: Value,
}

impl Answered {
    fn read(answer: &str) -> Result<Self, Undone> {
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(Undone::NotHttp)?;
        let status =
            head.lines().next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or(Undone::NotHttp)?;
        if !status.starts_with('2') {
            let said = json::read(body).ok();
            let detail = said.as_ref().and_then(|said| said.member("detail")?.as_text());
            let detail =
                detail.unwrap_or("and does not say why").chars().filter(|letter| !letter.is_control());
            return Err(Undone::Refused { status: status.to_owned(), detail: detail.collect() });
        }
        Ok(Self { status: status.to_owned(), document: json::read(body)? })
    }
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn inspection(url: &str, fields: &[String]) -> String {
    let mut path = format!("/entries?url={}", utf8_percent_encode(url, NON_ALPHANUMERIC));
    for field in fields {
        path += &format!("&header={}", utf8_percent_encode(field, NON_ALPHANUMERIC));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::get::tests::asked;
    use super::*;

    fn run(answer: &[u8], token: Option<&str>, errand: &Errand) -> (String, Result<String, String>) {
        let (request, told) = asked(answer, |target| {
            let operator = Operator { authority: target.authority, token: token.map(Secret::new) };
            Ok(operator.run(errand)?.to_string())
        });
        (request, told.map_err(|error| error.to_string()))
    }

    #[test]
    fn an_order_is_sent_and_its_outcome_is_told() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\n{\"outcome\":\"everywhere\",\"nodes\":2,\"confirmed\":2,\"took_ms\":3,\"purged\":[{\"tag\":\"t\"},{\"all\":true}]}";
        let errand = Errand::Purge("{\"all\":true}".to_owned());
        let (request, told) = run(answer, Some("sesame"), &errand);
        assert!(request.starts_with("POST /purge HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("\r\ncontent-type: application/json\r\nauthorization: Bearer sesame\r\n"),
            "{request}"
        );
        assert!(request.contains("\r\ncontent-length: 12\r\n"), "{request}");
        assert_eq!(
            told.unwrap(),
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
    fn an_entry_is_asked_for_by_its_url() {
        let errand = Errand::Inspect { url: "http://a/b?c&d".to_owned(), fields: vec!["X: y z".to_owned()] };
        let (request, told) = run(b"HTTP/1.1 200 OK\r\n\r\n{\"found\":\"nothing\"}", None, &errand);
        let line = "GET /entries?url=http%3A%2F%2Fa%2Fb%3Fc%26d&header=X%3A%20y%20z HTTP/1.1\r\n";
        assert!(request.starts_with(line) && !request.contains("authorization"), "{request}");
        assert_eq!(told.unwrap(), "answer  200 OK\nfound   nothing\n");
    }

    #[test]
    fn what_is_not_as_it_was_hoped_for() {
        let errand = Errand::Purge("{}".to_owned());
        for (answer, told) in [
            (
                &b"HTTP/1.1 401 Unauthorized\r\n\r\n{\"detail\":\"send \\u001b[2Jit\"}"[..],
                "it answered \"401 Unauthorized\": send [2Jit",
            ),
            (b"HTTP/1.1 404 Not Found\r\n\r\n<html>", "it answered \"404 Not Found\": and does not say why"),
            (b"HTTP/1.1 200 OK\r\n\r\n<html>", "its answer cannot be read: malformed JSON"),
            (b"SSH-2.0\r\n\r\n", "what listens there does not speak HTTP/1.1"),
            (
                b"HTTP/1.1 202 Accepted\r\n\r\n{\"nodes\":2}",
                "purged, but not all nodes have confirmed:\nanswer  202 Accepted\nnodes   2\n",
            ),
        ] {
            assert_eq!(run(answer, None, &errand).1.unwrap_err(), told);
        }
    }
}
