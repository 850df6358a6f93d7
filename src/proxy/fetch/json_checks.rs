//! JSON checks of gathered bodies. A worker checks small bodies itself. Blocking threads check
//! large ones, a few at once, so that no hit of the worker waits for a check.
//!
//! An invalid body is remembered by its digest, so that an origin that sends it repeatedly costs
//! one check. The table of digests has a fixed size; an evicted digest costs another check.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::timeout;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::entry::{JsonCheck, JsonCheckError, JsonShape};
use crate::limits::{INVALID_BODIES_MAX, JSON_CHECK_TIMEOUT, JSON_CHECKS_MAX, MIB};
use crate::origin::BodyFraming;
use crate::policy::NotStorable;
use crate::proxy::metrics::{JsonCheckKind, Metrics};

/// A body whose end has arrived.
pub(in crate::proxy::fetch) struct GatheredBody<'a> {
    pub(in crate::proxy::fetch) bytes: &'a Bytes,
    pub(in crate::proxy::fetch) content_encoding: Option<&'a HeaderValue>,
    pub(in crate::proxy::fetch) framing: BodyFraming,
    /// The limit of the decoded body.
    pub(in crate::proxy::fetch) decoded_bytes_max: usize,
}

/// The checks of a process.
pub(in crate::proxy) struct JsonChecks {
    /// One permit for each check on a blocking thread.
    permits: Arc<Semaphore>,
    /// The verdicts on invalid bodies, by their digests.
    invalid: Cache<u128, JsonCheckError>,
}

impl JsonChecks {
    /// Creates the checks of a process that remembers no body.
    pub(in crate::proxy) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(JSON_CHECKS_MAX)), invalid: Cache::new(INVALID_BODIES_MAX) }
    }

    /// Checks a body on the worker, if it is small, else on a blocking thread.
    pub(in crate::proxy::fetch) async fn check(
        &self,
        worker: &RefCell<JsonCheck>,
        metrics: &Metrics,
        body: &GatheredBody<'_>,
    ) -> Result<(), NotStorable> {
        let GatheredBody { bytes, content_encoding, framing, decoded_bytes_max } = *body;
        let digest = digest(bytes, content_encoding).await;
        if let Some(error) = self.invalid.get(&digest) {
            metrics.json_checked(JsonCheckKind::Remembered);
            return Err(refusal(error, framing));
        }
        let coding = content_encoding.map(HeaderValue::as_bytes);
        let at_once = worker.borrow_mut().check_at_once(bytes, coding, decoded_bytes_max);
        let verdict = match at_once {
            Some(verdict) => {
                metrics.json_checked(JsonCheckKind::AtOnce);
                verdict
            }
            None => {
                metrics.json_checked(JsonCheckKind::Apart);
                self.check_apart(bytes.clone(), content_encoding.cloned(), decoded_bytes_max).await?
            }
        };
        match verdict {
            Ok(JsonShape::Delimited) => Ok(()),
            Ok(JsonShape::Scalar) if framing.proves_whole() => Ok(()),
            // It may be the beginning of a longer number.
            Ok(JsonShape::Scalar) => Err(NotStorable::Undelimited),
            Err(error) => {
                self.invalid.insert(digest, error);
                Err(refusal(error, framing))
            }
        }
    }

    /// Checks a body on a blocking thread. The waiting bodies count as `max_body_memory`.
    async fn check_apart(
        &self,
        body: Bytes,
        content_encoding: Option<HeaderValue>,
        decoded_bytes_max: usize,
    ) -> Result<Result<JsonShape, JsonCheckError>, NotStorable> {
        let permit = timeout(JSON_CHECK_TIMEOUT, Arc::clone(&self.permits).acquire_owned());
        let Ok(Ok(permit)) = permit.await else { return Err(NotStorable::CheckTimeout) };
        let check = spawn_blocking(move || {
            let coding = content_encoding.as_ref().map(HeaderValue::as_bytes);
            let verdict = JsonCheck::new().check(&body, coding, decoded_bytes_max);
            drop(permit);
            verdict
        });
        check.await.map_err(|_| NotStorable::CheckTimeout)
    }
}

/// Returns the reason against storing a body that failed its check. If only the end of the
/// connection delimits the body, it may be truncated.
fn refusal(error: JsonCheckError, framing: BodyFraming) -> NotStorable {
    match error {
        JsonCheckError::UnknownCoding => NotStorable::ContentEncoding,
        JsonCheckError::Invalid | JsonCheckError::Undecodable if !framing.proves_whole() => {
            NotStorable::CutBody
        }
        JsonCheckError::Invalid => NotStorable::InvalidJson,
        JsonCheckError::Undecodable => NotStorable::ContentEncoding,
    }
}

