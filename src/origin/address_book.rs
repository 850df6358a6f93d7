//! Addresses of the origin's name: which one a request uses. Pure.
//!
//! **Choice.** A request takes the less loaded of two random addresses ("power of two choices"): a
//! slow address gets less, and no address gets all because it was idle for a moment. The addresses
//! of the family that the resolver lists first are used, and those of the other family once none of
//! the first is left: a name with both families usually names one host twice (RFC 6724).
//!
//! **Names that move.** An address that the name no longer resolves to gets no new connection; its
//! idle connections are used for [`ORIGIN_ADDRESS_KEPT`], since a name may have more addresses than
//! one answer contains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::address::OriginAddress;
use super::ejection::{AddressState, AddressStatus, KnownAddress, OtherAddresses};
use super::signs::Resource;
use crate::limits::{
    ORIGIN_ADDRESS_ATTEMPTS_MAX, ORIGIN_ADDRESS_KEPT, ORIGIN_ADDRESSES_MAX, ORIGIN_RESOLVE_INTERVAL,
    ORIGIN_RESOLVED_FRESH,
};

/// Addresses of one origin. All workers share them.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    /// Addresses of the last answer in its order, then those that it lacks.
    known: Vec<KnownAddress>,
    prefers_ipv6: bool,
    /// Time of the last answer.
    resolved: Option<Instant>,
    /// Time at which the last resolution in the background began.
    refreshed: Option<Instant>,
    /// Time of the last failure to resolve the name, if no answer followed it.
    unresolved: Option<Instant>,
}

impl AddressBook {
    /// Chooses an address for a request, if any is known; another one than `avoided`, if there is
    /// one. `random` returns a number below its argument.
    pub(super) fn choose(
        &self,
        avoided: Option<&Arc<OriginAddress>>,
        has_idle: impl Fn(&Arc<OriginAddress>) -> bool,
        mut random: impl FnMut(usize) -> usize,
    ) -> Option<Arc<OriginAddress>> {
        if let [only] = &*self.known {
            return Some(Arc::clone(&only.address));
        }
        let is_avoided =
            |known: &KnownAddress| avoided.is_some_and(|avoided| Arc::ptr_eq(avoided, &known.address));
        let is_candidate = |known: &&KnownAddress| {
            known.takes_requests()
                && !is_avoided(known)
                && (known.missing_since.is_none() || has_idle(&known.address))
        };
        let is_preferred = |known: &&KnownAddress| known.is_ipv6() == self.prefers_ipv6;
        let preferred = || self.known.iter().filter(is_preferred).filter(is_candidate);
        let others = || self.known.iter().filter(is_candidate);
        let chosen = less_loaded(preferred, &mut random)
            .or_else(|| less_loaded(others, &mut random))
            .or_else(|| self.known.iter().find(|known| known.missing_since.is_none() && !is_avoided(known)))
            .or_else(|| self.known.first())?;
        Some(Arc::clone(&chosen.address))
    }

    /// Returns the addresses that a dial tries, in this order: `first`, the least loaded of those
    /// that take requests in alternating families, so that a broken family costs one attempt and
    /// not several, then the ejected ones.
    pub(super) fn attempts(&self, first: &Arc<OriginAddress>) -> Vec<Arc<OriginAddress>> {
        let rest = self
            .known
            .iter()
            .filter(|known| known.missing_since.is_none() && !Arc::ptr_eq(&known.address, first));
        let (mut good, ejected): (Vec<_>, Vec<_>) = rest.partition(|known| known.takes_requests());
        good.sort_by_key(|known| known.address.in_use());
        let is_first_ipv6 = first.socket_addr().is_ipv6();
        let (other_family, family): (Vec<_>, Vec<_>) =
            good.into_iter().partition(|known| known.is_ipv6() != is_first_ipv6);
        let attempts = alternate(other_family, family).into_iter().chain(ejected);
        let attempts = attempts.map(|known| Arc::clone(&known.address));
        std::iter::once(Arc::clone(first)).chain(attempts).take(ORIGIN_ADDRESS_ATTEMPTS_MAX).collect()
    }

    /// Returns an ejected address whose pause is over, for one connect.
    pub(super) fn take_probe(&mut self, now: Instant) -> Option<Arc<OriginAddress>> {
        self.known.iter_mut().find_map(|known| known.begins_probe(now).then(|| Arc::clone(&known.address)))
    }

    /// Records that the connect of a probe failed.
    pub(super) fn record_failed_probe(&mut self, address: &Arc<OriginAddress>, now: Instant, random: f64) {
        if let Some(known) = self.find(address) {
            known.record_failed_probe(now, random);
        }
    }

    /// Records a connection to an address: an ejected one is on trial.
    pub(super) fn record_connected(&mut self, address: &Arc<OriginAddress>) {
        if let Some(known) = self.find(address) {
            known.record_connected();
        }
    }

