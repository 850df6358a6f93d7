//! One request on one connection, up to the response head.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request, StatusCode, request, response};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::connection::OriginConnection;
use super::interims::InterimReceiver;
use super::keep_alive;
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
    pub(super) incoming: Incoming,
    pub(super) framing: BodyFraming,
    /// `None` after the connection became a tunnel.
    pub(super) connection: Option<OriginConnection>,
    pub(super) upload: UploadTracker,
    /// Time at which the head arrived.
    pub(super) head_received: Instant,
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
    let Some(outgoing) = request.as_ref() else { return Err(ExchangeError::Unwritten) };
    let method = outgoing.method().clone();
    let protocol = UpgradeProtocol::asked(&method, outgoing.headers());
    let upload = outgoing.body().begin(now);

    let received_before = connection.received();
    let due = || upload.origin_awaited_since() + deadlines.head;
    let Some(response) = connection.send(request, due, interims).await else {
        return Err(FetchError::HeadTimeout.into());
    };
    let (mut head, incoming) = match response {
        Ok(response) => response.into_parts(),
        Err(mut error) => {
            *request = error.take_message();
            return Err(if request.is_some() {
                ExchangeError::Unwritten
            } else if let Some(client_error) = upload.failure() {
                client_error.into()
            } else if connection.exceeds_head() {
                FetchError::HeadTooLarge.into()
            } else if connection.received() == received_before {
                ExchangeError::Unanswered
            } else {
                head_error(error.into_error()).into()
            });
        }
    };
    let head_received = Instant::now();

    if hop::lists_too_many(&head.headers) {
        return Err(FetchError::HeadTooLarge.into());
    }
    let framing = BodyFraming::from_head(&method, head.status, &mut head.headers)?;
    let connection = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let protocol = protocol.ok_or(FetchError::BadSwitch)?;
        switch_protocols(&mut head, &protocol, connection, deadlines).await?;
        None
    } else {
        if !upload.is_sent() {
            upload.refuse_unsent();
            connection.detach();
        }
        connection.usable_for = keep_alive::usable_for(&head.headers);
        hop::strip(&mut head.headers);
        Some(connection)
    };
    // Boxed, because several callers move it.
    Ok(Box::new(OriginResponse { head, incoming, framing, connection, upload, head_received }))
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
    // hyper assumes that a GET has no body, unless the head frames one.
    match body.length() {
        Some(bytes) => head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes)),
        None => head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
    };
}

/// Returns the error for a connection that ended after the first byte of a response.
fn head_error(error: hyper::Error) -> FetchError {
    if error.is_parse_too_large() {
        FetchError::HeadTooLarge
    } else if error.is_parse() {
        FetchError::BadHead(Arc::new(error))
    } else {
        FetchError::CutHead
    }
}

/// Hands the connection to the tunnel, if the head switches to the requested protocol.
async fn switch_protocols(
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
    // hyper releases the socket as soon as it has read the head, unless it still sends the request.
    timeout(deadlines.head, connection.wait_released()).await.map_err(|_| FetchError::BadSwitch)
}
