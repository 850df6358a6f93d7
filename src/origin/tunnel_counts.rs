//! Bound on tunnels: how many there may be, in all and for one client address. Pure.
//!
//! A tunnel holds an origin connection for as long as its two sides like, so it does not count
//! against the adaptive limit: that limit would starve requests while tunnels stay open. It takes a
//! connection away from the requests for good. So tunnels hold at most all but one in
//! [`ORIGIN_RESERVED_SHARE`] of the connections, and one client address at most that share of the
//! tunnels.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::client_address::ClientNetwork;
use crate::limits::ORIGIN_RESERVED_SHARE;
use crate::origin::options::AddressShare;

/// Open tunnels of one worker.
pub(super) struct TunnelCounts {
    max: usize,
    max_of_client: usize,
    open: usize,
    /// Tunnels of each client address, without zero entries.
    held: HashMap<ClientNetwork, usize>,
}

impl TunnelCounts {
    /// Creates the counts of a worker with this many connections.
    pub(super) fn new(connections_max: usize, address_share: AddressShare) -> Self {
        let max = connections_max.saturating_sub((connections_max / ORIGIN_RESERVED_SHARE).max(1)).max(1);
        let max_of_client = match address_share {
            AddressShare::Bounded => max - max / ORIGIN_RESERVED_SHARE,
            AddressShare::Whole => max,
        };
        Self { max, max_of_client, open: 0, held: HashMap::new() }
    }

    /// Returns the number of open tunnels.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Returns whether this client may open another tunnel.
    pub(super) fn admits(&self, client: ClientNetwork) -> bool {
        self.open < self.max && self.held.get(&client).copied().unwrap_or_default() < self.max_of_client
    }

    /// Counts a tunnel that begins.
    pub(super) fn add(&mut self, client: ClientNetwork) {
        self.open += 1;
        *self.held.entry(client).or_insert(0) += 1;
    }

    /// Counts a tunnel that ends.
    pub(super) fn remove(&mut self, client: ClientNetwork) {
        self.open = self.open.saturating_sub(1);
        if let Entry::Occupied(mut held) = self.held.entry(client) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Opens as many tunnels as each of two addresses may. Returns their numbers.
    fn opened(counts: &mut TunnelCounts) -> [usize; 2] {
        [1, 2].map(|last| {
            let client = IpAddr::from([192, 0, 2, last]).into();
            let mut opened = 0;
            while counts.admits(client) {
                counts.add(client);
                opened += 1;
            }
            opened
        })
    }

    #[test]
    fn tunnels_leave_connections_to_requests_and_to_other_addresses() {
        for (connections, address_share, expected) in [
            (1, AddressShare::Bounded, [1, 0]),
            (2, AddressShare::Bounded, [1, 0]),
            (8, AddressShare::Bounded, [5, 1]),
            (8, AddressShare::Whole, [6, 0]),
            (4_096, AddressShare::Bounded, [2_304, 768]),
        ] {
            let mut counts = TunnelCounts::new(connections, address_share);
            assert_eq!(opened(&mut counts), expected, "{connections}");
            let client = IpAddr::from([192, 0, 2, 1]).into();
            counts.remove(client);
            assert_eq!(opened(&mut counts), [1, 0], "a tunnel has ended");
        }
    }
}
