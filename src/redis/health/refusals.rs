//! The commands that a server refuses although it answers: it is full, a replica, or the user lacks
//! a right.
//!
//! The breaker does not open for them, because other commands of the same server succeed, and a
//! refusal costs no more than a reply. So this state is apart from the breaker: the log has one
//! line per change, and `/health` says `refusing`.
//!
//! A refusal has one of two ends. After [`REDIS_REFUSAL_CALM`] without another one of its kind, a
//! success that proves the end of its cause ends it: any write if the server refused a write. After
//! [`REDIS_REFUSAL_EXPIRY`] it expires, because no later command may need the missing right or the
//! key of another type.
//!
//! Every worker reads a server's state for each reply. It lies in one atomic word that changes only
//! when the state does, so that a reply costs one load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::label::Label;
use crate::labels;
use crate::limits::{REDIS_REFUSAL_CALM, REDIS_REFUSAL_EXPIRY};
use crate::resp::{Command, ErrorKind};
use crate::time::millis;

labels! {
    /// A command about keys or channels.
    pub(in crate::redis) enum WorkCommand {
        Get => "GET",
        GetRange => "GETRANGE",
        TimeToLive => "PTTL",
        Set => "SET",
        Unlink => "UNLINK",
        Script => "EVALSHA",
        Publish => "PUBLISH",
    }
}

impl WorkCommand {
    /// Returns `None` for the commands that manage a connection or read the topology.
    fn of(command: &Command<'_>) -> Option<Self> {
        match command {
            Command::Get { .. } => Some(Self::Get),
            Command::Head { .. } => Some(Self::GetRange),
            Command::TimeToLive { .. } => Some(Self::TimeToLive),
            Command::Set { .. } | Command::SetNew { .. } => Some(Self::Set),
            Command::Unlink { .. } => Some(Self::Unlink),
            Command::Script { .. } => Some(Self::Script),
            Command::Publish { .. } => Some(Self::Publish),
            Command::Subscribe { .. }
            | Command::Track
            | Command::Ping
            | Command::Hello { .. }
            | Command::Auth { .. }
            | Command::SetName { .. }
            | Command::Select { .. }
            | Command::ReadOnly
            | Command::Asking
            | Command::ClusterShards
            | Command::ClusterSlots
            | Command::ClusterMyId
            | Command::Role
            | Command::ServerInfo
            | Command::Wait { .. }
            | Command::Trial { .. }
            | Command::MasterAddress { .. } => None,
        }
    }
}

/// The treatment of `MOVED`, `ASK` and `TRYAGAIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirections {
    /// The caller repeats the command at the right server.
    Followed,
    /// The deployment has no other server: the command fails, and the log advises.
    Refused,
}

/// Returns the advice to the operator; `None` if the refusal says nothing about the server's state:
/// a cluster's client obeys a redirection, and the breaker reports the rest.
fn advice(kind: ErrorKind, redirections: Redirections) -> Option<&'static str> {
    match kind {
        ErrorKind::Oom => Some("Redis is full: raise maxmemory, or set maxmemory-policy to allkeys-lru"),
        ErrorKind::ReadOnly => {
            Some("the server is a replica: let redis_url name the master or the sentinels")
        }
        ErrorKind::Misconfigured => {
            Some("Redis cannot write its snapshot: look at its log and the space on its disk")
        }
        ErrorKind::NoReplicas => {
            Some("Redis has fewer replicas than min-replicas-to-write: look at the replicas")
        }
        ErrorKind::NoPerm => Some("the user lacks a right: SECURITY.md has the ACL line"),
        ErrorKind::NoAuth => {
            Some("the server requires a password: name it in redis_url or redis_password_file")
        }
        ErrorKind::UnknownCommand => {
            Some("the server lacks the command: CacheWarp needs it, or a provider has disabled it")
        }
        ErrorKind::ClusterDown => Some("the cluster has a hash slot without a master"),
        ErrorKind::MasterDown => Some("the server is a replica without its master"),
        ErrorKind::WrongType => {
            Some("the key has another type: remove it, or give CacheWarp its own cache_namespace")
        }
        ErrorKind::Moved | ErrorKind::Ask | ErrorKind::TryAgain => match redirections {
            Redirections::Refused => {
                Some("the server is part of a cluster: use redis+cluster:// in redis_url")
            }
            Redirections::Followed => None,
        },
        ErrorKind::Other => Some("look at the log of Redis"),
        ErrorKind::Loading
        | ErrorKind::Busy
        | ErrorKind::MaxClients
        | ErrorKind::WrongPass
        | ErrorKind::NoProto
        | ErrorKind::NoScript
        | ErrorKind::BusyGroup
        | ErrorKind::NoGroup => None,
    }
}

