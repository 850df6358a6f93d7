//! Client of the origin: sends a request, returns the response head and a body.
//!
//! The client repeats a request only if that is as safe as sending it once: if no byte of it
//! was written, or (RFC 9110 §9.2.2) if the method is idempotent, the proxy has the whole
//! body, if any, and a reused connection closed before the first byte of a response. The origin
//! then probably closed the idle connection while the client was sending. The client repeats once,
//! on a new connection, and to another address if the origin has one. A failed connect writes
//! nothing, so the dialler tries the other addresses for every request.

use std::rc::Rc;
use std::sync::Arc;

use http::header::EXPECT;
use http::request::Parts;
use http::{Request, Response};
use tokio::time::Instant;

use super::address::OriginAddress;
use super::body::ExchangeGuard;
use super::connection::OriginConnection;
use super::ejection::AddressFailure;
use super::exchange::{
    ExchangeDeadlines, ExchangeError, ExchangeTerms, OriginResponse, ResponseLink, exchange, set_framing,
};
use super::limiter::{OriginLimiter, OriginPermit};
use super::metrics::{ConnectionChoice, ExchangeTally, Metrics};
use super::pool::OriginPool;
use super::signs::Resource;
use super::upload::UploadBody;
use crate::client_address::ClientNetwork;
use crate::origin::body::OriginBody;
use crate::origin::error::{FetchError, OriginOptionsError};
use crate::origin::options::Options;
use crate::origin::outbound::OutboundHeads;
use crate::origin::protocol::UpgradeProtocol;
use crate::origin::upload::RequestBody;
use crate::telemetry::Registry;

/// Client of one worker for its origin. Clones share the connections.
#[derive(Clone)]
pub struct OriginClient(Rc<ClientParts>);

struct ClientParts {
    outbound: OutboundHeads,
    limiter: OriginLimiter,
    pool: OriginPool,
    deadlines: ExchangeDeadlines,
    metrics: Rc<Metrics>,
}

impl OriginClient {
    /// Creates a client and reads the certificate authorities, without dialling.
    pub fn new(options: Options, registry: &Registry) -> Result<Self, OriginOptionsError> {
        let metrics = Rc::new(Metrics::new(&options, registry));
        Ok(Self(Rc::new(ClientParts {
            outbound: OutboundHeads::new(&options)?,
            limiter: OriginLimiter::new(&options, Rc::clone(&metrics)),
            pool: OriginPool::new(&options, Rc::clone(&metrics))?,
            deadlines: ExchangeDeadlines { head: options.head_timeout, body: options.body_timeout },
            metrics,
        })))
    }

    /// Returns the writer of the request heads.
    pub fn outbound(&self) -> &OutboundHeads {
        &self.0.outbound
    }

    /// Sends a request for `client` and waits for the response head. `head` writes the request
    /// head, as [`OutboundHeads::head`] does; a second attempt calls it again.
    ///
    /// The response head has no field of the connection, except `Connection` and `Upgrade` of a
    /// 101, whose tunnel [`OriginBody::take_tunnel`] returns.
    ///
    /// Needs a `LocalSet`. Cancel safe: dropping the future closes the connection.
    pub async fn send(
        &self,
        client: ClientNetwork,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
    ) -> Result<Response<OriginBody>, FetchError> {
        let terms = ExchangeTerms { deadlines: self.0.deadlines, interims: None };
        self.send_within(terms, client, head, body).await
    }

    /// Returns the deadlines of the settings.
    pub fn deadlines(&self) -> ExchangeDeadlines {
        self.0.deadlines
    }

    /// Sends a request as [`send`](Self::send) does, on other terms.
    pub async fn send_within(
        &self,
        terms: ExchangeTerms<'_>,
        client: ClientNetwork,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
    ) -> Result<Response<OriginBody>, FetchError> {
        let tally = self.0.metrics.begin();
        let started = Instant::now();
        let mut permit = match self.0.limiter.acquire(client, started).await {
            Ok(permit) => permit,
            Err(error) => {
                tally.failed(&error);
                return Err(error);
            }
        };
        match self.exchange_head(terms, head, body, &mut permit).await {
            Ok(response) => {
                permit.record_response(response.head.status, response.head_received);
                self.response(response, terms.deadlines, started, tally, permit)
            }
            Err(error) => {
                permit.record_failure(&error);
                tally.failed(&error);
                Err(error)
            }
        }
    }

