//! Faults of the product that the harness plants, one in each run: the simulation finds every one.
//!
//! The harness or the model of Redis behaves so that the fleet works as with the fault in its own
//! code. The code of the store has no switch for it.

use std::rc::Rc;

use super::faults::Fault;
use super::keyspace::ServerKeys;
use super::server::RedisServer;
use crate::entry::{EntryHeader, ValueKind};
use crate::store::scripts::{PURGE_LOG, RedisScript};
use crate::store::{PurgeError, PurgeResult, PurgeScope, PurgeStrength, Store, StoreShared};

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlantedFault {
    /// A purge counts as confirmed once Redis has it, before any sync.
    ConfirmedBeforeSync,
    /// A tag whose counter Redis has lost counts as never purged.
    ForgottenCounter,
    /// A tombstone expires before the fetches that it has to refuse end.
    ShortTombstone,
    /// The holder of a lease stores by a permit that it has taken after its fetch.
    StoredWithoutPermit,
    /// Each new purge log has the first one's epoch.
    ReusedEpoch,
    /// A node has confirmed when one of its workers has.
    UnaskedWorker,
    /// Pending purges leave the queue unrepeated.
    UnrepeatedQueue,
}

/// Every planted fault.
pub(super) const PLANTED_FAULTS: [PlantedFault; 7] = [
    PlantedFault::ConfirmedBeforeSync,
    PlantedFault::ForgottenCounter,
    PlantedFault::ShortTombstone,
    PlantedFault::StoredWithoutPermit,
    PlantedFault::ReusedEpoch,
    PlantedFault::UnaskedWorker,
    PlantedFault::UnrepeatedQueue,
];

/// The time in milliseconds for which a planted fault keeps tombstones.
const SHORT: u64 = 500;
/// The epoch that a planted fault reuses.
const EPOCH: &[u8] = b"0000000000000001";

/// Purges as [`Store::purge`] does up to the sync.
pub(super) async fn purge_without_sync(
    store: Rc<Store>,
    scopes: Vec<PurgeScope>,
    strength: PurgeStrength,
) -> Result<PurgeResult, PurgeError> {
    if let Some(writer) = store.writer() {
        for scope in &scopes {
            writer.purge(scope, strength).await?;
        }
    }
    Ok(PurgeResult::counted(1, 1))
}

/// Empties the queue of pending purges of a node.
pub(super) fn empty_queue(shared: &StoreShared) {
    let local = shared.purges.local();
    local.pending(0, usize::MAX).iter().for_each(|purge| local.accepted(purge));
}

impl PlantedFault {
    /// Returns the kinds of faults of the network and the server in which the planted one shows.
    pub(super) fn faults(self) -> &'static [Fault] {
        match self {
            Self::ConfirmedBeforeSync | Self::ShortTombstone | Self::StoredWithoutPermit => &[],
            Self::ReusedEpoch => &[Fault::RestartEmpty],
            Self::ForgottenCounter => &[Fault::Eviction],
            Self::UnaskedWorker => &[Fault::Delay],
            Self::UnrepeatedQueue => &[Fault::Full],
        }
    }

    /// Returns a seed that has found the fault.
    pub(super) fn first_seed(self) -> u64 {
        match self {
            Self::ConfirmedBeforeSync | Self::UnrepeatedQueue => 0,
            Self::ReusedEpoch => 4,
            Self::StoredWithoutPermit => 9,
            Self::ForgottenCounter => 18,
            Self::ShortTombstone => 36,
            Self::UnaskedWorker => 87,
        }
    }

    /// Changes the arguments of a script.
    pub(super) fn change_call(self, script: &RedisScript, words: &mut [Vec<u8>]) {
        if self == Self::ReusedEpoch && script.digest() == PURGE_LOG.digest() {
            words[4] = EPOCH.to_vec();
        }
    }

    /// Changes what a command has left at its key.
    pub(super) fn change_stored(self, data: &mut ServerKeys, key: &[u8], now: u64) {
        if self == Self::ShortTombstone
            && let Some(value) = data.get(key, now)
            && let Some(EntryHeader { kind: ValueKind::Tombstone(_), .. }) = EntryHeader::read(&value)
        {
            data.shorten(key, SHORT, now);
        }
    }

    /// Returns the value that a key still has after the server has lost it.
    pub(super) fn lost_value(self, data: &mut ServerKeys, key: &[u8], now: u64) -> Option<Vec<u8>> {
        if self != Self::ForgottenCounter || !key.starts_with(b"s:tag:") {
            return None;
        }
        let log = data.get(b"s:clock", now)?;
        let epoch = log.split(|byte| *byte == b' ').nth(1)?;
        Some([epoch, b" 0 0 0"].concat())
    }

    /// Returns how often the server delivers a message to a subscriber: `is_first` if it is the
    /// first one of its node.
    pub(super) fn deliveries(self, channel: &[u8], message: &[u8], is_first: bool) -> usize {
        if self != Self::UnaskedWorker {
            return 1;
        }
        if channel.starts_with(b"s:sync") {
            return usize::from(is_first);
        }
        // The acknowledgement of one worker counts for all.
        let workers = message.split(|byte| *byte == b' ').nth(2);
        let workers = workers.filter(|_| channel.starts_with(b"s:ack:")).map(std::str::from_utf8);
        workers.and_then(|text| text.ok()?.parse().ok()).unwrap_or(1)
    }
}

impl RedisServer {
    /// Removes a key to gain memory.
    pub(super) fn evict(&self, key: &[u8]) {
        let now = self.now();
        let kept =
            self.planted.get().and_then(|fault| fault.lost_value(&mut self.data.borrow_mut(), key, now));
        self.data.borrow_mut().remove(key, now);
        if let Some(value) = kept {
            let _ = self.data.borrow_mut().set(key, value, None, now);
        }
        self.push_invalidations(None);
    }
}
