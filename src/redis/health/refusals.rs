//! The commands that a server refuses although it answers: it is full, a replica, or the user lacks
//! a right.
//!
//! The breaker does not open for them, because other commands of the same server succeed, and a
//! refusal costs no more than a reply. So this state is apart from the breaker: the log has one
//! line per change, and `/health` says `refusing`.
//!
//! Every worker reads a server's state for each reply. It lies in atomics that change only when the
//! state does, so that a reply costs one load.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::label::Label;
use crate::labels;
use crate::limits::REDIS_REFUSAL_CALM;
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

/// Returns the advice to the operator; `None` if the refusal says nothing about the server's state:
/// the client obeys a redirection, another type concerns one key, and the breaker reports the rest.
fn advice(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Oom => Some("Redis is full: raise maxmemory, or set maxmemory-policy to allkeys-lru"),
        ErrorKind::ReadOnly => {
            Some("the server is a replica: let redis_url name the master or the sentinels")
        }
        ErrorKind::Misconfigured => {
            Some("Redis cannot write its snapshot: look at its log and the space on its disk")
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
        ErrorKind::Other => Some("look at the log of Redis"),
        ErrorKind::Loading
        | ErrorKind::Busy
        | ErrorKind::MaxClients
        | ErrorKind::WrongPass
        | ErrorKind::WrongType
        | ErrorKind::NoProto
        | ErrorKind::NoScript
        | ErrorKind::BusyGroup
        | ErrorKind::NoGroup
        | ErrorKind::Moved
        | ErrorKind::Ask
        | ErrorKind::TryAgain => None,
    }
}

/// A change of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::redis) enum RefusalChange {
    /// The server refuses this command, for another reason than before.
    Refused(WorkCommand, ErrorKind, &'static str),
    /// The server accepts this command again.
    Accepted(WorkCommand),
}

/// The refused commands of one server, shared by all workers.
#[derive(Debug, Default)]
pub(in crate::redis) struct ServerRefusals([RefusalCell; WorkCommand::ALL.len()]);

/// The refusals of one command.
#[derive(Debug, Default)]
struct RefusalCell {
    /// The index of the last refusal's [`ErrorKind`] plus one; zero while the command is accepted.
    kind: AtomicU64,
    /// The time of the last refusal in milliseconds.
    last: AtomicU64,
}

impl ServerRefusals {
    /// Records an accepted command. `now` counts from the start of the process and is read only if
    /// the command was refused before.
    pub(in crate::redis) fn accept(
        &self,
        command: &Command<'_>,
        now: impl FnOnce() -> Duration,
    ) -> Option<RefusalChange> {
        let work = WorkCommand::of(command)?;
        let cell = self.0.get(work.index())?;
        let kind = cell.kind.load(Ordering::Relaxed);
        if kind == 0 {
            return None;
        }
        let calm = millis(now()).saturating_sub(cell.last.load(Ordering::Relaxed));
        let is_over = calm >= millis(REDIS_REFUSAL_CALM)
            && cell.kind.compare_exchange(kind, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        is_over.then_some(RefusalChange::Accepted(work))
    }

    /// Records a refused command.
    pub(in crate::redis) fn refuse(
        &self,
        command: &Command<'_>,
        kind: ErrorKind,
        now: Duration,
    ) -> Option<RefusalChange> {
        let advice = advice(kind)?;
        let work = WorkCommand::of(command)?;
        let cell = self.0.get(work.index())?;
        cell.last.store(millis(now), Ordering::Relaxed);
        let word = kind.index() as u64 + 1;
        (cell.kind.swap(word, Ordering::Relaxed) != word)
            .then_some(RefusalChange::Refused(work, kind, advice))
    }

    /// Returns whether the server refuses any command.
    pub(in crate::redis) fn any(&self) -> bool {
        self.0.iter().any(|cell| cell.kind.load(Ordering::Relaxed) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Command<'static> = Command::Get { key: b"k" };
    const UNLINK: Command<'static> = Command::Unlink { key: b"k" };

    #[test]
    fn each_change_is_reported_once() {
        let refusals = ServerRefusals::default();
        let at = Duration::from_secs;
        assert_eq!((refusals.accept(&UNLINK, || at(0)), refusals.any()), (None, false));
        let refused = |kind| RefusalChange::Refused(WorkCommand::Unlink, kind, advice(kind).unwrap());
        assert_eq!(refusals.refuse(&UNLINK, ErrorKind::Oom, at(1)), Some(refused(ErrorKind::Oom)));
        assert_eq!((refusals.refuse(&UNLINK, ErrorKind::Oom, at(2)), refusals.any()), (None, true));
        assert_eq!(refusals.refuse(&UNLINK, ErrorKind::NoPerm, at(3)), Some(refused(ErrorKind::NoPerm)));
        let calm = at(3) + REDIS_REFUSAL_CALM;
        assert_eq!(refusals.accept(&GET, || calm), None, "another command");
        let early = calm - Duration::from_millis(1);
        assert_eq!((refusals.accept(&UNLINK, || early), refusals.any()), (None, true));
        let accepted = Some(RefusalChange::Accepted(WorkCommand::Unlink));
        assert_eq!((refusals.accept(&UNLINK, || calm), refusals.any()), (accepted, false));
        assert_eq!(refusals.accept(&UNLINK, || calm), None);
    }

    #[test]
    fn redirections_and_commands_of_the_connection_change_nothing() {
        let refusals = ServerRefusals::default();
        for kind in [ErrorKind::Moved, ErrorKind::Ask, ErrorKind::Loading, ErrorKind::WrongType] {
            assert_eq!(refusals.refuse(&GET, kind, Duration::ZERO), None);
        }
        assert_eq!(refusals.refuse(&Command::Ping, ErrorKind::NoPerm, Duration::ZERO), None);
        assert!(!refusals.any());
    }
}
