//! A hello-world on hyper: the baseline of `benches/compare`, and the origin behind the compared
//! servers.
//!
//! It shows the cost of a request before any work of a proxy. It has CacheWarp's allocator, form of
//! runtime and socket options; every request gets the same body and fields.
//!
//! ```text
//! bare_hyper ADDRESS BODY_FILE ["name: value"]...
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mimalloc::MiMalloc;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The answer to every request.
struct Answer {
    fields: HeaderMap,
    body: Bytes,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(body)) = (arguments.next(), arguments.next()) else {
        return Err("usage: bare_hyper ADDRESS BODY_FILE [\"name: value\"]...".into());
    };
    let answer = Answer {
        fields: arguments.map(|line| field(&line)).collect::<Result<_, _>>()?,
        body: std::fs::read(body)?.into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(&address, Rc::new(answer)))
}

fn field(line: &str) -> Result<(HeaderName, HeaderValue), Box<dyn Error>> {
    let (name, value) = line.split_once(": ").ok_or("a field is \"name: value\"")?;
    Ok((name.parse()?, value.parse()?))
}

async fn serve(address: &str, answer: Rc<Answer>) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = Rc::clone(&answer);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = Rc::clone(&answer);
            async move {
                // A server that answers before the end of the request has to close its connection.
                read(request.into_body()).await;
                Ok::<_, Infallible>(answer.response())
            }
        });
        // An error here is the client's, so the result is ignored.
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn read(mut body: Incoming) {
    while !body.is_end_stream() && body.frame().await.is_some() {}
}

impl Answer {
    /// Builds the fields anew each time, as an application would.
    fn response(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.headers_mut() = self.fields.clone();
        response
    }
}
