//! The connections to one address, and the due requests that wait for a free one.
//!
//! The pool uses its connections in turn, so that all of them are in use at any rate. Each address
//! has its own queue: a stalled server must not delay the requests to another.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::connection::{Connection, RequestInFlight, State, Step};

/// Connections of one pool that may be opening at once: fewer than a listener's backlog.
const OPENING_MAX: usize = 256;

/// A request that is due.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// The phase of the request.
    pub phase: usize,
    /// The index of the request in the plan.
    pub request: usize,
    /// The random number that determines the numbers of the request.
    pub draw: u64,
    /// The time at which the request is due.
    pub due: Instant,
}

/// The connections to one address.
#[derive(Debug)]
pub struct Pool {
    address: SocketAddr,
    /// The token of the first connection; the others follow.
    first_token: u64,
    connections: Vec<Connection>,
    /// The idle connections, the longest idle one first, and some that are not idle any more.
    free: VecDeque<usize>,
    closed: Vec<usize>,
    opening: usize,
    /// The result of the last attempt to open a connection.
    is_refused: bool,
    /// The waiting requests, in the order of their due times.
    pub waiting: VecDeque<Job>,
}

impl Pool {
    /// Returns a pool of `count` closed connections.
    pub fn new(address: SocketAddr, count: usize, first_token: u64) -> Self {
        Self {
            address,
            first_token,
            connections: (0..count).map(|_| Connection::new()).collect(),
            free: VecDeque::with_capacity(count),
            closed: (0..count).rev().collect(),
            opening: 0,
            is_refused: false,
            waiting: VecDeque::new(),
        }
    }

    /// Returns the address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens closed connections. Must not run between an event and its handling, since tokens are
    /// reused.
    pub fn open_closed(&mut self, epoll: &OwnedFd) {
        for _ in self.opening..OPENING_MAX {
            let Some(index) = self.closed.pop() else { return };
            let token = self.first_token + index as u64;
            let Some(connection) = self.connections.get_mut(index) else { return };
            if connection.open(self.address, epoll, token).is_err() {
                self.closed.push(index);
                self.is_refused = true;
                return;
            }
            self.opening += 1;
        }
    }

    /// Returns whether every connection is open.
    pub fn is_open(&self) -> bool {
        self.closed.is_empty() && self.opening == 0
    }

    /// Returns whether the server is down: no connection is open, and none could be opened.
    pub fn is_down(&self) -> bool {
        self.is_refused && self.closed.len() == self.connections.len()
    }

    /// Returns whether a connection is idle.
    pub fn has_free(&mut self) -> bool {
        while let Some(&index) = self.free.front() {
            if matches!(self.connections.get(index).map(|one| &one.state), Some(State::Idle(..))) {
                return true;
            }
            self.free.pop_front();
        }
        false
    }

    /// Sends on the connection that has been idle longest, and returns since when. Returns `None`
    /// if none is idle.
    pub fn send(&mut self, bytes: &[u8], request: RequestInFlight) -> Option<Instant> {
        while let Some(index) = self.free.pop_front() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if !matches!(connection.state, State::Idle(..)) {
                continue;
            }
            if let Some(free) = connection.send(bytes, request) {
                return Some(free);
            }
            self.closed.push(index);
        }
        None
    }

    /// Handles an event on the connection with this token.
    pub fn handle(
        &mut self,
        token: u64,
        epoll: &OwnedFd,
        buffer: &mut [u8],
        now: impl Fn() -> Instant,
    ) -> Option<Step> {
        let index = usize::try_from(token - self.first_token).ok()?;
        let connection = self.connections.get_mut(index)?;
        let step = match connection.state {
            State::Closed => None,
            State::Opening(_) => {
                self.opening -= 1;
                connection.opened(epoll, token, now());
                self.is_refused = matches!(connection.state, State::Closed);
                None
            }
            State::Idle(..) | State::Busy(..) => Some(connection.receive(buffer, now)),
        };
        match (&connection.state, &step) {
            (State::Idle(..), _) => self.free.push_back(index),
            (State::Closed, _) => self.closed.push(index),
            (State::Opening(_) | State::Busy(..), _) => {}
        }
        step
    }

    /// Closes every connection whose request was due before `limit`, and passes those requests to
    /// `expired`.
    pub fn expire(&mut self, limit: Instant, mut expired: impl FnMut(RequestInFlight)) {
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if let Some(request) = connection.expire(limit) {
                self.closed.push(index);
                expired(request);
            }
        }
    }
}
