//! The client: a request out, the head of its answer and a body back.
//!
//! A request is sent a second time only where that cannot be told from sending it once. That is so when hyper hands it
//! back unwritten. And it is so (RFC 9110 §9.2.2) when its method is idempotent, it has no body, and the connection had
//! been used before and closed without one byte of an answer: then the origin's closing of an idle connection crossed
//! our request on the way. The second time is the last, and on a new connection.

use std::rc::Rc;

use http::request::Parts;
use http::{Request, Response};
use tokio::time::Instant;

use super::body::Exchanged;
use super::connection::Connection;
use super::exchange::{Answer, Deadlines, Failure, exchange};
use super::metrics::{Metrics, Route, Tally};
use super::pool::Pool;
use super::turns::{Turn, Turns};
use super::{BadOptions, Body, FetchError, Options, Outbound, RequestBody};
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
        let metrics = Rc::new(Metrics::new(registry));
        Ok(Self(Rc::new(Inner {
            outbound: Outbound::new(&options)?,
            turns: Turns::new(options.connections_max, options.queue_timeout, Rc::clone(&metrics)),
            pool: Pool::new(&options, Rc::clone(&metrics))?,
            deadlines: Deadlines { head: options.head_timeout, body: options.body_timeout },
            metrics,
        })))
    }

    /// Writes the heads of the requests that are to be sent.
    pub fn outbound(&self) -> &Outbound {
        &self.0.outbound
    }

    /// Sends a request and waits for the head of its answer. `head` writes the request's, as [`Outbound::head`] does;
    /// it is asked again if the request is sent a second time.
    ///
    /// The answer's head is without the fields of the connection; that of a 101 has `Connection` and `Upgrade`, and
    /// [`hyper::upgrade::on`] gives its tunnel at once.
    ///
    /// To be called within a `LocalSet`. Cancel safe: dropping it closes the connection.
    pub async fn send(
        &self,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
    ) -> Result<Response<Body>, FetchError> {
        let tally = self.0.metrics.begin();
        match self.in_turn(head, body).await {
            Ok((answer, turn)) => Ok(self.response(answer, tally, turn)),
            Err(error) => {
                tally.failed(&error);
                Err(error)
            }
        }
    }

    async fn in_turn(
        &self,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
    ) -> Result<(Box<Answer>, Turn), FetchError> {
        let mut turn = self.0.turns.take().await?;
        match self.answer(head, body).await {
            Ok(answer) => {
                turn.answered(answer.head.status);
                Ok((answer, turn))
            }
            Err(error) => {
                turn.failed(&error);
                Err(error)
            }
        }
    }

    /// Asks on the connection that was used last; on a new one if there is none, or if that one had closed unnoticed.
    async fn answer(
        &self,
        head: impl Fn() -> Result<Parts, FetchError>,
        body: RequestBody,
    ) -> Result<Box<Answer>, FetchError> {
        let request = Request::from_parts(head()?, body);
        let Some(connection) = self.0.pool.reuse() else {
            return Box::pin(self.ask_anew(request, Route::Fresh)).await;
        };
        let repeatable = request.method().is_idempotent() && request.body().is_empty();
        let request = match self.ask(connection, request, Route::Reused).await {
            Ok(answer) => return Ok(answer),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Unwritten(request)) => *request,
            Err(Failure::Unanswered) if repeatable => Request::from_parts(head()?, RequestBody::Empty),
            Err(Failure::Unanswered) => return Err(FetchError::Unanswered),
        };
        Box::pin(self.ask_anew(request, Route::Again)).await
    }

    async fn ask_anew(&self, request: Request<RequestBody>, route: Route) -> Result<Box<Answer>, FetchError> {
        let connection = self.0.pool.open().await?;
        self.ask(connection, request, route).await.map_err(|failure| match failure {
            Failure::Unwritten(_) | Failure::Unanswered => FetchError::Unanswered,
            Failure::Final(error) => error,
        })
    }

    async fn ask(
        &self,
        connection: Connection,
        request: Request<RequestBody>,
        route: Route,
    ) -> Result<Box<Answer>, Failure> {
        self.0.metrics.sent(route);
        let began = Instant::now();
        let answer = exchange(connection, request, self.0.deadlines, began).await?;
        self.0.metrics.answered(began.elapsed());
        Ok(answer)
    }

    fn response(&self, answer: Box<Answer>, tally: Tally, turn: Turn) -> Response<Body> {
        let Answer { head, incoming, framing, connection, track } = *answer;
        let Some(connection) = connection else {
            tally.switched();
            return Response::from_parts(head, Body::switched(incoming));
        };
        let exchanged =
            Exchanged { connection, pool: self.0.pool.clone(), track, version: head.version, tally, turn };
        Response::from_parts(head, Body::new(incoming, framing, exchanged, self.0.deadlines.body))
    }
}
