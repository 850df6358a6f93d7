//! The reader of responses: it parses the head, and counts and drops the body.

use httparse::Status;

/// The longest head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 100;
/// The most digits of a chunk's size.
const SIZE_DIGITS_MAX: u32 = 15;
/// The longest chunk extension or trailer.
const LINE_BYTES_MAX: u32 = 4096;

/// A complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fate of the connection.
    pub after: After,
}

/// The fate of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The connection may be used again.
    Kept,
    /// The server closes the connection.
    Closed,
}

/// An error for bytes that are not exactly one response.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not one response in HTTP/1.1")]
pub struct Malformed;

/// A reader of consecutive responses from arbitrary pieces.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    /// The beginning of an incomplete head.
    head: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Head,
    /// This many bytes have not arrived yet.
    Sized(Answer, u64),
    Chunked(Answer, Chunk),
    /// The body ends with the connection.
    Open(Answer),
}

#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// The size so far, and its number of digits.
    Size(u64, u32),
    /// The size, and the bytes so far of the rest of its line.
    Extension(u64, u32),
    Data(u64),
    /// The line end after data.
    DataEnd,
    /// The bytes so far of a trailer line.
    Trailer(u32),
}

impl Reader {
    /// Reads a piece. Returns the answer if it is complete.
    ///
    /// # Errors
    /// [`Malformed`], also for bytes behind the end of the answer.
    pub fn read(&mut self, piece: &[u8]) -> Result<Option<Answer>, Malformed> {
        match self.state {
            State::Head if self.head.is_empty() => self.read_head(piece),
            State::Head => {
                let mut head = std::mem::take(&mut self.head);
                head.extend_from_slice(piece);
                self.read_head(&head)
            }
            _ => self.read_body(piece),
        }
    }

    /// Handles the end of the connection. Returns the answer if its body ends that way.
    pub fn end(&mut self) -> Option<Answer> {
        match std::mem::take(&mut self.state) {
            State::Open(answer) => Some(answer),
            State::Head | State::Sized(..) | State::Chunked(..) => None,
        }
    }

    /// Returns whether an answer has begun and not ended.
    pub fn is_within(&self) -> bool {
        !(matches!(self.state, State::Head) && self.head.is_empty())
    }

    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let Status::Complete(length) = response.parse(bytes).map_err(|_| Malformed)? else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(Malformed);
            }
            self.head = bytes.to_vec();
            return Ok(None);
        };
        let status = response.code.ok_or(Malformed)?;
        let mut answer = Answer { status, after: After::Kept };
        if response.version == Some(0) {
            answer.after = After::Closed;
        }
        let mut state = State::Open(answer);
        for field in response.headers.iter() {
            if field.name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(field.value).map_err(|_| Malformed)?;
                state = State::Sized(answer, text.trim().parse().map_err(|_| Malformed)?);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                state = State::Chunked(answer, Chunk::Size(0, 0));
            } else if field.name.eq_ignore_ascii_case("connection") {
                if field.value.eq_ignore_ascii_case(b"close") {
                    answer.after = After::Closed;
                } else if field.value.eq_ignore_ascii_case(b"keep-alive") {
                    answer.after = After::Kept;
                }
            }
        }
        self.state = match state {
            _ if matches!(status, 204 | 304) => State::Sized(answer, 0),
            State::Sized(_, length) => State::Sized(answer, length),
            State::Chunked(_, chunk) => State::Chunked(answer, chunk),
            _ => State::Open(Answer { after: After::Closed, ..answer }),
        };
        self.read_body(bytes.get(length..).unwrap_or_default())
    }

    fn read_body(&mut self, mut piece: &[u8]) -> Result<Option<Answer>, Malformed> {
        let ended = match &mut self.state {
            State::Head => return Err(Malformed),
            State::Sized(answer, left) => {
                *left = left.checked_sub(piece.len() as u64).ok_or(Malformed)?;
                (*left == 0).then_some(*answer)
            }
            State::Chunked(answer, chunk) => {
                let mut ended = None;
                while !piece.is_empty() {
                    if ended.is_some() {
                        return Err(Malformed);
                    }
                    (ended, piece) = chunk.step(piece)?;
                }
                ended.map(|LastChunk| *answer)
            }
            State::Open(_) => None,
        };
        if ended.is_some() {
            self.state = State::Head;
        }
        Ok(ended)
    }
}

