//! One `GET`, or one `POST` or `QUERY` with content, on its own connection, with bounds for the
//! time and for the bytes of the answer.

use std::error::Error;
use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime;
use tokio::time::timeout;

use super::target::ProbeTarget;
use crate::limits::{HEAD_FIELDS_MAX, PROBE_HEAD_BYTES_MAX};
use crate::tls::{self, TlsError};

/// A request, and the bounds of its answer.
pub(super) struct ProbeRequest<'a> {
    pub(super) target: &'a ProbeTarget,
    /// The request fields, besides `Connection`, and besides `Host` unless it is among these.
    pub(super) fields: &'a [(HeaderName, HeaderValue)],
    /// The content, and its method.
    pub(super) content: Option<ProbeContent<'a>>,
    pub(super) part: AwaitedPart,
    /// The time-out of the whole exchange.
    pub(super) timeout: Duration,
    /// Bytes of the body to read; the rest is ignored.
    pub(super) bytes_max: usize,
}

/// The content of a request.
#[derive(Clone, Copy)]
pub(super) enum ProbeContent<'a> {
    /// The content of a `POST`.
    Post(&'a str),
    /// The content of a `QUERY`.
    Query(&'a str),
}

/// The part of the answer that the command waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AwaitedPart {
    /// The head.
    Head,
    /// The whole answer.
    Whole,
}

