//! The decision whether memory may serve an entry while a lookup gets no usable reply from Redis.
//!
//! Another node may reach Redis meanwhile and purge. So one late reply proves nothing: memory
//! answers alone only in an outage that outlasts a reconnect, with what the process has fetched
//! since it lost Redis, or in a process that has never read a purge, whose memory has only what the
//! process itself fetched. A purge since the loss is not confirmed: the node is registered. With
//! RESP3, memory also answers while Redis is late, with what the process has fetched: a node
//! acknowledges a purge only after it has dropped the purged entries. Without RESP3 a purge waits
//! for no acknowledgement.
//!
//! | contact | no purge log was ever read | a purge log was read |
//! | --- | --- | --- |
//! | never connected, or the server refuses every command | alone, since the fetch | not alone |
//! | connected, and Redis refuses this command | alone, since the fetch | not alone |
//! | connected, and Redis is late or silent, with RESP3 | alone, since the fetch | alone, since the fetch |
//! | connected, and Redis is late or silent, without RESP3 | not alone | not alone |
//! | disconnected for less than `MEMORY_ALONE_AFTER` | alone, since the loss | alone, since the loss |
//! | disconnected for longer | alone | alone |
//!
//! The time alone ends after `memory_alone_max`: it counts from the last registration of this node
//! if Redis would have pushed changes of the entry, and from the start of its read or fetch
//! otherwise.

use std::time::{Duration, Instant};

use crate::entry::PurgeGeneration;
use crate::limits::MEMORY_ALONE_AFTER;
use crate::redis::{Client, CommandError, ServerContact};
use crate::store::shared::StoreShared;
use crate::store::trust::EntryTrust;
use crate::time;

/// The purge state that this process has ever read from Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PurgeKnowledge {
    /// It has read no purge log: Redis has not served this process yet.
    Never,
    /// It has read a purge log.
    Read,
}

/// The outage in which a lookup has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RedisOutage {
    /// Redis may serve other nodes, and even this one.
    Unproven,
    /// Redis has not served this process since it started.
    SinceStart,
    /// No connection has been up for this time, and the next may be up at once.
    Reconnecting(Duration),
    /// No connection has been up for this time.
    Disconnected(Duration),
}

impl RedisOutage {
    /// Returns the outage that this contact and the error of a lookup prove.
    fn of(contact: ServerContact, why: CommandError, knowledge: PurgeKnowledge) -> Self {
        match (contact, knowledge) {
            (ServerContact::Disconnected(elapsed), _) if elapsed >= MEMORY_ALONE_AFTER => {
                Self::Disconnected(elapsed)
            }
            (ServerContact::Disconnected(elapsed), _) => Self::Reconnecting(elapsed),
            (ServerContact::NeverConnected | ServerContact::Refusing, PurgeKnowledge::Never) => {
                Self::SinceStart
            }
            (ServerContact::Connected, PurgeKnowledge::Never) if why.is_answer() => Self::SinceStart,
            (
                ServerContact::NeverConnected | ServerContact::Refusing | ServerContact::Connected,
                PurgeKnowledge::Never | PurgeKnowledge::Read,
            ) => Self::Unproven,
        }
    }
}

impl StoreShared {
    /// Returns whether memory may serve an entry with this trust after a lookup has failed.
    pub(in crate::store) fn may_serve_alone(
        &self,
        trust: EntryTrust,
        redis: &Client,
        name: &[u8],
        why: CommandError,
    ) -> bool {
        let now = time::instant();
        let knowledge = if self.purges.generation() == PurgeGeneration::default() {
            PurgeKnowledge::Never
        } else {
            PurgeKnowledge::Read
        };
        // The time since the start of the read or fetch, if memory may serve its entry alone still.
        let since_read = |until: Instant| {
            let begun = until.checked_sub(self.options.memory_ttl)?;
            Some(now.saturating_duration_since(begun)).filter(|age| *age < self.fleet.alone_max())
        };
        match (trust, RedisOutage::of(redis.contact(name), why, knowledge)) {
            (EntryTrust::Always, _) => true,
            (EntryTrust::Until(until) | EntryTrust::InFlight(until), RedisOutage::Unproven) => {
                redis.is_tracking(name) && since_read(until).is_some()
            }
            (EntryTrust::Tracked(_) | EntryTrust::Revalidating(..), RedisOutage::Unproven) => false,
            (EntryTrust::Until(until) | EntryTrust::InFlight(until), RedisOutage::Reconnecting(elapsed)) => {
                since_read(until).is_some_and(|age| age <= elapsed)
            }
            // The node may have fetched the entry after it lost Redis.
            (
                EntryTrust::Until(until) | EntryTrust::InFlight(until),
                RedisOutage::Disconnected(_) | RedisOutage::SinceStart,
            ) => since_read(until).is_some(),
            (EntryTrust::Tracked(_) | EntryTrust::Revalidating(..), RedisOutage::Disconnected(elapsed)) => {
                self.fleet.may_serve_alone(now, elapsed)
            }
            (
                EntryTrust::Tracked(_) | EntryTrust::Revalidating(..),
                RedisOutage::SinceStart | RedisOutage::Reconnecting(_),
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::ErrorKind;

    #[test]
    fn one_late_reply_proves_no_outage() {
        use PurgeKnowledge::{Never, Read};
        use ServerContact::{Connected, Disconnected, NeverConnected, Refusing};
        let (short, long) = (MEMORY_ALONE_AFTER / 2, MEMORY_ALONE_AFTER);
        let refusal = CommandError::Server(ErrorKind::NoPerm);
        let (away, unproven) = (RedisOutage::Disconnected(long), RedisOutage::Unproven);
        let reconnecting = RedisOutage::Reconnecting(short);
        for (contact, why, never, read) in [
            (NeverConnected, CommandError::NotConnected, RedisOutage::SinceStart, unproven),
            (Refusing, CommandError::BreakerOpen, RedisOutage::SinceStart, unproven),
            (Connected, refusal, RedisOutage::SinceStart, unproven),
            (Connected, CommandError::Timeout, unproven, unproven),
            (Connected, CommandError::BreakerOpen, unproven, unproven),
            (Connected, CommandError::Full, unproven, unproven),
            (Connected, CommandError::Closed, unproven, unproven),
            (Disconnected(short), CommandError::NotConnected, reconnecting, reconnecting),
            (Disconnected(long), CommandError::NotConnected, away, away),
        ] {
            assert_eq!(RedisOutage::of(contact, why, Never), never, "{contact:?} {why}");
            assert_eq!(RedisOutage::of(contact, why, Read), read, "{contact:?} {why}");
        }
    }
}
