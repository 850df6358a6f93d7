//! HTTP/1.1 heads and bodies. The reader takes no byte of the next message.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The start line and fields of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The request line or status line.
    pub(crate) start: String,
    /// The fields in their order, with names in lower case and trimmed values.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a head, or `None` at a clean end.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(start) = line_or_end(from)? else { return Ok(None) };
        let mut fields = Vec::new();
        loop {
            let line = read_line(from)?;
            if line.is_empty() {
                return Ok(Some(Self { start, fields }));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Returns the first value of a field, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Returns a word of the start line, by its index.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }
}

/// The end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// After this many bytes.
    Length(usize),
    /// After its last chunk.
    Chunked,
    /// At the end of the connection.
    Close,
}

impl Extent {
    /// Returns the extent that the fields give (RFC 9112 §6.3), or `otherwise` if they give none.
    pub(crate) fn of(head: &Head, otherwise: Self) -> Self {
        match (head.field("transfer-encoding"), head.field("content-length")) {
            (Some(_), _) => Self::Chunked,
            (None, Some(length)) => Self::Length(length.parse().expect("a Content-Length")),
            (None, None) => otherwise,
        }
    }

    /// Reads a body. For a cut one, returns `UnexpectedEof` and leaves the part in `body`.
    pub(crate) fn read(self, from: &mut impl BufRead, body: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Length(length) => take(from, length, body),
            Self::Close => io::copy(from, body).map(drop),
            Self::Chunked => loop {
                let line = read_line(from)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(|_| invalid(&line))?;
                take(from, size, body)?;
                if size == 0 {
                    while !read_line(from)?.is_empty() {}
                    return Ok(());
                }
                if !read_line(from)?.is_empty() {
                    return Err(invalid("a chunk that exceeds its size"));
                }
            },
        }
    }
}

fn take(from: &mut impl BufRead, length: usize, body: &mut impl Write) -> io::Result<()> {
    let read = io::copy(&mut from.take(length as u64), body)?;
    if read < length as u64 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    line_or_end(from)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Reads a line without its CR LF, or `None` at a clean end.
fn line_or_end(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    String::from_utf8(line.to_vec()).map(Some).map_err(|_| invalid("a line that is not UTF-8"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// A writer that counts bytes and drops them.
#[derive(Default)]
pub(crate) struct Counted(pub(crate) u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes `bytes` `times` times at most, until the peer takes none for `full_after`. Returns the
/// number of bytes taken.
pub(crate) fn write_until_full(
    stream: &mut TcpStream,
    bytes: &[u8],
    times: usize,
    full_after: Duration,
) -> usize {
    let before = stream.write_timeout().unwrap();
    stream.set_write_timeout(Some(full_after)).unwrap();
    let total = bytes.len() * times;
    let mut taken = 0;
    while taken < total {
        match stream.write(&bytes[taken % bytes.len()..]) {
            Ok(count) => taken += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("after {taken} bytes: {error}"),
        }
    }
    stream.set_write_timeout(before).unwrap();
    taken
}
