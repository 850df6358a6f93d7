//! The client: a request out, the head of its answer and a body back.
//!
//! A request is sent a second time only where that cannot be told from sending it once. That is so when hyper hands it
//! back unwritten. And it is so (RFC 9110 §9.2.2) when its method is idempotent, it has no body, and the connection had
//! been used before and closed without one byte of an answer: then the origin's closing of an idle connection crossed
//! our request on the way. The second time is the last, and on a new connection.

use std::rc::Rc;

use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::body::Exchanged;
use super::connection::Connection;
use super::exchange::{Answer, Deadlines, Failure, exchange, frame};
use super::metrics::{Metrics, Route, Tally};
use super::pool::Pool;
use super::turns::{Turn, Turns};
use super::upload::Upload;
use super::{BadOptions, Body, FetchError, Options, Outbound, RequestBody};
use crate::client_address::ClientNetwork;
use crate::telemetry::Registry;

/// One worker's client of the one origin. Clones share its connections.
#[derive(Clone)]
pub struct Client(Rc<Inner>);

struct Inner {
    outbound: Outbound,
    turns: Turns,
    pool: Pool,
    deadlines: Deadlines,
    metrics: Rc<Metrics>,
}

impl Client {
    /// Reads the certificate authorities; nothing is dialled yet.
    pub fn new(options: Options, registry: &Registry) -> Result<Self, BadOptions> {
        let metrics = Rc::new(Metrics::new(&options, registry));
        Ok(Self(Rc::new(Inner {
            outbound: Outbound::new(&options)?,
            turns: Turns::new(&options, Rc::clone(&metrics)),
            pool: Pool::new(&options, Rc::clone(&metrics))?,
            deadlines: Deadlines { head: options.head_timeout, body: options.body_timeout },
            metrics,
        })))
    }

    /// Writes the heads of the requests that are to be sent.
    pub fn outbound(&self) -> &Outbound {
        &self.0.outbound
    }

    /// Sends a request of `asker` and waits for the head of its answer. `head` writes the request's, as [`Outbound::head`] does;
    /// it is asked again if the request is sent a second time.
    ///
    /// The answer's head is without the fields of the connection; that of a 101 has `Connection` and `Upgrade`, and
    /// [`hyper::upgrade::on`] gives its tunnel at once.
    ///
    /// To be called within a `LocalSet`. Cancel safe: dropping it closes the connection.
    pub async fn send(
        &self,
        asker: ClientNetwork,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
    ) -> Result<Response<Body>, FetchError> {
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

    /// Asks on the connection that was used last; on a new one if there is none, or if that one had closed unnoticed.
    async fn answer(
        &self,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
        turn: &mut Turn,
    ) -> Result<Box<Answer>, FetchError> {
        let head_of_first = head()?;
        turn.asks_for(head_of_first.uri.path());
        let began = turn.began();
        let mut request = Some(self.framed(head_of_first, body));
        let is_repeatable = request
            .as_ref()
            .is_some_and(|request| request.method().is_idempotent() && request.body().is_end_stream());
        while let Some(connection) = self.0.pool.reuse(began) {
            match self.ask(connection, &mut request, Route::Reused, began).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                // It had closed before; perhaps the next one has not.
                Err(Failure::Unwritten) => {}
                Err(Failure::Unanswered) if is_repeatable => {
                    let again = self.framed(head()?, RequestBody::Empty);
                    return Box::pin(self.ask_anew(Some(again), Route::Retried)).await;
                }
                Err(Failure::Unanswered) => return Err(FetchError::Unanswered),
            }
        }
        Box::pin(self.ask_anew(request, Route::Fresh)).await
    }

    async fn ask_anew(
        &self,
        mut request: Option<Request<Upload>>,
        route: Route,
    ) -> Result<Box<Answer>, FetchError> {
        let connection = self.0.pool.open().await?;
        self.ask(connection, &mut request, route, Instant::now()).await.map_err(|failure| match failure {
            Failure::Unwritten | Failure::Unanswered => FetchError::Unanswered,
            Failure::Final(error) => error,
        })
    }

    async fn ask(
        &self,
        connection: Connection,
        request: &mut Option<Request<Upload>>,
        route: Route,
        began: Instant,
    ) -> Result<Box<Answer>, Failure> {
        let Inner { deadlines, metrics, .. } = &*self.0;
        let sent = metrics.sent(route);
        let answer = exchange(connection, request, *deadlines, began).await;
        match &answer {
            Ok(answer) => metrics.answered(route, answer.came.saturating_duration_since(began)),
            Err(Failure::Unwritten) => sent.not_at_all(),
            Err(Failure::Unanswered | Failure::Final(_)) => {}
        }
        answer
    }

    /// The request as it is written.
    fn framed(&self, mut head: Parts, body: RequestBody) -> Request<Upload> {
        frame(&mut head, &body);
        Request::from_parts(head, Upload::new(body, self.0.deadlines.body))
    }

    fn response(&self, answer: Box<Answer>, called: Instant, tally: Tally, turn: Turn) -> Response<Body> {
        let Answer { head, incoming, framing, connection, track, came } = *answer;
        let Some(connection) = connection else {
            tally.switched();
            return Response::from_parts(head, Body::switched(incoming));
        };
        let exchanged =
            Exchanged { connection, pool: self.0.pool.clone(), track, version: head.version, tally, turn };
        let took = came.saturating_duration_since(called);
        Response::from_parts(head, Body::new(incoming, framing, took, exchanged, self.0.deadlines.body))
    }
}
