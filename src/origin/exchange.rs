//! One request on one connection, up to the head of its answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request, StatusCode, request, response};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::connection::OriginConnection;
use super::upload::{UploadBody, UploadTracker};
use super::{BodyFraming, FetchError, RequestBody, UpgradeProtocol, keep_alive};
use crate::hop;

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExchangeDeadlines {
    /// From the last piece of the request that was sent to the head of the answer.
    pub(super) head: Duration,
    /// Between two pieces of a body, in either direction.
    pub(super) body: Duration,
}

/// The head of an answer, and what its body needs.
pub(super) struct OriginResponse {
    /// Without the fields of the connection, but for those of a switch.
    pub(super) head: response::Parts,
    pub(super) incoming: Incoming,
    pub(super) framing: BodyFraming,
    /// `None` once it has become a tunnel.
    pub(super) connection: Option<OriginConnection>,
    pub(super) track: UploadTracker,
    /// When its head had come.
    pub(super) came: Instant,
}

/// How an exchange failed on one connection.
pub(super) enum ExchangeError {
    /// Not one byte of the request was written: it is back where it was taken from, for another
    /// connection.
    Unwritten,
    /// Written, and closed before one byte of an answer.
    Unanswered,
    /// Anything else: it cannot be known what the origin did.
    Final(FetchError),
}

impl From<FetchError> for ExchangeError {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

/// Sends the request that stands there, and waits for the head of its answer.
///
/// Cancel safe: dropping it closes the connection.
pub(super) async fn exchange(
    mut connection: OriginConnection,
    request: &mut Option<Request<UploadBody>>,
    deadlines: ExchangeDeadlines,
    now: Instant,
) -> Result<Box<OriginResponse>, ExchangeError> {
    let Some(asked) = request.as_ref() else { return Err(ExchangeError::Unwritten) };
    let method = asked.method().clone();
    let protocol = UpgradeProtocol::asked(&method, asked.headers());
    let track = asked.body().begin(now);

    let before = connection.received();
    let due = || track.origin_awaited_since() + deadlines.head;
    let Some(response) = connection.send(request, due).await else {
        return Err(FetchError::HeadTimeout.into());
    };
    let (mut head, incoming) = match response {
        Ok(response) => response.into_parts(),
        Err(mut error) => {
            *request = error.take_message();
            return Err(if request.is_some() {
                ExchangeError::Unwritten
            } else if let Some(by_client) = track.failure() {
                by_client.into()
            } else if connection.received() == before {
                ExchangeError::Unanswered
            } else {
                bad_head(error.into_error()).into()
            });
        }
    };
    let came = Instant::now();

    let framing = BodyFraming::settle(&method, head.status, &mut head.headers)?;
    let connection = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let protocol = protocol.ok_or(FetchError::BadSwitch)?;
        switch(&mut head, &protocol, connection, deadlines).await?;
        None
    } else {
        if !track.is_sent() {
            connection.detach();
        }
        connection.usable_for = keep_alive::usable_for(&head.headers);
        hop::strip(&mut head.headers);
        Some(connection)
    };
    // Boxed: it is moved through all who wait for it.
    Ok(Box::new(OriginResponse { head, incoming, framing, connection, track, came }))
}

/// Makes the head say how the body is framed, in one way, whatever it said before.
pub(super) fn frame(head: &mut request::Parts, body: &RequestBody) {
    // Nobody says it as a rule: a look at each name costs less than two searches.
    if head.headers.keys().any(|name| *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(TRANSFER_ENCODING);
    }
    if body.is_empty() {
        // RFC 9110 §8.6: where a body is usual, its absence is said.
        if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        return;
    }
    // hyper would take a GET for one without a body, unless the head says otherwise.
    match body.length() {
        Some(bytes) => head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes)),
        None => head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
    };
}

/// What it means that the connection ended after the first byte of an answer.
fn bad_head(error: hyper::Error) -> FetchError {
    if error.is_parse_too_large() {
        FetchError::HeadTooLarge
    } else if error.is_parse() {
        FetchError::BadHead(Arc::new(error))
    } else {
        FetchError::CutHead
    }
}

/// Leaves the connection to the tunnel, if this is the switch that was asked for.
async fn switch(
    head: &mut response::Parts,
    protocol: &UpgradeProtocol,
    connection: OriginConnection,
    deadlines: ExchangeDeadlines,
) -> Result<(), FetchError> {
    if !protocol.is_granted(&head.headers) {
        return Err(FetchError::BadSwitch);
    }
    hop::strip(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, protocol.value());
    // hyper lets go as soon as it has read the head; only a request that is still being sent would
    // hold it.
    timeout(deadlines.head, connection.released()).await.map_err(|_| FetchError::BadSwitch)
}
