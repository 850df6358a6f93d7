//! One connection: its state, and the request that it carries.
//!
//! ```text
//! opening ──► idle ◄──► busy
//!    ▲  │       │         │
//!    │  ▼       ▼         ▼
//!   closed ◄──────────────┘     opened again after a pause
//! ```

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::response::{After, Answer, Reader};
use crate::tally::Failure;

/// A connection of a pool.
#[derive(Debug)]
pub struct Connection {
    /// The current state.
    pub state: State,
    reader: Reader,
}

/// The state of a connection.
#[derive(Debug)]
pub enum State {
    /// Closed; may be opened.
    Closed,
    /// Connecting.
    Opening(TcpStream),
    /// Free for a request, since this moment.
    Idle(TcpStream, Instant),
    /// Waiting for an answer.
    Busy(TcpStream, RequestInFlight),
}

/// A request in flight.
#[derive(Debug, Clone, Copy)]
pub struct RequestInFlight {
    /// The phase of the request.
    pub phase: usize,
    /// The time at which it was due.
    pub due: Instant,
    /// The time at which it was sent.
    pub sent: Instant,
}

/// The result of reading.
#[derive(Debug)]
pub enum Step {
    /// No event of a request: too little was read, or an idle connection has ended.
    Nothing,
    /// This many bytes of the answer to this request, but not its end.
    More(RequestInFlight, usize),
    /// The end of the answer to this request, after this many bytes.
    Answered(RequestInFlight, Answer, usize),
    /// A failure of this request.
    Failed(RequestInFlight, Failure),
}

impl Connection {
    /// Returns a closed connection.
    pub fn new() -> Self {
        Self { state: State::Closed, reader: Reader::default() }
    }

    /// Starts to connect; epoll reports the outcome under `token`.
    ///
    /// # Errors
    /// Returns the error of the system; the connection stays closed.
    pub fn open(&mut self, address: SocketAddr, epoll: &OwnedFd, token: u64) -> Result<(), Errno> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(refusal) => return Err(refusal),
        }
        epoll::add(epoll, &socket, epoll::EventData::new_u64(token), epoll::EventFlags::OUT)?;
        self.reader = Reader::default();
        self.state = State::Opening(TcpStream::from(socket));
        Ok(())
    }

    /// Handles the end of connecting: the connection becomes idle or closed.
    pub fn opened(&mut self, epoll: &OwnedFd, token: u64, now: Instant) {
        if let State::Opening(stream) = std::mem::replace(&mut self.state, State::Closed) {
            let is_open = matches!(stream.take_error(), Ok(None));
            let data = epoll::EventData::new_u64(token);
            if is_open && epoll::modify(epoll, &stream, data, epoll::EventFlags::IN).is_ok() {
                self.state = State::Idle(stream, now);
            }
        }
    }

    /// Sends a request if the connection is idle. Returns the moment since when it was, or `None`
    /// if it was not, or has ended meanwhile.
    pub fn send(&mut self, bytes: &[u8], request: RequestInFlight) -> Option<Instant> {
        let State::Idle(stream, free) = &mut self.state else { return None };
        // The buffer of an idle socket has room for any request.
        if !matches!(stream.write(bytes), Ok(written) if written == bytes.len()) {
            self.state = State::Closed;
            return None;
        }
        let free = *free;
        if let State::Idle(stream, _) = std::mem::replace(&mut self.state, State::Closed) {
            self.state = State::Busy(stream, request);
        }
        Some(free)
    }

    /// Reads the available bytes.
    pub fn receive(&mut self, buffer: &mut [u8], now: impl Fn() -> Instant) -> Step {
        let read = match &mut self.state {
            State::Idle(stream, _) | State::Busy(stream, _) => stream.read(buffer),
            State::Closed | State::Opening(_) => return Step::Nothing,
        };
        let length = match read {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Step::Nothing;
            }
            Err(_) => 0,
        };
        let (stream, request) = match std::mem::replace(&mut self.state, State::Closed) {
            State::Busy(stream, request) => (stream, request),
            // An idle connection has ended, or the server sent bytes without a request.
            State::Idle(..) | State::Closed | State::Opening(_) => return Step::Nothing,
        };
        if length == 0 {
            let is_within = self.reader.is_within();
            return match self.reader.end() {
                Some(answer) => Step::Answered(request, answer, 0),
                None if is_within => Step::Failed(request, Failure::Cut),
                None => Step::Failed(request, Failure::Closed),
            };
        }
        match self.reader.read(buffer.get(..length).unwrap_or_default()) {
            Err(_) => Step::Failed(request, Failure::Malformed),
            Ok(None) => {
                self.state = State::Busy(stream, request);
                Step::More(request, length)
            }
            Ok(Some(answer)) => {
                if answer.after == After::Kept {
                    self.state = State::Idle(stream, now());
                }
                Step::Answered(request, answer, length)
            }
        }
    }

    /// Closes the connection if its request was due before `limit`. Returns that request.
    pub fn expire(&mut self, limit: Instant) -> Option<RequestInFlight> {
        match self.state {
            State::Busy(_, request) if request.due < limit => {
                self.state = State::Closed;
                Some(request)
            }
            State::Busy(..) | State::Closed | State::Opening(_) | State::Idle(..) => None,
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}
