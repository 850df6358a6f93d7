//! An origin whose URLs choose the answer, and which counts: the origin behind the servers of
//! `benches/compare`.
//!
//! ```text
//! bench_origin ADDRESS
//!
//! GET /any/path?bytes=1024       a JSON string of this size, fresh for ten hours; default 1,140
//!              &delay=100        after this many milliseconds
//!              &vary=NAME        with `Vary: NAME`
//!              &tag=NAME         with `Cache-Tag: NAME`
//!              &store=no         with `Cache-Control: no-store`
//! GET /-/count                   the number of requests, without those for this path
//! ```

use std::cell::Cell;
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mimalloc::MiMalloc;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const BYTES_DEFAULT: u64 = 1140;
/// The two quotation marks.
const EMPTY_STRING_BYTES: u64 = 2;
/// The size of the pieces in which a body is sent.
const PIECE_BYTES: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: bench_origin ADDRESS")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(&address))
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    let count = Rc::new(Cell::new(0));
    let letters = Bytes::from(vec![b'q'; PIECE_BYTES]);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (count, letters) = (Rc::clone(&count), letters.clone());
        let service =
            service_fn(move |request: Request<Incoming>| answer(request, Rc::clone(&count), letters.clone()));
        // An error here is the client's, so the result is ignored.
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    count: Rc<Cell<u64>>,
    letters: Bytes,
) -> Result<Response<Either<Full<Bytes>, JsonString>>, Box<dyn Error + Send + Sync>> {
    if request.uri().path() == "/-/count" {
        return Ok(Response::new(Either::Left(Full::from(count.get().to_string()))));
    }
    count.set(count.get() + 1);
    let parameter = |name: &str| {
        let pairs = request.uri().query().unwrap_or_default().split('&');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    };
    if let Some(delay) = parameter("delay") {
        tokio::time::sleep(Duration::from_millis(delay.parse()?)).await;
    }
    let bytes = parameter("bytes").map_or(Ok(BYTES_DEFAULT), str::parse)?;
    let body = JsonString { letters, sent: 0, total: bytes.max(EMPTY_STRING_BYTES) };
    let mut response = Response::new(Either::Right(body));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(ETAG, HeaderValue::from_static("\"5f0c6b1e7a\""));
    let control = if parameter("store") == Some("no") { "no-store" } else { "public, max-age=36000" };
    fields.insert(CACHE_CONTROL, HeaderValue::from_static(control));
    if let Some(name) = parameter("vary") {
        fields.insert(VARY, name.parse()?);
    }
    if let Some(name) = parameter("tag") {
        fields.insert("cache-tag", name.parse()?);
    }
    Ok(response)
}

/// A string `"qqqq"` of any length, produced while it is sent.
struct JsonString {
    letters: Bytes,
    sent: u64,
    total: u64,
}

impl Body for JsonString {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.total - self.sent;
        let piece = match (self.sent, left) {
            (_, 0) => return Poll::Ready(None),
            (0, _) | (_, 1) => Bytes::from_static(b"\""),
            (_, left) => {
                let length = usize::try_from(left - 1).unwrap_or(usize::MAX).min(self.letters.len());
                self.letters.slice(..length)
            }
        };
        self.sent += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.total - self.sent)
    }
}
