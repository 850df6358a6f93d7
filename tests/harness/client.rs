//! A client that speaks raw HTTP/1.1.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::wire::{self, Extent, Head};
use super::{FULL_AFTER, PATIENCE};

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client(BufReader<TcpStream>);

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The status line and fields.
    pub(crate) head: Head,
    /// The body, decoded if it was chunked.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns the first value of a field, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Returns the `Cache-Status` of the answer, or `none`.
    pub(crate) fn cache_status(&self) -> &str {
        self.field("cache-status").unwrap_or("none")
    }

    /// Returns the body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of UTF-8")
    }
}

/// Reads the head of an answer, and returns the error if it fails.
pub(crate) fn head_of(from: &mut impl BufRead) -> io::Result<Head> {
    Head::read(from)?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// Sends one `GET` on its own connection.
pub(crate) fn get(addr: SocketAddr, target: &str) -> Response {
    Client::connect(addr).get(target)
}

impl Client {
    /// Opens a connection.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&addr, PATIENCE).expect("a connection"))
    }

    /// Opens a connection from another address of this machine.
    pub(crate) fn connect_from(own: IpAddr, addr: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(own, 0).into()).expect("an address of this machine");
        socket.connect_timeout(&addr.into(), PATIENCE).expect("a connection");
        Self::over(socket.into())
    }

    /// Takes an open connection.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("to send");
    }

    /// Sends bytes to a peer that may have closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Sends bytes repeatedly, `times` times at most, until the peer takes no more. Returns the
    /// number of bytes taken.
    pub(crate) fn send_until_full(&mut self, bytes: &[u8], times: usize) -> usize {
        wire::write_until_full(self.0.get_mut(), bytes, times, FULL_AFTER)
    }

    /// Sends a head without a body, with `Host: test`.
    pub(crate) fn send_head(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send(head + "\r\n");
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn request(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
        self.send_head(method, target, fields);
        self.response_to(method)
    }

    /// Sends a `GET` without further fields.
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[])
    }

    /// Reads the answer to a request other than `HEAD`.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// Reads the answer to a request of this method.
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        let head = self.head();
        let (body, end) = self.body_of(method, &head);
        end.unwrap_or_else(|error| panic!("the body was cut after {} bytes: {error}\n{head:?}", body.len()));
        Response { status: status(&head), head, body }
    }

    /// Reads a head, and leaves its body unread.
    pub(crate) fn head(&mut self) -> Head {
        Head::read(&mut self.0).expect("a head").expect("an answer, not the end of the connection")
    }

    /// Reads the available body, and returns it with its end: a cut body is `UnexpectedEof` or a
    /// reset.
    pub(crate) fn body_of(&mut self, method: &str, head: &Head) -> (Vec<u8>, io::Result<()>) {
        let extent = match status(head) {
            100..=199 | 204 | 304 => Extent::Length(0),
            _ if method == "HEAD" => Extent::Length(0),
            _ => Extent::of(head, Extent::Close),
        };
        let mut body = Vec::new();
        let end = extent.read(&mut self.0, &mut body);
        (body, end)
    }

    /// Reads a body without keeping it. Returns its length and its end.
    pub(crate) fn skip_body(&mut self, head: &Head) -> (u64, io::Result<()>) {
        let mut counted = wire::Counted::default();
        let end = Extent::of(head, Extent::Close).read(&mut self.0, &mut counted);
        (counted.0, end)
    }

    /// Reads exactly `count` raw bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).expect("more bytes");
        bytes
    }

    /// Closes the connection with a reset, which the peer notices at once.
    pub(crate) fn reset(self) {
        SockRef::from(self.0.get_ref()).set_linger(Some(Duration::ZERO)).expect("an open connection");
    }

    /// Closes the sending direction; answers can still be read.
    pub(crate) fn finish(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).expect("an open connection");
    }

    /// Reads until the peer closes, and returns all bytes. Panics if the peer does not close.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => {
                panic!("the connection stays open: {error}, after {:?}", String::from_utf8_lossy(&rest))
            }
        }
        rest
    }
}

pub(super) fn status(head: &Head) -> u16 {
    head.word(1).parse().unwrap_or_else(|_| panic!("no status in {:?}", head.start))
}
