//! The interim responses (1xx) before a response head, counted in the bytes of a connection.
//!
//! hyper reports an interim response only through a callback that allocates for each request, so
//! the socket counts them. If there is none, this costs a look at ten bytes.

/// The offset of the first digit of the status: `HTTP/1.1 1`.
const STATUS_AT: usize = 9;

/// The reader of what arrives before a response head.
#[derive(Clone, Copy, Debug)]
pub(super) struct InterimReader {
    state: ReaderState,
    interims: usize,
}

#[derive(Clone, Copy, Debug)]
enum ReaderState {
    /// In a status line, after this number of bytes.
    StatusLine(usize),
    /// In an interim response; whether the line so far is empty.
    Interim(bool),
    /// In the response itself.
    Response,
}

impl Default for InterimReader {
    fn default() -> Self {
        Self { state: ReaderState::StatusLine(0), interims: 0 }
    }
}

impl InterimReader {
    /// Reads the next bytes, and returns the number of interim responses so far.
    pub(super) fn read(&mut self, bytes: &[u8]) -> usize {
        for byte in bytes {
            self.state = match self.state {
                ReaderState::StatusLine(STATUS_AT) if *byte == b'1' => {
                    self.interims += 1;
                    ReaderState::Interim(false)
                }
                ReaderState::StatusLine(STATUS_AT) | ReaderState::Response => {
                    self.state = ReaderState::Response;
                    break;
                }
                ReaderState::StatusLine(read) => ReaderState::StatusLine(read + 1),
                ReaderState::Interim(is_empty) => match byte {
                    b'\n' if is_empty => ReaderState::StatusLine(0),
                    b'\n' => ReaderState::Interim(true),
                    b'\r' => ReaderState::Interim(is_empty),
                    _ => ReaderState::Interim(false),
                },
            };
        }
        self.interims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_responses_are_counted_at_every_cut() {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let last = "HTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        for (wire, interims) in [
            (last.to_owned(), 0),
            (format!("HTTP/1.1 100 Continue\r\n\r\n{last}"), 1),
            (format!("HTTP/1.1 100\n\n{hints}{hints}{last}"), 3),
            (hints.repeat(70), 70),
            ("HTTP/1.1 10".to_owned(), 1),
            (String::new(), 0),
        ] {
            for size in 1..=wire.len() {
                let mut reader = InterimReader::default();
                let counts: Vec<_> = wire.as_bytes().chunks(size).map(|piece| reader.read(piece)).collect();
                assert_eq!(counts.last(), Some(&interims), "{wire:?} in pieces of {size}");
            }
        }
    }
}