/// Returns a digest of a body and its coding. Lets other tasks run between the pieces of a large
/// body.
async fn digest(body: &Bytes, content_encoding: Option<&HeaderValue>) -> u128 {
    let mut hasher = Xxh3::with_seed(content_encoding.map_or(0, |coding| xxh3_64(coding.as_bytes())));
    for (number, piece) in body.chunks(MIB).enumerate() {
        if number > 0 {
            yield_now().await;
        }
        hasher.update(piece);
    }
    hasher.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::JSON_AT_ONCE_BYTES_MAX;
    use crate::telemetry::Registry;

    struct CheckedWorker {
        checks: JsonChecks,
        scratch: RefCell<JsonCheck>,
        metrics: Metrics,
    }

    impl CheckedWorker {
        fn new() -> Self {
            let metrics = Metrics::new(&Registry::new());
            Self { checks: JsonChecks::new(), scratch: RefCell::new(JsonCheck::new()), metrics }
        }

        async fn check(
            &self,
            body: &str,
            coding: Option<&'static str>,
            framing: BodyFraming,
        ) -> Result<(), NotStorable> {
            let bytes = Bytes::copy_from_slice(body.as_bytes());
            let coding = coding.map(HeaderValue::from_static);
            let body = GatheredBody {
                bytes: &bytes,
                content_encoding: coding.as_ref(),
                framing,
                decoded_bytes_max: usize::MAX,
            };
            self.checks.check(&self.scratch, &self.metrics, &body).await
        }
    }

    fn large(content: &str) -> String {
        format!("[{content}{}]", " ".repeat(JSON_AT_ONCE_BYTES_MAX))
    }

    #[tokio::test]
    async fn an_invalid_body_is_checked_once() {
        let worker = CheckedWorker::new();
        for (number, body) in ["{", &large("x")].into_iter().enumerate() {
            let check = async || worker.check(body, None, BodyFraming::Chunked).await;
            assert_eq!(check().await, Err(NotStorable::InvalidJson));
            assert_eq!(worker.checks.invalid.len(), number + 1);
            assert_eq!(check().await, Err(NotStorable::InvalidJson));
        }
        let other = worker.check("{", Some("gzip"), BodyFraming::Chunked).await;
        assert_eq!(other, Err(NotStorable::ContentEncoding), "the coding is part of the digest");
        // No check on a blocking thread can begin.
        worker.checks.permits.close();
        let again = worker.check(&large("x"), None, BodyFraming::Chunked).await;
        assert_eq!(again, Err(NotStorable::InvalidJson), "from the table");
        let another = worker.check(&large("y"), None, BodyFraming::Chunked).await;
        assert_eq!(another, Err(NotStorable::CheckTimeout));
    }

    #[tokio::test]
    async fn a_large_body_does_not_use_the_memory_of_its_worker() {
        let worker = CheckedWorker::new();
        let body = format!("[{}]", "1,".repeat(JSON_AT_ONCE_BYTES_MAX) + "1");
        assert_eq!(worker.check(&body, None, BodyFraming::Chunked).await, Ok(()));
        assert_eq!(worker.check("12", None, BodyFraming::Chunked).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_waits_for_its_check_for_a_bounded_time() {
        let worker = CheckedWorker::new();
        let permits: Vec<_> = (0..JSON_CHECKS_MAX).map(|_| worker.checks.permits.try_acquire()).collect();
        let begun = tokio::time::Instant::now();
        let verdict = worker.check(&large("1"), None, BodyFraming::Chunked).await;
        assert_eq!((verdict, begun.elapsed()), (Err(NotStorable::CheckTimeout), JSON_CHECK_TIMEOUT));
        drop(permits);
    }

    #[tokio::test]
    async fn the_framing_decides_about_what_may_be_truncated() {
        use NotStorable::{ContentEncoding, CutBody, InvalidJson, Undelimited};
        let worker = CheckedWorker::new();
        for (body, coding, delimited, until_close) in [
            ("{}", None, Ok(()), Ok(())),
            ("\"a\"", None, Ok(()), Ok(())),
            ("12", None, Ok(()), Err(Undelimited)),
            ("true", None, Ok(()), Err(Undelimited)),
            ("{", None, Err(InvalidJson), Err(CutBody)),
            ("", None, Err(InvalidJson), Err(CutBody)),
            ("x", Some("gzip"), Err(ContentEncoding), Err(CutBody)),
            ("{}", Some("rot13"), Err(ContentEncoding), Err(ContentEncoding)),
        ] {
            for _ in 0..2 {
                let chunked = worker.check(body, coding, BodyFraming::Chunked).await;
                assert_eq!(chunked, delimited, "{body}, chunked");
                assert_eq!(worker.check(body, coding, BodyFraming::UntilClose).await, until_close, "{body}");
            }
        }
    }
}