    /// Records a failure of an address. Returns the pause if this ejects an address in use.
    pub(super) fn record_failure(
        &mut self,
        address: &Arc<OriginAddress>,
        resource: Option<Resource>,
        now: Instant,
        random: f64,
    ) -> Option<Duration> {
        let is_other_in_use = self.known.iter().any(|known| {
            !Arc::ptr_eq(&known.address, address)
                && known.missing_since.is_none()
                && known.status == AddressStatus::InUse
        });
        let others = if is_other_in_use { OtherAddresses::InUse } else { OtherAddresses::None };
        self.find(address)?.record_failure(resource, others, now, random)
    }

    /// Records a response of an address. Returns the duration of the ejection that this ends.
    pub(super) fn record_response(&mut self, address: &Arc<OriginAddress>, now: Instant) -> Option<Duration> {
        self.find(address)?.record_response(now)
    }

    /// Returns whether to resolve the name in the background, and if so, records that it begins.
    pub(super) fn begin_refresh(&mut self, now: Instant) -> bool {
        let last = self.refreshed.max(self.resolved).max(self.unresolved);
        let is_due = last.is_some_and(|at| now.saturating_duration_since(at) >= ORIGIN_RESOLVE_INTERVAL);
        if is_due {
            self.refreshed = Some(now);
        }
        is_due
    }

    /// Returns whether a dial resolves the name first: the last answer is old, and the last failure
    /// is not recent.
    pub(super) fn is_outdated(&self, now: Instant) -> bool {
        let is_within =
            |at: Option<Instant>, time| at.is_some_and(|at| now.saturating_duration_since(at) < time);
        self.resolved.is_none()
            || !is_within(self.resolved, ORIGIN_RESOLVED_FRESH)
                && !is_within(self.unresolved, ORIGIN_RESOLVE_INTERVAL)
    }

    /// Returns whether any address is known.
    pub(super) fn is_any_known(&self) -> bool {
        !self.known.is_empty()
    }

    /// Records an answer of the resolver, which has at least one address. Returns whether the
    /// attempt before this answer failed.
    pub(super) fn record_answer(&mut self, answer: &[SocketAddr], now: Instant) -> bool {
        self.prefers_ipv6 = answer.first().is_some_and(SocketAddr::is_ipv6);
        let mut former = std::mem::take(&mut self.known);
        for socket_addr in answer {
            if self.known.len() == ORIGIN_ADDRESSES_MAX
                || self.known.iter().any(|known| known.address.socket_addr() == *socket_addr)
            {
                continue;
            }
            let at = former.iter().position(|known| known.address.socket_addr() == *socket_addr);
            let mut known = at.map_or_else(|| KnownAddress::new(*socket_addr), |at| former.swap_remove(at));
            known.missing_since = None;
            self.known.push(known);
        }
        for mut known in former {
            let since = *known.missing_since.get_or_insert(now);
            let is_kept = now.saturating_duration_since(since) < ORIGIN_ADDRESS_KEPT;
            if is_kept && self.known.len() < ORIGIN_ADDRESSES_MAX {
                self.known.push(known);
            } else {
                known.address.give_up_idle();
            }
        }
        self.resolved = Some(now);
        self.unresolved.take().is_some()
    }

    /// Records that the name did not resolve. Returns whether this is the first time since the last
    /// answer.
    pub(super) fn record_unresolved(&mut self, now: Instant) -> bool {
        self.unresolved.replace(now).is_none()
    }

    /// Returns the number of addresses in each state.
    pub(super) fn count(&self, state: AddressState) -> usize {
        let is_ejected = state == AddressState::Ejected;
        self.known.iter().filter(|known| (known.status != AddressStatus::InUse) == is_ejected).count()
    }

    /// Returns the addresses of the last answer.
    pub(super) fn listed(&self) -> Vec<SocketAddr> {
        let listed = self.known.iter().filter(|known| known.missing_since.is_none());
        listed.map(|known| known.address.socket_addr()).collect()
    }

    fn find(&mut self, address: &Arc<OriginAddress>) -> Option<&mut KnownAddress> {
        self.known.iter_mut().find(|known| Arc::ptr_eq(&known.address, address))
    }
}

/// Returns the less loaded of two random candidates.
fn less_loaded<'a, I: Iterator<Item = &'a KnownAddress>>(
    candidates: impl Fn() -> I,
    random: &mut impl FnMut(usize) -> usize,
) -> Option<&'a KnownAddress> {
    let count = candidates().count();
    if count < 2 {
        return candidates().next();
    }
    let first = random(count);
    // Any of the others, each equally likely.
    let second = (first + 1 + random(count - 1)) % count;
    let (first, second) = (candidates().nth(first)?, candidates().nth(second)?);
    Some(if second.address.in_use() < first.address.in_use() { second } else { first })
}

/// Returns the elements of both lists in turn, beginning with the first list.
fn alternate<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    std::iter::from_fn(|| Some([first.next(), second.next()]))
        .take_while(|pair| pair.iter().any(Option::is_some))
        .flatten()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests;