/// Returns whether the success of a command proves that the server accepts another one again.
fn is_proof(succeeded: WorkCommand, refused: WorkCommand, kind: ErrorKind) -> bool {
    use WorkCommand::{Publish, Script, Set, Unlink};
    match kind {
        // A full server still removes keys.
        ErrorKind::Oom => matches!(succeeded, Set | Script),
        ErrorKind::ReadOnly | ErrorKind::Misconfigured | ErrorKind::NoReplicas => {
            matches!(succeeded, Set | Script | Unlink)
        }
        // `PUBLISH` has no key.
        ErrorKind::ClusterDown | ErrorKind::MasterDown | ErrorKind::NoAuth => succeeded != Publish,
        // Other keys have other servers and other types.
        ErrorKind::Moved | ErrorKind::Ask | ErrorKind::TryAgain | ErrorKind::WrongType => false,
        ErrorKind::NoPerm
        | ErrorKind::UnknownCommand
        | ErrorKind::Other
        | ErrorKind::Loading
        | ErrorKind::Busy
        | ErrorKind::MaxClients
        | ErrorKind::WrongPass
        | ErrorKind::NoProto
        | ErrorKind::NoScript
        | ErrorKind::BusyGroup
        | ErrorKind::NoGroup => succeeded == refused,
    }
}

/// A change of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum RefusalChange {
    /// The server refuses this command, for another reason than before.
    Refused(WorkCommand, ErrorKind, &'static str),
    /// The server accepts this command again.
    Accepted(WorkCommand),
    /// The server has not refused this command for [`REDIS_REFUSAL_EXPIRY`].
    Expired(WorkCommand),
}

/// The refused commands of one server, shared by all workers.
#[derive(Debug, Default)]
pub(in crate::redis) struct ServerRefusals {
    /// One byte for each [`WorkCommand`]: the index of the last refusal's [`ErrorKind`] plus one;
    /// zero while the command is accepted.
    kinds: AtomicU64,
    /// The time of each command's last refusal in milliseconds.
    last: [AtomicU64; WorkCommand::ALL.len()],
}

const _: () = assert!(WorkCommand::ALL.len() <= 8 && ErrorKind::ALL.len() < 0xff);

impl ServerRefusals {
    /// Records an accepted command, and returns the refusals that it ends. `now` counts from the
    /// start of the process and is read only while the server refuses a command.
    pub(in crate::redis) fn accept(
        &self,
        command: &Command<'_>,
        now: impl FnOnce() -> Duration,
    ) -> Vec<RefusalChange> {
        let kinds = self.kinds.load(Ordering::Relaxed);
        if kinds == 0 {
            return Vec::new();
        }
        let (succeeded, now) = (WorkCommand::of(command), millis(now()));
        let ended = WorkCommand::ALL.iter().filter_map(|&refused| {
            let kind = kind_of(kinds, refused)?;
            let calm = now.saturating_sub(self.last_of(kinds, kind));
            let change = if calm >= millis(REDIS_REFUSAL_EXPIRY) {
                RefusalChange::Expired(refused)
            } else if calm >= millis(REDIS_REFUSAL_CALM)
                && succeeded.is_some_and(|succeeded| is_proof(succeeded, refused, kind))
            {
                RefusalChange::Accepted(refused)
            } else {
                return None;
            };
            (self.replace(refused, Some(kind), None) == Some(kind)).then_some(change)
        });
        ended.collect()
    }

    /// Records a refused command.
    pub(in crate::redis) fn refuse(
        &self,
        command: &Command<'_>,
        kind: ErrorKind,
        redirections: Redirections,
        now: Duration,
    ) -> Option<RefusalChange> {
        let advice = advice(kind, redirections)?;
        let work = WorkCommand::of(command)?;
        self.last.get(work.index())?.store(millis(now), Ordering::Relaxed);
        (self.replace(work, None, Some(kind)) != Some(kind))
            .then_some(RefusalChange::Refused(work, kind, advice))
    }

    /// Returns whether the server refuses any command.
    pub(in crate::redis) fn any(&self) -> bool {
        self.kinds.load(Ordering::Relaxed) != 0
    }

    /// Returns the time of the last refusal of this kind among the refused commands.
    fn last_of(&self, kinds: u64, kind: ErrorKind) -> u64 {
        let of_kind = WorkCommand::ALL.iter().filter(|work| kind_of(kinds, **work) == Some(kind));
        let last = of_kind.filter_map(|work| self.last.get(work.index()));
        last.map(|last| last.load(Ordering::Relaxed)).max().unwrap_or_default()
    }

    /// Replaces the kind of a command's refusal, if it is `only` or any is meant, and returns the
    /// kind from before.
    fn replace(
        &self,
        work: WorkCommand,
        only: Option<ErrorKind>,
        kind: Option<ErrorKind>,
    ) -> Option<ErrorKind> {
        let byte = kind.map_or(0, |kind| kind.index() as u64 + 1);
        let replaced = self.kinds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kinds| {
            let is_meant = only.is_none() || kind_of(kinds, work) == only;
            is_meant.then_some(kinds & !(0xff << shift(work)) | byte << shift(work))
        });
        kind_of(replaced.unwrap_or_default(), work)
    }
}

/// Returns the position of a command's byte.
fn shift(work: WorkCommand) -> usize {
    work.index() * 8
}