/// The complete last chunk and trailers.
struct LastChunk;

impl Chunk {
    /// Reads some bytes, and returns the rest, which is shorter.
    fn step<'a>(&mut self, piece: &'a [u8]) -> Result<(Option<LastChunk>, &'a [u8]), Malformed> {
        if let Self::Data(left) = self {
            let taken = piece.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= taken as u64;
            if *left == 0 {
                *self = Self::DataEnd;
            }
            return Ok((None, piece.get(taken..).unwrap_or_default()));
        }
        let (&byte, rest) = piece.split_first().ok_or(Malformed)?;
        *self = match (*self, byte) {
            (Self::Size(size, digits @ 1..), b'\r' | b';' | b' ') => Self::Extension(size, digits),
            (Self::Size(size, 1..) | Self::Extension(size, _), b'\n') => {
                if size == 0 {
                    Self::Trailer(0)
                } else {
                    Self::Data(size)
                }
            }
            (Self::Size(size, digits @ ..SIZE_DIGITS_MAX), _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                Self::Size(size * 16 + u64::from(digit), digits + 1)
            }
            (Self::Extension(size, bytes @ ..LINE_BYTES_MAX), _) => Self::Extension(size, bytes + 1),
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size(0, 0),
            (Self::Trailer(bytes), b'\r') => Self::Trailer(bytes),
            (Self::Trailer(0), b'\n') => return Ok((Some(LastChunk), rest)),
            (Self::Trailer(_), b'\n') => Self::Trailer(0),
            (Self::Trailer(bytes @ ..LINE_BYTES_MAX), _) => Self::Trailer(bytes + 1),
            _ => return Err(Malformed),
        };
        Ok((None, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Answer = Answer { status: 200, after: After::Kept };

    /// Reads a response as a whole, and cut at every position.
    fn read(wire: &str) -> Result<Option<Answer>, Malformed> {
        let whole = Reader::default().read(wire.as_bytes());
        for cut in 1..wire.len() {
            let mut reader = Reader::default();
            let (first, second) = wire.as_bytes().split_at(cut);
            match reader.read(first) {
                Ok(None) => {
                    assert!(reader.is_within());
                    assert_eq!(reader.read(second), whole, "cut at {cut}");
                }
                // Bytes follow an answer, or the part before was malformed.
                early => assert!(early == Err(Malformed) || whole == Err(Malformed), "cut at {cut}"),
            }
        }
        whole
    }

    #[test]
    fn a_response_ends_where_its_framing_says() {
        for (wire, answer) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", KEPT),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Answer { status: 404, ..KEPT }),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", Answer { status: 304, ..KEPT }),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n",
                KEPT,
            ),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n", KEPT),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na",
                Answer { after: After::Closed, ..KEPT },
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na", Answer { after: After::Closed, ..KEPT }),
        ] {
            assert_eq!(read(wire), Ok(Some(answer)), "{wire:?}");
        }
    }

    #[test]
    fn a_body_without_framing_ends_with_the_connection() {
        let mut reader = Reader::default();
        assert_eq!(reader.read(b"HTTP/1.1 200 OK\r\n\r\nabc"), Ok(None));
        assert_eq!(reader.end(), Some(Answer { after: After::Closed, ..KEPT }));
        assert_eq!(reader.end(), None);
    }

    #[test]
    fn bytes_other_than_one_response_are_refused() {
        for wire in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nx",
            "+OK\r\n",
        ] {
            assert_eq!(read(wire), Err(Malformed), "{wire:?}");
        }
        let head = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(Reader::default().read(head.as_bytes()), Err(Malformed));
    }
}
