//! One request at the origin, and the answer that it is given.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;

use super::wire::{self, Extent, Head};
use super::{FULL_AFTER, Gate};

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// `GET`, …
    pub(crate) method: String,
    /// The request target, query and all.
    pub(crate) target: String,
    /// Request line and fields.
    pub(crate) head: Head,
}

impl Request {
    /// The first value of a field, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next request is awaited.
    KeepAlive,
    /// It is closed.
    Close,
}

/// A request that waits for its answer, and its connection.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// What was asked.
    pub(crate) request: Request,
    stream: BufReader<TcpStream>,
    /// None when the body has been read.
    unread: Option<Extent>,
}

impl Exchange {
    /// A request of which the head has been read, and where its body ends.
    pub(crate) fn new(request: Request, stream: BufReader<TcpStream>, body: Extent) -> Self {
        Self { request, stream, unread: Some(body) }
    }

    /// The connection, for the next request.
    pub(crate) fn into_stream(self) -> BufReader<TcpStream> {
        self.stream
    }

    /// Reads the request's body to its end; empty the second time.
    pub(crate) fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        match self.unread.take() {
            Some(extent) => extent.read(&mut self.stream, &mut body).map(|()| body),
            None => Ok(body),
        }
    }

    /// Reads some raw bytes of the request's body, or of whatever comes: framing is then the caller's.
    pub(crate) fn read_raw(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.unread = None;
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).map(|()| bytes)
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Writes bytes again and again, so many times at most, until the other side takes no more; how many it took.
    pub(crate) fn write_until_full(&mut self, bytes: &[u8], times: usize) -> usize {
        wire::write_until_full(self.stream.get_mut(), bytes, times, FULL_AFTER)
    }

    /// Whether nothing more has come so far.
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

    /// Waits until the other side has closed, dropping what it sends.
    pub(crate) fn await_close(&mut self) -> io::Result<()> {
        self.unread = None;
        io::copy(&mut self.stream, &mut io::sink()).map(drop)
    }
}

/// Bytes to send, and what to do between and after them.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    /// Left out of the answer to a `HEAD`.
    Body(Vec<u8>),
    Repeat(Vec<u8>, usize),
    Pass(Gate),
    Hang,
    Close,
}

impl Answer {
    /// A well-framed answer, `Content-Length` included; to a `HEAD`, without the body.
    pub(crate) fn new(status: u16, fields: &[(&str, &str)], body: &str) -> Self {
        let mut head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        Self::raw(format!("{head}\r\n")).then(Step::Body(body.into()))
    }

    /// `200`, `application/json`, this body.
    pub(crate) fn json(body: &str) -> Self {
        Self::new(200, &[("Content-Type", "application/json")], body)
    }

    /// `200`, `application/json`, these fields and this body.
    pub(crate) fn json_with(fields: &[(&str, &str)], body: &str) -> Self {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(fields);
        Self::new(200, &all, body)
    }

    /// `304` with these fields.
    pub(crate) fn not_modified(fields: &[(&str, &str)]) -> Self {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        Self::raw(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"))
    }

    /// These bytes, whatever they are.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { steps: vec![Step::Send(bytes.into())] }
    }

    /// Nothing yet.
    pub(crate) fn silent() -> Self {
        Self { steps: Vec::new() }
    }

    /// Then these bytes.
    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    /// Then these bytes, so many times, without holding them all: for bodies of gibibytes.
    pub(crate) fn repeat(self, bytes: impl Into<Vec<u8>>, times: usize) -> Self {
        self.then(Step::Repeat(bytes.into(), times))
    }

    /// Then it waits at a gate.
    pub(crate) fn pass(self, gate: &Gate) -> Self {
        self.then(Step::Pass(gate.clone()))
    }

    /// Then nothing more, with the connection open until the other side closes it.
    pub(crate) fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// Then it closes.
    pub(crate) fn close(self) -> Self {
        self.then(Step::Close)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Gives this answer, for scripts that choose among several.
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
