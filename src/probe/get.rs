//! One `GET`, or one `POST` if there is content, on its own connection, with bounds for the time
//! and for the bytes of the answer.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue};
use memchr::memmem;

use super::target::ProbeTarget;
use crate::time;

/// A request, and the bounds of its answer.
pub(super) struct ProbeRequest<'a> {
    pub(super) target: &'a ProbeTarget,
    /// The request fields, besides `Connection`, and besides `Host` unless it is among these.
    pub(super) fields: &'a [(HeaderName, HeaderValue)],
    /// The body of a `POST`.
    pub(super) content: Option<&'a str>,
    pub(super) part: AwaitedPart,
    /// The bound for the whole exchange.
    pub(super) timeout: Duration,
    /// Bytes of the answer to read; the rest is ignored.
    pub(super) bytes_max: usize,
}

/// The part of the answer that the command waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AwaitedPart {
    /// The head.
    Head,
    /// The whole answer.
    Whole,
}

/// The reason for a missing answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed.
    #[error("no answer: {0}")]
    Nobody(#[source] io::Error),
    /// The answer is not complete in time.
    #[error("no whole answer within {0:?}")]
    TooLate(Duration),
}

/// Sends the request and returns the bytes of the answer.
pub(super) fn get(get: &ProbeRequest<'_>) -> Result<Vec<u8>, HttpError> {
    exchange(get).map_err(|error| {
        // Some systems report a socket's timeout as `WouldBlock`.
        if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) {
            HttpError::TooLate(get.timeout)
        } else {
            HttpError::Nobody(error)
        }
    })
}

fn exchange(get: &ProbeRequest<'_>) -> io::Result<Vec<u8>> {
    let start = time::instant();
    let left = || {
        get.timeout
            .checked_sub(start.elapsed())
            .filter(|left| !left.is_zero())
            .ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))
    };
    let mut stream = connect(&get.target.authority, left)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(&get.request())?;

    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let read = stream.read(&mut piece)?;
        let room = get.bytes_max - answer.len();
        answer.extend(piece.iter().take(read.min(room)));
        let has_head = || memmem::find(&answer, b"\r\n\r\n").is_some();
        if read == 0 || read >= room || (get.part == AwaitedPart::Head && has_head()) {
            return Ok(answer);
        }
    }
}

impl ProbeRequest<'_> {
    fn request(&self) -> Vec<u8> {
        let ProbeTarget { authority, path } = self.target;
        let method = if self.content.is_some() { "POST" } else { "GET" };
        let mut head = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        let mut field =
            |name: &str, value: &[u8]| head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        if self.fields.iter().all(|(name, _)| *name != HOST) {
            field("host", authority.as_bytes());
        }
        self.fields.iter().for_each(|(name, value)| field(name.as_str(), value.as_bytes()));
        if let Some(content) = self.content {
            field("content-length", content.len().to_string().as_bytes());
        }
        field("connection", b"close");
        head.extend(b"\r\n");
        head.extend(self.content.unwrap_or_default().as_bytes());
        head
    }
}

/// Connects to the first address that accepts.
fn connect(authority: &str, left: impl Fn() -> io::Result<Duration>) -> io::Result<TcpStream> {
    let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left()?) {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::limits::KIB;

    /// Runs `ask` against a server that sends `answer` once and closes. Returns the request that
    /// the server received, and the result of `ask`.
    pub(in crate::probe) fn asked<T>(
        answer: &[u8],
        ask: impl FnOnce(ProbeTarget) -> Result<T, Box<dyn std::error::Error>>,
    ) -> (String, Result<T, Box<dyn std::error::Error>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target =
            ProbeTarget { authority: listener.local_addr().unwrap().to_string(), path: "/a?b".to_owned() };
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

    fn got(target: &ProbeTarget, part: AwaitedPart) -> Result<Vec<u8>, HttpError> {
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
        let target = ProbeTarget { authority: "a.test:1".to_owned(), path: "/x?y".to_owned() };
        let fields = [(HOST, HeaderValue::from_static("b.test"))];
        for (fields, host) in [(&[][..], "a.test:1"), (&fields, "b.test")] {
            let get = ProbeRequest {
                target: &target,
                fields,
                content: None,
                part: AwaitedPart::Head,
                timeout: Duration::ZERO,
                bytes_max: 0,
            };
            let want = format!("GET /x?y HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            assert_eq!(String::from_utf8(get.request()).unwrap(), want);
        }
    }

    #[test]
    fn a_request_for_the_head_does_not_wait_for_the_body() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
        for part in [AwaitedPart::Head, AwaitedPart::Whole] {
            let (_, read) = asked(answer, |target| Ok(got(&target, part)?));
            assert_eq!(read.unwrap(), answer);
        }
    }

    #[test]
    fn an_endless_answer_is_cut_at_its_bound() {
        let (_, read) = asked(&[b'x'; 64 * KIB], |target| Ok(got(&target, AwaitedPart::Whole)?));
        assert_eq!(read.unwrap().len(), 8 * KIB);
    }

    #[test]
    fn a_refused_connection_differs_from_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let target = ProbeTarget { authority, path: "/".to_owned() };
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
        assert!(matches!(got(&target, AwaitedPart::Head), Err(HttpError::Nobody(_))));
    }
}
