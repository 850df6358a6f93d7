//! The connections to one address, and the requests that are due and find none of them free.
//!
//! Connections are used in turn, so that all of them are in use at any rate. Each address has a line of its own: a
//! server that stands still must not delay what another is asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use crate::connection::{Connection, Errand, State, Step};

/// Connections of one pool that are being opened at one time: fewer than a listener's backlog.
const OPENING_MAX: usize = 256;

/// A request that is due.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// Its phase.
    pub phase: usize,
    /// Which of the plan's requests.
    pub request: usize,
    /// What its numbers are made from.
    pub draw: u64,
    /// When it should be sent.
    pub due: Instant,
}

/// The connections to one address.
#[derive(Debug)]
pub struct Pool {
    address: SocketAddr,
    /// The token of the first connection; the others follow.
    first_token: u64,
    connections: Vec<Connection>,
    /// Each idle connection, the one that has waited longest first; and some that are not idle any more.
    free: VecDeque<usize>,
    closed: Vec<usize>,
    opening: usize,
    /// Whether the last attempt to open a connection failed.
    is_refused: bool,
    /// In the order in which they are due.
    pub waiting: VecDeque<Job>,
}

impl Pool {
    /// So many connections, none of them open yet.
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

    /// To whom.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens what is closed. Not to be called between an event and its handling: tokens are used again.
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

    /// Whether every connection is open.
    pub fn is_open(&self) -> bool {
        self.closed.is_empty() && self.opening == 0
    }

    /// Whether nobody listens: none is open, and none could be opened.
    pub fn is_down(&self) -> bool {
        self.is_refused && self.closed.len() == self.connections.len()
    }

    /// Whether a connection is idle.
    pub fn has_free(&mut self) -> bool {
        while let Some(&index) = self.free.front() {
            if matches!(self.connections.get(index).map(|one| &one.state), Some(State::Idle(..))) {
                return true;
            }
            self.free.pop_front();
        }
        false
    }

    /// Sends on the connection that has been idle longest, and says since when it was; nothing if none is idle.
    pub fn send(&mut self, bytes: &[u8], errand: Errand) -> Option<Instant> {
        while let Some(index) = self.free.pop_front() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if !matches!(connection.state, State::Idle(..)) {
                continue;
            }
            if let Some(free) = connection.send(bytes, errand) {
                return Some(free);
            }
            self.closed.push(index);
        }
        None
    }

    /// Something has happened on the connection of this token.
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

    /// Closes every connection whose request was due before `limit`, and hands out those requests.
    pub fn expire(&mut self, limit: Instant, mut expired: impl FnMut(Errand)) {
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if let Some(errand) = connection.expire(limit) {
                self.closed.push(index);
                expired(errand);
            }
        }
    }
}