/// An answer: its head, and its body if the command waits for it.
#[derive(Debug)]
pub(super) struct ProbeAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// The reason for a missing answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No request has this target or these fields.
    #[error("the request is invalid: {0}")]
    Request(#[from] http::Error),
    /// The system refuses the means to connect.
    #[error("cannot connect: {0}")]
    Runtime(#[source] io::Error),
    /// No connection.
    #[error("no answer from {address}: {error}")]
    Connect {
        /// The host and port, or the path of a socket.
        address: String,
        /// The cause.
        #[source]
        error: io::Error,
    },
    /// The trusted authorities cannot be read.
    #[error(transparent)]
    Trust(#[from] TlsError),
    /// No certificate can be for the host.
    #[error("the host of the URL is no name that a certificate can have")]
    Name,
    /// The TLS handshake fails.
    #[error("TLS handshake failed: {0}")]
    Handshake(#[source] io::Error),
    /// The connection ends before the answer is complete.
    #[error("no answer: {0}{cause}", cause = cause(.0))]
    Cut(#[source] hyper::Error),
    /// The answer is not complete in time.
    #[error("no whole answer within {0:?}")]
    TooLate(Duration),
    /// Another service listens at the address.
    #[error("the service at this address does not speak HTTP/1.1")]
    NotHttp,
    /// The head of the answer is too large.
    #[error("the head of the answer is too large")]
    HeadTooLarge,
}

impl From<hyper::Error> for HttpError {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::HeadTooLarge
        } else if error.is_parse() {
            Self::NotHttp
        } else {
            Self::Cut(error)
        }
    }
}

fn cause(error: &hyper::Error) -> String {
    error.source().map(|cause| format!(": {cause}")).unwrap_or_default()
}

/// Sends the request and returns the answer.
pub(super) fn get(get: &ProbeRequest<'_>) -> Result<ProbeAnswer, HttpError> {
    let request = get.request()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(HttpError::Runtime)?;
    let answer = runtime.block_on(async {
        let exchange = exchange(get.target, request, get.part, get.bytes_max);
        timeout(get.timeout, exchange).await.unwrap_or(Err(HttpError::TooLate(get.timeout)))
    });
    // A look-up of the host's name may still run on a thread of the runtime.
    runtime.shutdown_background();
    answer
}

fn no_connection(address: &dyn std::fmt::Display) -> impl FnOnce(io::Error) -> HttpError {
    let address = address.to_string();
    |error| HttpError::Connect { address, error }
}

async fn exchange(
    target: &ProbeTarget,
    request: Request<Full<Bytes>>,
    part: AwaitedPart,
    bytes_max: usize,
) -> Result<ProbeAnswer, HttpError> {
    if let Some(path) = &target.socket {
        let stream = UnixStream::connect(path).await.map_err(no_connection(&path.display()))?;
        return converse(stream, request, part, bytes_max).await;
    }
    let stream = TcpStream::connect(&target.authority).await.map_err(no_connection(&target.authority))?;
    let Some(options) = &target.tls else { return converse(stream, request, part, bytes_max).await };
    let connector = tls::connector(options, &[b"http/1.1"])?;
    let host = target.authority.rsplit_once(':').map_or(&*target.authority, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| HttpError::Name)?;
    let stream = connector.connect(name, stream).await.map_err(HttpError::Handshake)?;
    converse(stream, request, part, bytes_max).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    part: AwaitedPart,
    bytes_max: usize,
) -> Result<ProbeAnswer, HttpError> {
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEAD_FIELDS_MAX)
        .max_buf_size(PROBE_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let answer = async {
        let (head, mut content) = sender.send_request(request).await?.into_parts();
        let mut body = Vec::new();
        while part == AwaitedPart::Whole && body.len() < bytes_max {
            let Some(frame) = content.frame().await else { break };
            let room = bytes_max - body.len();
            body.extend(frame?.into_data().unwrap_or_default().into_iter().take(room));
        }
        Ok(ProbeAnswer { status: head.status, headers: head.headers, body })
    };
    tokio::select! {
        answer = answer => answer,
        // The answer reports an error of the connection.
        ended = async { drop(connection.await); pending().await } => ended,
    }
}

impl ProbeRequest<'_> {
    fn request(&self) -> Result<Request<Full<Bytes>>, http::Error> {
        let ProbeTarget { authority, path, .. } = self.target;
        let (method, content) = match self.content {
            None => (Method::GET, ""),
            Some(ProbeContent::Post(content)) => (Method::POST, content),
            Some(ProbeContent::Query(content)) => (Method::QUERY, content),
        };
        let mut request = Request::builder().method(method).uri(path);
        if self.fields.iter().all(|(name, _)| *name != HOST) {
            request = request.header(HOST, authority);
        }
        for (name, value) in self.fields {
            request = request.header(name, value);
        }
        let content = Bytes::copy_from_slice(content.as_bytes());
        request.header(CONNECTION, "close").body(Full::new(content))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::limits::KIB;

    /// Runs `ask` against a server that sends `answer` once and closes. Returns the request that
    /// the server received, and the result of `ask`.
    pub(in crate::probe) fn asked<T>(
        answer: &[u8],
        ask: impl FnOnce(ProbeTarget) -> Result<T, Box<dyn Error>>,
    ) -> (String, Result<T, Box<dyn Error>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = ProbeTarget {
            authority: listener.local_addr().unwrap().to_string(),
            socket: None,
            path: "/a?b".to_owned(),
            tls: None,
        };
        thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                let head = String::from_utf8_lossy(&request);
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut content = vec![0; length.map_or(0, |length| length.parse().unwrap())];
                stream.read_exact(&mut content).unwrap();
                request.extend(content);
                // The client closes once it has read enough, so the kernel may refuse the rest of
                // this write.
                let _ = stream.write_all(answer);
                String::from_utf8(request).unwrap()
            });
            let verdict = ask(target);
            (server.join().unwrap(), verdict)
        })
    }

    fn got(target: &ProbeTarget, part: AwaitedPart) -> Result<ProbeAnswer, HttpError> {
        get(&ProbeRequest {
            target,
            fields: &[],
            content: None,
            part,
            timeout: Duration::from_secs(20),
            bytes_max: 8 * KIB,
        })
    }

    #[test]
    fn a_request_has_one_host_and_ends_its_connection() {
        let fields = [(HOST, HeaderValue::from_static("b.test"))];
        for fields in [&[][..], &fields] {
            let mut authority = String::new();
            let (request, _) = asked(b"HTTP/1.1 200 OK\r\n\r\n", |target| {
                authority.clone_from(&target.authority);
                let request = ProbeRequest {
                    target: &target,
                    fields,
                    content: None,
                    part: AwaitedPart::Head,
                    timeout: Duration::from_secs(20),
                    bytes_max: 0,
                };
                Ok(get(&request)?)
            });
            let host = if fields.is_empty() { &authority } else { "b.test" };
            assert_eq!(request, format!("GET /a?b HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"));
        }
    }

    #[test]
    fn a_request_for_the_head_does_not_wait_for_the_body() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
        let (_, head) = asked(answer, |target| Ok(got(&target, AwaitedPart::Head)?));
        assert_eq!(head.unwrap().status, StatusCode::OK);
        let (_, whole) = asked(answer, |target| Ok(got(&target, AwaitedPart::Whole)?));
        assert!(whole.unwrap_err().to_string().starts_with("no answer: "));
    }

    #[test]
    fn a_whole_answer_has_its_head_and_its_body() {
        for framing in [
            "content-length: 3\r\n\r\nabc",
            "\r\nabc",
            "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            let answer = format!("HTTP/1.1 404 Gone\r\nx: y\r\n{framing}");
            let (_, answer) = asked(answer.as_bytes(), |target| Ok(got(&target, AwaitedPart::Whole)?));
            let ProbeAnswer { status, headers, body } = answer.unwrap();
            assert_eq!(
                (status, headers["x"].as_bytes(), &body[..]),
                (StatusCode::NOT_FOUND, &b"y"[..], &b"abc"[..])
            );
        }
    }

    #[test]
    fn an_endless_answer_is_cut_at_its_bound() {
        let body = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b'x'; 64 * KIB]].concat();
        let (_, read) = asked(&body, |target| Ok(got(&target, AwaitedPart::Whole)?));
        assert_eq!(read.unwrap().body.len(), 8 * KIB);
        let head = [&b"HTTP/1.1 200 OK\r\nx: "[..], &[b'x'; 2 * PROBE_HEAD_BYTES_MAX]].concat();
        let (_, read) = asked(&head, |target| Ok(got(&target, AwaitedPart::Whole)?));
        assert!(read.unwrap_err().to_string().starts_with("the head of the answer is too large"));
    }

    #[test]
    fn every_failure_has_its_reason() {
        for (answer, error) in [
            ("SSH-2.0\r\n\r\n", "the service at this address does not speak HTTP/1.1"),
            ("HTTP/1.1 2000\r\n\r\n", "the service at this address does not speak HTTP/1.1"),
            ("", "no answer: connection closed before message completed"),
            ("HTTP/1.1 20", "no answer: connection closed before message completed"),
        ] {
            let (_, read) = asked(answer.as_bytes(), |target| Ok(got(&target, AwaitedPart::Whole)?));
            assert_eq!(read.unwrap_err().to_string(), error, "{answer:?}");
        }
    }

    #[test]
    fn a_refused_connection_differs_from_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let target = ProbeTarget { authority, socket: None, path: "/".to_owned(), tls: None };
        let timeout = Duration::from_millis(20);
        let silent = get(&ProbeRequest {
            target: &target,
            fields: &[],
            content: None,
            part: AwaitedPart::Head,
            timeout,
            bytes_max: KIB,
        });
        assert!(matches!(silent, Err(HttpError::TooLate(_))), "{silent:?}");
        drop(listener);
        assert!(matches!(got(&target, AwaitedPart::Head), Err(HttpError::Connect { .. })));
    }
}
