//! Address of the origin's name, with its load, and the use of one connection to it.
//!
//! The workers of a process share the addresses, so the load counts all of them. A connection
//! counts while it is opened, carries an exchange, or is a tunnel; an idle one does not count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Address that the origin's name resolves to, or resolved to lately.
#[derive(Debug)]
pub(super) struct OriginAddress {
    socket_addr: SocketAddr,
    /// Connections in use, of all workers.
    in_use: AtomicUsize,
    /// Number of times that the idle connections were given up.
    generation: AtomicU32,
    /// Whether the address has failed since its last response. Without a failure, a response reads
    /// only this flag.
    is_suspect: AtomicBool,
}

impl OriginAddress {
    pub(super) fn new(socket_addr: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            socket_addr,
            in_use: AtomicUsize::new(0),
            generation: AtomicU32::new(0),
            is_suspect: AtomicBool::new(false),
        })
    }

    pub(super) fn socket_addr(&self) -> SocketAddr {
        self.socket_addr
    }

    /// Returns the number of connections in use.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Gives up the idle connections that exist now.
    pub(super) fn give_up_idle(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.is_suspect.load(Ordering::Relaxed)
    }

    pub(super) fn set_suspect(&self, is_suspect: bool) {
        self.is_suspect.store(is_suspect, Ordering::Relaxed);
    }
}

/// Use of an address by one connection. The connection and its socket share it, so a tunnel, which
/// has only the socket, still counts.
#[derive(Debug)]
pub(super) struct AddressUse {
    address: Arc<OriginAddress>,
    generation: u32,
    is_in_use: AtomicBool,
}

impl AddressUse {
    /// Begins to use the address.
    pub(super) fn begin(address: Arc<OriginAddress>) -> Arc<Self> {
        address.in_use.fetch_add(1, Ordering::Relaxed);
        let generation = address.generation.load(Ordering::Relaxed);
        Arc::new(Self { address, generation, is_in_use: AtomicBool::new(true) })
    }

    pub(super) fn address(&self) -> &Arc<OriginAddress> {
        &self.address
    }

    /// Records that the connection is idle.
    pub(super) fn set_idle(&self) {
        if self.is_in_use.swap(false, Ordering::Relaxed) {
            self.address.in_use.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Records that an idle connection is in use again.
    pub(super) fn set_in_use(&self) {
        if !self.is_in_use.swap(true, Ordering::Relaxed) {
            self.address.in_use.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns whether the address did not give up its idle connections since this one was opened.
    pub(super) fn is_current(&self) -> bool {
        self.generation == self.address.generation.load(Ordering::Relaxed)
    }
}

impl Drop for AddressUse {
    fn drop(&mut self) {
        self.set_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_while_it_is_in_use() {
        let address = OriginAddress::new("127.0.0.1:80".parse().unwrap());
        let (first, second) =
            (AddressUse::begin(Arc::clone(&address)), AddressUse::begin(Arc::clone(&address)));
        assert_eq!(address.in_use(), 2);
        first.set_idle();
        first.set_idle();
        assert_eq!(address.in_use(), 1);
        first.set_in_use();
        first.set_in_use();
        assert_eq!(address.in_use(), 2);
        address.give_up_idle();
        assert!(!first.is_current() && AddressUse::begin(Arc::clone(&address)).is_current());
        first.set_idle();
        drop((first, second));
        assert_eq!(address.in_use(), 0);
    }
}
