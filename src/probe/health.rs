//! The request of `cachewarp health`, which a container runs every few seconds.

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
    #[error("the health check returned {0:?}")]
    Status(String),
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
    judge(&String::from_utf8_lossy(&answer))
}

fn judge(answer: &str) -> Result<String, HealthError> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status == "HTTP/1.1 200" || status.starts_with("HTTP/1.1 200 ") {
        Ok(body.to_owned())
    } else {
        Err(HealthError::Status(status.to_owned()))
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
        for answer in ["HTTP/1.1 503 Service Unavailable\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "", "SSH-2.0\r\n"]
        {
            assert!(matches!(judge(answer), Err(HealthError::Status(_))), "{answer:?}");
        }
    }
}
