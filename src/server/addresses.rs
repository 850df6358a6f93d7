//! Who is connected how often: so that one client cannot have all the connections there are.
//!
//! One table for all workers of a listener, since the kernel spreads the connections of one client over them. It is
//! touched when a connection is accepted and when it ends, and by no request. An IPv6 client has a network of 64 bits to
//! itself, so that is what counts as one.
//!
//! **Always:** an address is in the table only while it has a connection, so the table is no larger than the number of
//! connections that may be open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The table. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Addresses(Option<Arc<Table>>);

#[derive(Debug)]
struct Table {
    open: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
}

/// One connection, as the table counts it.
#[derive(Debug)]
pub(super) struct Visitor(Option<(Arc<Table>, IpAddr)>);

impl Addresses {
    /// Nobody is connected. Without a bound, nobody is counted.
    pub(super) fn new(most: Option<usize>) -> Self {
        Self(most.map(|most| Arc::new(Table { open: Mutex::default(), most })))
    }

    /// Counts a connection; none if its address has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Visitor> {
        let Some(table) = &self.0 else { return Some(Visitor(None)) };
        let address = network(address);
        let mut open = table.open();
        let count = open.entry(address).or_insert(0);
        if *count >= table.most {
            return None;
        }
        *count += 1;
        Some(Visitor(Some((Arc::clone(table), address))))
    }
}

impl Table {
    /// One number at a time changes: a panic between leaves nothing half done.
    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let Some((table, address)) = self.0.take() else { return };
        if let Entry::Occupied(mut count) = table.open().entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// What counts as one client.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_so_many_and_no_more() {
        let addresses = Addresses::new(Some(2));
        let enter = |text: &str| addresses.clone().enter(text.parse().unwrap());
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("192.0.2.1").is_none(), "however it is written");
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());

        let network = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(enter("2001:db8:0:0:ffff::1").is_none(), "one network of 64 bits");
        assert!(enter("2001:db8:0:1::1").is_some());
        drop((second, network));
        assert!(addresses.0.unwrap().open().is_empty(), "nothing is left of those who have gone");
    }

    #[test]
    fn without_a_bound_nobody_is_counted() {
        let addresses = Addresses::new(None);
        let all: Vec<_> = (0..100).map(|_| addresses.enter("192.0.2.1".parse().unwrap())).collect();
        assert!(all.iter().all(Option::is_some));
    }
}
