//! The client: a request out, the head of its answer and a body back.
//!
//! A request is sent a second time only where that cannot be told from sending it once. That is so
//! when hyper hands it back unwritten. And it is so (RFC 9110 §9.2.2) when its method is
//! idempotent, it has no body, and the connection had been used before and closed without one byte
//! of an answer: then the origin's closing of an idle connection crossed our request on the way.
//! The second time is the last, and on a new connection.

use std::rc::Rc;

use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::body::ExchangeGuard;
use super::connection::OriginConnection;
use super::exchange::{ExchangeDeadlines, ExchangeError, OriginResponse, exchange, frame};
use super::metrics::{ConnectionChoice, ExchangeTally, Metrics};
use super::pool::OriginPool;
use super::limiter::{OriginLimiter, OriginPermit};
use super::upload::UploadBody;
use super::{FetchError, Options, OriginBody, OriginOptionsError, OutboundHeads, RequestBody};
use crate::client_address::ClientNetwork;
use crate::telemetry::Registry;

/// One worker's client of the one origin. Clones share its connections.
#[derive(Clone)]
pub struct OriginClient(Rc<ClientParts>);

struct ClientParts {
    outbound: OutboundHeads,
    turns: OriginLimiter,
    pool: OriginPool,
    deadlines: ExchangeDeadlines,
    metrics: Rc<Metrics>,
}

impl OriginClient {
    /// Reads the certificate authorities; nothing is dialled yet.
    pub fn new(options: Options, registry: &Registry) -> Result<Self, OriginOptionsError> {
        let metrics = Rc::new(Metrics::new(&options, registry));
        Ok(Self(Rc::new(ClientParts {
            outbound: OutboundHeads::new(&options)?,
            turns: OriginLimiter::new(&options, Rc::clone(&metrics)),
            pool: OriginPool::new(&options, Rc::clone(&metrics))?,
            deadlines: ExchangeDeadlines { head: options.head_timeout, body: options.body_timeout },
            metrics,
        })))
    }

    /// Writes the heads of the requests that are to be sent.
    pub fn outbound(&self) -> &OutboundHeads {
        &self.0.outbound
    }

    /// Sends a request of `asker` and waits for the head of its answer. `head` writes the
    /// request's, as [`OutboundHeads::head`] does; it is asked again if the request is sent a
    /// second time.
    ///
    /// The answer's head is without the fields of the connection; that of a 101 has
    /// `OriginConnection` and `Upgrade`, and [`hyper::upgrade::on`] gives its tunnel at once.
    ///
    /// To be called within a `LocalSet`. Cancel safe: dropping it closes the connection.
    pub async fn send(
        &self,
        asker: ClientNetwork,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
    ) -> Result<Response<OriginBody>, FetchError> {
        let tally = self.0.metrics.begin();
        let called = Instant::now();
        let mut turn = match self.0.turns.take(asker, called).await {
            Ok(turn) => turn,
            Err(error) => {
                tally.failed(&error);
                return Err(error);
            }
        };
        match self.answer(head, body, &mut turn).await {
            Ok(answer) => {
                turn.answered(answer.head.status, answer.came);
                Ok(self.response(answer, called, tally, turn))
            }
            Err(error) => {
                turn.failed(&error);
                tally.failed(&error);
                Err(error)
            }
        }
    }

    /// Asks on the connection that was used last; on a new one if there is none, or if that one had
    /// closed unnoticed.
    async fn answer(
        &self,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
        turn: &mut OriginPermit,
    ) -> Result<Box<OriginResponse>, FetchError> {
        let head_of_first = head()?;
        turn.asks_for(head_of_first.uri.path());
        let began = turn.began();
        let mut request = Some(self.framed(head_of_first, body));
        let is_repeatable = request
            .as_ref()
            .is_some_and(|request| request.method().is_idempotent() && request.body().is_end_stream());
        while let Some(connection) = self.0.pool.reuse(began) {
            match self.ask(connection, &mut request, ConnectionChoice::Reused, began).await {
                Ok(answer) => return Ok(answer),
                Err(ExchangeError::Final(error)) => return Err(error),
                // It had closed before; perhaps the next one has not.
                Err(ExchangeError::Unwritten) => {}
                Err(ExchangeError::Unanswered) if is_repeatable => {
                    let again = self.framed(head()?, RequestBody::Empty);
                    return Box::pin(self.ask_anew(Some(again), ConnectionChoice::Retried)).await;
                }
                Err(ExchangeError::Unanswered) => return Err(FetchError::Unanswered),
            }
        }
        Box::pin(self.ask_anew(request, ConnectionChoice::Fresh)).await
    }

    async fn ask_anew(
        &self,
        mut request: Option<Request<UploadBody>>,
        route: ConnectionChoice,
    ) -> Result<Box<OriginResponse>, FetchError> {
        let connection = self.0.pool.open().await?;
        self.ask(connection, &mut request, route, Instant::now()).await.map_err(|failure| match failure {
            ExchangeError::Unwritten | ExchangeError::Unanswered => FetchError::Unanswered,
            ExchangeError::Final(error) => error,
        })
    }

    async fn ask(
        &self,
        connection: OriginConnection,
        request: &mut Option<Request<UploadBody>>,
        route: ConnectionChoice,
        began: Instant,
    ) -> Result<Box<OriginResponse>, ExchangeError> {
        let ClientParts { deadlines, metrics, .. } = &*self.0;
        let sent = metrics.sent(route);
        let answer = exchange(connection, request, *deadlines, began).await;
        match &answer {
            Ok(answer) => metrics.answered(route, answer.came.saturating_duration_since(began)),
            Err(ExchangeError::Unwritten) => sent.not_at_all(),
            Err(ExchangeError::Unanswered | ExchangeError::Final(_)) => {}
        }
        answer
    }

    /// The request as it is written.
    fn framed(&self, mut head: Parts, body: RequestBody) -> Request<UploadBody> {
        frame(&mut head, &body);
        Request::from_parts(head, UploadBody::new(body, self.0.deadlines.body))
    }

    fn response(
        &self,
        answer: Box<OriginResponse>,
        called: Instant,
        tally: ExchangeTally,
        turn: OriginPermit,
    ) -> Response<OriginBody> {
        let OriginResponse { head, incoming, framing, connection, track, came } = *answer;
        let Some(connection) = connection else {
            tally.switched();
            return Response::from_parts(head, OriginBody::switched(incoming));
        };
        let exchanged = ExchangeGuard {
            connection,
            pool: self.0.pool.clone(),
            track,
            version: head.version,
            tally,
            turn,
        };
        let took = came.saturating_duration_since(called);
        Response::from_parts(head, OriginBody::new(incoming, framing, took, exchanged, self.0.deadlines.body))
    }
}
