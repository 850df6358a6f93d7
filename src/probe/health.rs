//! The request of `cachewarp health`, which a container runs every few seconds.

use http::StatusCode;

use super::get::{AwaitedPart, HttpError, ProbeRequest, get};
use super::target::ProbeTarget;
use crate::limits::{HEALTH_PROBE_BYTES_MAX, HEALTH_PROBE_TIMEOUT};

/// The reason why CacheWarp is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// No answer.
    #[error(transparent)]
    Unanswered(#[from] HttpError),
    /// An answer other than 200, from CacheWarp or from another service.
    #[error("the health check returned \"{0}\"")]
    Status(StatusCode),
}

/// Sends the request, and returns the body of a 200.
pub fn health(target: &ProbeTarget) -> Result<String, HealthError> {
    let answer = get(&ProbeRequest {
        target,
        fields: &[],
        content: None,
        part: AwaitedPart::Whole,
        timeout: HEALTH_PROBE_TIMEOUT,
        bytes_max: HEALTH_PROBE_BYTES_MAX,
    })?;
    match answer.status {
        StatusCode::OK => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
        status => Err(HealthError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::get::tests::asked;
    use super::*;

    #[test]
    fn a_200_is_healthy() {
        let (request, document) =
            asked(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}", |target| {
                Ok(health(&target)?)
            });
        assert!(request.starts_with("GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:"));
        assert_eq!(document.unwrap(), "{\"status\":\"ok\"}");
    }

    #[test]
    fn any_other_answer_is_unhealthy() {
        for status in ["503 Service Unavailable", "204 No Content", "404 Not Found"] {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let (_, outcome) = asked(answer.as_bytes(), |target| Ok(health(&target)?));
            assert_eq!(outcome.unwrap_err().to_string(), format!("the health check returned \"{status}\""));
        }
    }
}