    /// Chooses an address, and sends on its most recently used idle connection; on a new one if
    /// there is none, or if the idle ones have closed unnoticed.
    async fn exchange_head(
        &self,
        terms: ExchangeTerms<'_>,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
        permit: &mut OriginPermit,
    ) -> Result<Box<OriginResponse>, FetchError> {
        let head_of_first = head()?;
        permit.set_path(head_of_first.uri.path());
        if !permit.admits_tunnel()
            && UpgradeProtocol::asked(&head_of_first.method, &head_of_first.headers).is_some()
        {
            return Err(FetchError::Busy);
        }
        let (began, resource) = (permit.began(), permit.resource());
        let address = self.0.pool.choose(None);
        let mut again = head_of_first.method.is_idempotent().then(|| body.again()).flatten();
        let mut request = Some(with_framing(head_of_first, body, terms.deadlines));
        while let Some(connection) = address.as_ref().and_then(|address| self.0.pool.reuse(address, began)) {
            let choice = ConnectionChoice::Reused;
            match self.send_on(terms, connection, &mut request, choice, resource, began).await {
                Ok(response) => return Ok(response),
                Err(ExchangeError::Final(error)) => return Err(error),
                // This connection had closed already; the next may be open.
                Err(ExchangeError::Unwritten) => {}
                Err(ExchangeError::Unanswered) if again.is_some() => {
                    let body = again.take().unwrap_or(RequestBody::Empty);
                    let second = with_framing(head()?, body, terms.deadlines);
                    let (other, choice) = (self.0.pool.choose(address.as_ref()), ConnectionChoice::Retried);
                    return Box::pin(self.send_on_new(terms, other, Some(second), choice, resource)).await;
                }
                Err(ExchangeError::Unanswered) => return Err(FetchError::Unanswered),
            }
        }
        Box::pin(self.send_on_new(terms, address, request, ConnectionChoice::Fresh, resource)).await
    }

    async fn send_on_new(
        &self,
        terms: ExchangeTerms<'_>,
        address: Option<Arc<OriginAddress>>,
        mut request: Option<Request<UploadBody>>,
        choice: ConnectionChoice,
        resource: Resource,
    ) -> Result<Box<OriginResponse>, FetchError> {
        let connection = self.0.pool.open(address.as_ref()).await?;
        let sent = self.send_on(terms, connection, &mut request, choice, resource, Instant::now());
        sent.await.map_err(|failure| match failure {
            ExchangeError::Unwritten | ExchangeError::Unanswered => FetchError::Unanswered,
            ExchangeError::Final(error) => error,
        })
    }

    async fn send_on(
        &self,
        terms: ExchangeTerms<'_>,
        connection: OriginConnection,
        request: &mut Option<Request<UploadBody>>,
        choice: ConnectionChoice,
        resource: Resource,
        began: Instant,
    ) -> Result<Box<OriginResponse>, ExchangeError> {
        let ClientParts { metrics, pool, .. } = &*self.0;
        let address = Arc::clone(connection.usage.address());
        let sent = metrics.begin_send(choice);
        let response = exchange(connection, request, terms, began).await;
        match &response {
            Ok(response) => {
                let took = response.head_received.saturating_duration_since(began);
                metrics.record_head(choice, response.head.status, took);
                pool.selector().record_response(&address);
            }
            Err(ExchangeError::Unwritten) => sent.cancel(),
            // The close of an idle connection says nothing about its address.
            Err(ExchangeError::Unanswered) if choice == ConnectionChoice::Reused => {}
            Err(ExchangeError::Unanswered) => {
                pool.selector().record_failure(&address, AddressFailure::Unanswered, Some(resource));
            }
            Err(ExchangeError::Final(FetchError::HeadTimeout)) => {
                pool.selector().record_failure(&address, AddressFailure::HeadTimeout, Some(resource));
            }
            Err(ExchangeError::Final(_)) => {}
        }
        response
    }

    fn response(
        &self,
        response: Box<OriginResponse>,
        deadlines: ExchangeDeadlines,
        started: Instant,
        tally: ExchangeTally,
        permit: OriginPermit,
    ) -> Result<Response<OriginBody>, FetchError> {
        let OriginResponse { head, framing, link, upload, head_received } = *response;
        let connection = match link {
            ResponseLink::Http(connection) => connection,
            ResponseLink::Tunnel(tunnel) => {
                return match permit.into_tunnel() {
                    Ok(permit) => {
                        tally.switched();
                        Ok(Response::from_parts(head, OriginBody::switched(tunnel, permit)))
                    }
                    Err(error) => {
                        tally.failed(&error);
                        Err(error)
                    }
                };
            }
        };
        let exchanged = ExchangeGuard {
            connection,
            pool: self.0.pool.clone(),
            upload,
            version: head.version,
            tally,
            permit,
        };
        let took = head_received.saturating_duration_since(started);
        Ok(Response::from_parts(head, OriginBody::new(framing, took, exchanged, deadlines.body)))
    }
}

/// Returns the request with the framing of its body.
fn with_framing(mut head: Parts, body: RequestBody, deadlines: ExchangeDeadlines) -> Request<UploadBody> {
    set_framing(&mut head, &body);
    let mut upload = UploadBody::new(body, deadlines.body);
    if head.headers.contains_key(EXPECT) {
        upload.await_continue();
    }
    Request::from_parts(head, upload)
}
