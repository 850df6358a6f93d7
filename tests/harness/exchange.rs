//! One request at the origin, and its scripted answer.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;

use super::wire::{self, Extent, Head};
use super::{FULL_AFTER, Gate};

/// A received request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The method, such as `GET`.
    pub(crate) method: String,
    /// The request target, with its query.
    pub(crate) target: String,
    /// The request line and fields.
    pub(crate) head: Head,
}

impl Request {
    /// Returns the first value of a field, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Returns the target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// The fate of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The origin reads the next request.
    KeepAlive,
    /// The origin closes the connection.
    Close,
}

/// A request that waits for its answer, and its connection.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The request.
    pub(crate) request: Request,
    stream: BufReader<TcpStream>,
    /// The extent of the body, or `None` once the body has been read.
    unread: Option<Extent>,
}

impl Exchange {
    /// Wraps a request whose head has been read, with the extent of its body.
    pub(crate) fn new(request: Request, stream: BufReader<TcpStream>, body: Extent) -> Self {
        Self { request, stream, unread: Some(body) }
    }

    /// Returns the connection, for the next request.
    pub(crate) fn into_stream(self) -> BufReader<TcpStream> {
        self.stream
    }

    /// Reads the request's body to its end. Returns nothing the second time.
    pub(crate) fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        match self.unread.take() {
            Some(extent) => extent.read(&mut self.stream, &mut body).map(|()| body),
            None => Ok(body),
        }
    }

    /// Reads raw bytes of the request's body and beyond it; the caller takes over the framing.
    pub(crate) fn read_raw(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.unread = None;
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).map(|()| bytes)
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Writes bytes repeatedly, `times` times at most, until the peer takes no more. Returns the
    /// number of bytes taken.
    pub(crate) fn write_until_full(&mut self, bytes: &[u8], times: usize) -> usize {
        wire::write_until_full(self.stream.get_mut(), bytes, times, FULL_AFTER)
    }

    /// Returns whether no further bytes have arrived.
    pub(crate) fn is_quiet(&mut self) -> io::Result<bool> {
        if !self.stream.buffer().is_empty() {
            return Ok(false);
        }
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            other => other.map(|_| false),
        }
    }

    /// Waits until the peer has closed, and drops its bytes.
    pub(crate) fn await_close(&mut self) -> io::Result<()> {
        self.unread = None;
        io::copy(&mut self.stream, &mut io::sink()).map(drop)
    }
}

/// A sequence of bytes to send, and of actions between and after them.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    /// Bytes that the answer to a `HEAD` omits.
    Body(Vec<u8>),
    Repeat(Vec<u8>, usize),
    Pass(Gate),
    Hang,
    Close,
}

impl Answer {
    /// Returns a well-framed answer with `Content-Length`, and without the body for a `HEAD`.
    pub(crate) fn new(status: u16, fields: &[(&str, &str)], body: &str) -> Self {
        let mut head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        Self::raw(format!("{head}\r\n")).then(Step::Body(body.into()))
    }

    /// Returns an answer whose body ends with the connection.
    pub(crate) fn until_close(status: u16, fields: &[(&str, &str)], body: &str) -> Self {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        Self::raw(format!("HTTP/1.1 {status} Scripted\r\n{fields}\r\n{body}")).close()
    }

    /// Returns a `200` with `application/json` and this body.
    pub(crate) fn json(body: &str) -> Self {
        Self::new(200, &[("Content-Type", "application/json")], body)
    }

    /// Returns a `200` with `application/json`, these fields and this body.
    pub(crate) fn json_with(fields: &[(&str, &str)], body: &str) -> Self {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(fields);
        Self::new(200, &all, body)
    }

    /// Returns a `304` with these fields.
    pub(crate) fn not_modified(fields: &[(&str, &str)]) -> Self {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        Self::raw(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"))
    }

    /// Returns an answer of arbitrary bytes.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { steps: vec![Step::Send(bytes.into())] }
    }

    /// Returns an answer without bytes.
    pub(crate) fn silent() -> Self {
        Self { steps: Vec::new() }
    }

    /// Sends these bytes next.
    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    /// Sends these bytes `times` times next, without holding them all: for bodies of gibibytes.
    pub(crate) fn repeat(self, bytes: impl Into<Vec<u8>>, times: usize) -> Self {
        self.then(Step::Repeat(bytes.into(), times))
    }

    /// Waits at a gate next.
    pub(crate) fn pass(self, gate: &Gate) -> Self {
        self.then(Step::Pass(gate.clone()))
    }

    /// Keeps the connection open without a further byte until the peer closes it.
    pub(crate) fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// Closes the connection next.
    pub(crate) fn close(self) -> Self {
        self.then(Step::Close)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Sends this answer, for scripts that choose among several.
    pub(crate) fn give(&self, exchange: &mut Exchange) -> io::Result<Then> {
        for step in &self.steps {
            match step {
                Step::Send(bytes) => exchange.write(bytes)?,
                Step::Body(_) if exchange.request.method == "HEAD" => {}
                Step::Body(bytes) => exchange.write(bytes)?,
                Step::Repeat(bytes, times) => (0..*times).try_for_each(|_| exchange.write(bytes))?,
                Step::Pass(gate) => gate.pass(),
                Step::Hang => {
                    exchange.await_close()?;
                    return Ok(Then::Close);
                }
                Step::Close => return Ok(Then::Close),
            }
        }
        Ok(Then::KeepAlive)
    }
}
