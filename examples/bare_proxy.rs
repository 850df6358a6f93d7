//! A proxy of bare hyper, client and server: the cost of hyper's two state machines for a request
//! that is passed on, and so the lower bound of the pass-through rows of `benches/compare`.
//!
//! It has no deadlines and no limits, and sets no field but `Host`, so it is only fit to be
//! measured. It has CacheWarp's allocator, form of runtime and socket options. A task drives each
//! connection to the origin, as in hyper's documentation, and the connection is reused as soon as
//! the answer's body has ended.
//!
//! ```text
//! bare_proxy ADDRESS ORIGIN_ADDRESS
//! ```

use std::cell::RefCell;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use mimalloc::MiMalloc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Fault = Box<dyn Error + Send + Sync>;

/// The origin's address, and its idle connections.
struct Origin {
    address: String,
    host: HeaderValue,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(origin)) = (arguments.next(), arguments.next()) else {
        return Err("usage: bare_proxy ADDRESS ORIGIN_ADDRESS".into());
    };
    let origin = Origin { host: origin.parse()?, address: origin, idle: RefCell::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(&address, Rc::new(origin)))
}

async fn serve(address: &str, origin: Rc<Origin>) -> Result<(), Fault> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let origin = Rc::clone(&origin);
        let service = service_fn(move |request| pass(Rc::clone(&origin), request));
        // An error here is the client's, so the result is ignored.
        spawn_local(server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn pass(origin: Rc<Origin>, mut request: Request<Incoming>) -> Result<Response<Passing>, Fault> {
    request.headers_mut().remove(CONNECTION);
    request.headers_mut().insert(HOST, origin.host.clone());
    let mut sender = origin.connection().await?;
    let response = sender.send_request(request).await?;
    Ok(response.map(|incoming| Passing { incoming, exchange: Some((sender, origin)) }))
}

impl Origin {
    async fn connection(&self) -> Result<SendRequest<Incoming>, Fault> {
        while let Some(sender) = self.idle.borrow_mut().pop() {
            if sender.is_ready() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        spawn_local(connection);
        Ok(sender)
    }
}

/// A body in transfer, with its connection.
struct Passing {
    incoming: Incoming,
    exchange: Option<(SendRequest<Incoming>, Rc<Origin>)>,
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let next = Pin::new(&mut self.incoming).poll_frame(cx);
        let has_ended = matches!(next, Poll::Ready(None)) || self.incoming.is_end_stream();
        if has_ended && let Some((sender, origin)) = self.exchange.take() {
            origin.idle.borrow_mut().push(sender);
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
