//! One request on one connection, up to the response head.

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request, response};
use tokio::time::Instant;

use super::connection::OriginConnection;
use super::http1::{HeadFailure, ResponseHead};
use super::interims::InterimReceiver;
use super::keep_alive;
use super::tunnel::OriginTunnel;
use super::upload::{UploadBody, UploadTracker};
use crate::hop;
use crate::origin::error::FetchError;
use crate::origin::framing::BodyFraming;
use crate::origin::protocol::UpgradeProtocol;
use crate::origin::upload::RequestBody;

/// Deadlines of the parts of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeDeadlines {
    /// From the last piece of the request sent to the response head.
    pub head: Duration,
    /// Between two pieces of a body, in either direction.
    pub body: Duration,
}

/// Deadlines of an exchange, and the receiver of the interim responses before its response.
#[derive(Clone, Copy)]
pub struct ExchangeTerms<'a> {
    /// Deadlines.
    pub deadlines: ExchangeDeadlines,
    /// Receiver, if the client of the request takes interim responses.
    pub interims: Option<&'a dyn InterimReceiver>,
}

/// Response head, with the state that its body needs.
pub(super) struct OriginResponse {
    /// Head without the connection's fields; a 101 keeps `Connection` and `Upgrade`.
    pub(super) head: response::Parts,
    pub(super) framing: BodyFraming,
    pub(super) link: ResponseLink,
    pub(super) upload: UploadTracker,
    /// Time at which the head arrived.
    pub(super) head_received: Instant,
}

/// The connection of a response.
pub(super) enum ResponseLink {
    Http(OriginConnection),
    /// The connection has switched protocols.
    Tunnel(OriginTunnel),
}

/// Failure of an exchange on one connection.
pub(super) enum ExchangeError {
    /// No byte of the request was written. The request is back in its `Option`, for another
    /// connection.
    Unwritten,
    /// The request was written, and the connection closed before the first byte of a response.
    Unanswered,
    /// Any other failure: the origin may have acted on the request.
    Final(FetchError),
}

impl From<FetchError> for ExchangeError {
    fn from(error: FetchError) -> Self {
        Self::Final(error)
    }
}

/// Sends the request in `request`, and waits for the response head.
///
/// Cancel safe: dropping the future closes the connection.
pub(super) async fn exchange(
    mut connection: OriginConnection,
    request: &mut Option<Request<UploadBody>>,
    terms: ExchangeTerms<'_>,
    now: Instant,
) -> Result<Box<OriginResponse>, ExchangeError> {
    let ExchangeTerms { deadlines, interims } = terms;
    connection.check();
    let Some(outgoing) = request.take_if(|_| connection.is_idle()) else {
        return Err(ExchangeError::Unwritten);
    };
    let method = outgoing.method().clone();
    let protocol = UpgradeProtocol::asked(&method, outgoing.headers());
    let upload = outgoing.body().begin(now);

    let received_before = connection.received();
    let due = || upload.origin_awaited_since() + deadlines.head;
    let Some(answer) = connection.send(outgoing, due, interims).await else {
        return Err(FetchError::HeadTimeout.into());
    };
    let ResponseHead { status, reason, version, mut headers, .. } = match answer {
        Ok(head) => head,
        Err(failure) => {
            let is_unanswered = connection.received() == received_before;
            return Err(match failure {
                _ if let Some(client_error) = upload.failure() => client_error.into(),
                HeadFailure::Closed if is_unanswered => ExchangeError::Unanswered,
                HeadFailure::Closed => FetchError::CutHead.into(),
                HeadFailure::TooLarge => FetchError::HeadTooLarge.into(),
                HeadFailure::Malformed(error) => FetchError::BadHead(error).into(),
                HeadFailure::Client => FetchError::ClientCut.into(),
            });
        }
    };
    let head_received = Instant::now();

    if hop::lists_too_many(&headers) {
        return Err(FetchError::HeadTooLarge.into());
    }
    // RFC 9112 §6.1: HTTP/1.0 has no transfer codings.
    if version == Version::HTTP_10 && headers.contains_key(TRANSFER_ENCODING) {
        return Err(FetchError::AmbiguousFraming.into());
    }
    let framing = BodyFraming::from_head(&method, status, &mut headers)?;
    let link = if status == StatusCode::SWITCHING_PROTOCOLS {
        let protocol = protocol.ok_or(FetchError::BadSwitch)?;
        ResponseLink::Tunnel(switch_protocols(&mut headers, &protocol, connection)?)
    } else {
        if !upload.is_sent() {
            upload.refuse_unsent();
        }
        connection.detach_upload();
        connection.expect_body(framing);
        connection.usable_for = keep_alive::usable_for(&headers);
        hop::strip(&mut headers);
        ResponseLink::Http(connection)
    };
    let (mut head, ()) = Response::new(()).into_parts();
    (head.status, head.version, head.headers) = (status, version, headers);
    if let Some(reason) = reason {
        head.extensions.insert(reason);
    }
    // Boxed, because several callers move it.
    Ok(Box::new(OriginResponse { head, framing, link, upload, head_received }))
}

/// Sets the one field that frames the body, and removes any other framing.
pub(super) fn set_framing(head: &mut request::Parts, body: &RequestBody) {
    // Heads rarely have these fields: one look at each name costs less than two searches.
    if head.headers.keys().any(|name| *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
        head.headers.remove(TRANSFER_ENCODING);
    }
    if body.is_empty() {
        head.headers.remove(EXPECT);
        // RFC 9110 §8.6: a method that usually has a body states the empty one.
        if matches!(head.method, Method::POST | Method::PUT | Method::PATCH | Method::QUERY) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        return;
    }
    match body.length() {
        Some(bytes) => head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes)),
        None => head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
    };
}

/// Makes a tunnel of the connection, if the head switches to the requested protocol.
fn switch_protocols(
    headers: &mut HeaderMap,
    protocol: &UpgradeProtocol,
    connection: OriginConnection,
) -> Result<OriginTunnel, FetchError> {
    if !protocol.is_granted(headers) {
        return Err(FetchError::BadSwitch);
    }
    hop::strip(headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.value());
    // The rest of a request would mix with the bytes of the tunnel.
    if connection.is_sent() {
        connection.into_tunnel().ok_or(FetchError::BadSwitch)
    } else {
        Err(FetchError::BadSwitch)
    }
}