/// Returns the kind of a command's refusal.
fn kind_of(kinds: u64, work: WorkCommand) -> Option<ErrorKind> {
    let byte = usize::try_from(kinds >> shift(work) & 0xff).ok()?;
    ErrorKind::ALL.get(byte.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ScriptName;
    use bytes::Bytes;

    const GET: Command<'static> = Command::Get { key: b"k" };
    const UNLINK: Command<'static> = Command::Unlink { key: b"k" };
    const PUBLISH: Command<'static> = Command::Publish { channel: b"c", message: b"m" };
    const VALUE: Bytes = Bytes::from_static(b"v");
    const SINGLE: Redirections = Redirections::Refused;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn script() -> Command<'static> {
        Command::Script { script: ScriptName::Digest("d"), key: b"k", arguments: &[] }
    }

    #[test]
    fn each_change_is_reported_once() {
        let refusals = ServerRefusals::default();
        assert_eq!((refusals.accept(&UNLINK, || at(0)), refusals.any()), (vec![], false));
        let refused =
            |kind| Some(RefusalChange::Refused(WorkCommand::Unlink, kind, advice(kind, SINGLE).unwrap()));
        let refuse = |kind, now| refusals.refuse(&UNLINK, kind, SINGLE, at(now));
        assert_eq!(refuse(ErrorKind::ReadOnly, 1), refused(ErrorKind::ReadOnly));
        assert_eq!((refuse(ErrorKind::ReadOnly, 2), refusals.any()), (None, true));
        assert_eq!(refuse(ErrorKind::NoPerm, 3), refused(ErrorKind::NoPerm));
        let calm = at(3) + REDIS_REFUSAL_CALM;
        assert_eq!(refusals.accept(&GET, || calm), vec![], "another command");
        let early = calm - Duration::from_millis(1);
        assert_eq!((refusals.accept(&UNLINK, || early), refusals.any()), (vec![], true));
        let accepted = vec![RefusalChange::Accepted(WorkCommand::Unlink)];
        assert_eq!((refusals.accept(&UNLINK, || calm), refusals.any()), (accepted, false));
        assert_eq!(refusals.accept(&UNLINK, || calm), vec![]);
    }

    #[test]
    fn a_write_ends_the_refusals_of_all_writes() {
        let set = Command::Set { key: b"k", value: &VALUE, ttl: at(1) };
        let calm = at(2) + REDIS_REFUSAL_CALM;
        for (kind, proofs, others) in [
            (ErrorKind::Oom, vec![&set, &script()], vec![&GET, &UNLINK, &PUBLISH, &Command::Ping]),
            (ErrorKind::ReadOnly, vec![&set, &script(), &UNLINK], vec![&GET, &PUBLISH, &Command::Ping]),
            (ErrorKind::Misconfigured, vec![&set, &script(), &UNLINK], vec![&GET, &PUBLISH]),
            (ErrorKind::NoReplicas, vec![&set, &script(), &UNLINK], vec![&GET, &PUBLISH]),
            (ErrorKind::ClusterDown, vec![&set, &script(), &UNLINK, &GET], vec![&PUBLISH, &Command::Ping]),
        ] {
            for proof in proofs {
                let refusals = ServerRefusals::default();
                refusals.refuse(&script(), kind, SINGLE, at(1)).unwrap();
                refusals.refuse(&set, kind, SINGLE, at(2)).unwrap();
                for other in &others {
                    assert_eq!(refusals.accept(other, || calm), vec![], "{kind}: {other:?}");
                }
                let early = calm - Duration::from_millis(1);
                assert_eq!(refusals.accept(proof, || early), vec![], "{kind}: one write is still refused");
                let both = [WorkCommand::Set, WorkCommand::Script].map(RefusalChange::Accepted);
                assert_eq!((refusals.accept(proof, || calm), refusals.any()), (both.to_vec(), false));
            }
        }
    }

    #[test]
    fn refusals_that_no_success_can_end_expire() {
        for (command, kind) in [
            (&PUBLISH, ErrorKind::NoPerm),
            (&GET, ErrorKind::Moved),
            (&GET, ErrorKind::WrongType),
            (&script(), ErrorKind::Oom),
        ] {
            let refusals = ServerRefusals::default();
            refusals.refuse(command, kind, SINGLE, at(1)).unwrap();
            refusals.refuse(command, kind, SINGLE, at(9));
            let end = at(9) + REDIS_REFUSAL_EXPIRY;
            for success in [&GET, &Command::Ping] {
                assert_eq!(refusals.accept(success, || end - at(1)), vec![], "{kind}");
            }
            let expired = RefusalChange::Expired(WorkCommand::of(command).unwrap());
            assert_eq!((refusals.accept(&Command::Ping, || end), refusals.any()), (vec![expired], false));
        }
    }

    #[test]
    fn followed_redirections_and_commands_of_the_connection_change_nothing() {
        let refusals = ServerRefusals::default();
        for kind in [ErrorKind::Moved, ErrorKind::Ask, ErrorKind::TryAgain, ErrorKind::Loading] {
            assert_eq!(refusals.refuse(&GET, kind, Redirections::Followed, at(0)), None);
        }
        assert_eq!(refusals.refuse(&Command::Ping, ErrorKind::NoPerm, SINGLE, at(0)), None);
        assert!(!refusals.any());
    }
}
