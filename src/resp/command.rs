//! The commands that CacheWarp sends, and the properties that routing and matching need.

use std::time::Duration;

use bytes::Bytes;

use super::expected::ExpectedReply;
use super::pipeline::CommandUrgency;
use crate::secret::Secret;

/// The arguments of `AUTH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// An ACL user; [`Credentials::DEFAULT_USER`] if the URL names none.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

impl Credentials {
    /// The user of a connection without a login.
    pub const DEFAULT_USER: &'static str = "default";
}

/// A command and its arguments. <https://redis.io/docs/latest/commands/> has a page for each.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// `GET key`
    Get {
        /// Any bytes.
        key: &'a [u8],
    },
    /// `SET key value PX milliseconds`
    Set {
        /// Any bytes.
        key: &'a [u8],
        /// Any bytes; shared, not copied, if large.
        value: &'a Bytes,
        /// Rounded down to milliseconds, and up to one: a server refuses zero.
        ttl: Duration,
    },
    /// `SET key value NX PX milliseconds`: only if the key does not exist.
    SetNew {
        /// Any bytes.
        key: &'a [u8],
        /// Any bytes.
        value: &'a Bytes,
        /// As in [`Set`](Self::Set).
        ttl: Duration,
    },
    /// `GETRANGE key 0 end`
    Head {
        /// Any bytes.
        key: &'a [u8],
        /// The length of the prefix to read; at least one.
        bytes: u32,
    },
    /// `EVALSHA script 1 key argument…`, or `EVAL`.
    Script {
        /// The script, by its text or its digest.
        script: ScriptName<'a>,
        /// The only key that it accesses.
        key: &'a [u8],
        /// Any bytes each; shared, not copied, if large.
        arguments: &'a [Bytes],
    },
    /// `PUBLISH channel message`
    Publish {
        /// Any bytes.
        channel: &'a [u8],
        /// Any bytes.
        message: &'a [u8],
    },
    /// `SUBSCRIBE channel…`. RESP3 answers it with a push and not with a reply: only for the start
    /// of a connection.
    Subscribe {
        /// Any bytes each.
        channels: &'a [Bytes],
    },
    /// `CLIENT TRACKING ON`
    Track,
    /// `UNLINK key`
    Unlink {
        /// Any bytes.
        key: &'a [u8],
    },
    /// `PTTL key`
    TimeToLive {
        /// Any bytes.
        key: &'a [u8],
    },
    /// `PING`
    Ping,
    /// `HELLO 3 [AUTH user password]`
    Hello {
        /// Sent if the server may require them.
        credentials: Option<&'a Credentials>,
    },
    /// `AUTH [user] password`, for servers without `HELLO`.
    Auth {
        /// The user `default` is not named: servers without `HELLO` may have no users.
        credentials: &'a Credentials,
    },
    /// `CLIENT SETNAME name`
    SetName {
        /// Without spaces.
        name: &'a str,
    },
    /// `SELECT database`
    Select {
        /// From 0.
        database: u32,
    },
    /// `READONLY`: a replica may answer this connection's reads.
    ReadOnly,
    /// `ASKING`: the next command may access a slot that is migrating to this server.
    Asking,
    /// `CLUSTER SHARDS`
    ClusterShards,
    /// `CLUSTER SLOTS`
    ClusterSlots,
    /// `CLUSTER MYID`
    ClusterMyId,
    /// `INFO server`
    ServerInfo,
    /// `ROLE`
    Role,
    /// `WAIT replicas milliseconds`. It blocks the connection.
    Wait {
        /// The number of replicas that must acknowledge the writes.
        replicas: u32,
        /// The longest wait.
        timeout: Duration,
    },
    /// A command without effect, whose reply shows whether the user may send it.
    Trial {
        /// The command's name.
        name: &'static str,
        /// Any bytes each.
        arguments: &'a [&'a [u8]],
    },
    /// `SENTINEL GET-MASTER-ADDR-BY-NAME name`
    MasterAddress {
        /// The master's name at the sentinels.
        name: &'a str,
    },
}

/// The name of a script.
#[derive(Clone, Copy, Debug)]
pub enum ScriptName<'a> {
    /// The hexadecimal SHA-1 of its text; the server must have cached it.
    Digest(&'a str),
    /// The text itself.
    Text(&'a str),
}

impl Command<'_> {
    /// Returns the command's first word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Get { .. } => "GET",
            Self::Set { .. } | Self::SetNew { .. } => "SET",
            Self::Head { .. } => "GETRANGE",
            Self::Script { script: ScriptName::Digest(_), .. } => "EVALSHA",
            Self::Script { script: ScriptName::Text(_), .. } => "EVAL",
            Self::Publish { .. } => "PUBLISH",
            Self::Subscribe { .. } => "SUBSCRIBE",
            Self::Track => "CLIENT",
            Self::Unlink { .. } => "UNLINK",
            Self::TimeToLive { .. } => "PTTL",
            Self::Ping => "PING",
            Self::Hello { .. } => "HELLO",
            Self::Auth { .. } => "AUTH",
            Self::SetName { .. } => "CLIENT",
            Self::Select { .. } => "SELECT",
            Self::ReadOnly => "READONLY",
            Self::Asking => "ASKING",
            Self::ClusterShards | Self::ClusterSlots | Self::ClusterMyId => "CLUSTER",
            Self::ServerInfo => "INFO",
            Self::Role => "ROLE",
            Self::Wait { .. } => "WAIT",
            Self::Trial { name, .. } => name,
            Self::MasterAddress { .. } => "SENTINEL",
        }
    }

    /// Returns the key that routes the command in a cluster. No command has two.
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::SetNew { key, .. }
            | Self::Head { key, .. }
            | Self::Script { key, .. }
            | Self::TimeToLive { key }
            | Self::Unlink { key } => Some(key),
            Self::Publish { .. }
            | Self::Subscribe { .. }
            | Self::Track
            | Self::Ping
            | Self::Hello { .. }
            | Self::Auth { .. }
            | Self::SetName { .. }
            | Self::Select { .. }
            | Self::ReadOnly
            | Self::Asking
            | Self::ClusterShards
            | Self::ClusterSlots
            | Self::ClusterMyId
            | Self::ServerInfo
            | Self::Role
            | Self::Wait { .. }
            | Self::Trial { .. }
            | Self::MasterAddress { .. } => None,
        }
    }

    /// Returns whether the deadline follows the server's latency, as that of a `GET` does. Every
    /// other command has all of its own timeout.
    pub fn urgency(&self) -> CommandUrgency {
        if matches!(self, Self::Get { .. }) { CommandUrgency::Interactive } else { CommandUrgency::Ordinary }
    }

    /// Returns the kind of its reply, unless the server refuses it.
    pub fn expected(&self) -> ExpectedReply {
        match self {
            Self::Get { .. } | Self::Head { .. } | Self::ClusterMyId | Self::ServerInfo => {
                ExpectedReply::Value
            }
            Self::Script { .. } | Self::Trial { .. } => ExpectedReply::Outcome,
            Self::SetNew { .. } => ExpectedReply::DoneOrNot,
            Self::Publish { .. } | Self::Wait { .. } => ExpectedReply::Count,
            Self::Track
            | Self::Set { .. }
            | Self::Auth { .. }
            | Self::SetName { .. }
            | Self::Select { .. }
            | Self::ReadOnly
            | Self::Asking => ExpectedReply::Done,
            Self::Unlink { .. } | Self::TimeToLive { .. } => ExpectedReply::Count,
            Self::Ping => ExpectedReply::Pong,
            Self::Hello { .. } => ExpectedReply::Greeting,
            Self::ClusterShards | Self::ClusterSlots | Self::Role | Self::MasterAddress { .. } => {
                ExpectedReply::Listing
            }
            Self::Subscribe { .. } => ExpectedReply::Subscription,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_about_a_key_name_it() {
        let value = Bytes::from_static(b"v");
        for command in [
            Command::Get { key: b"k" },
            Command::Set { key: b"k", value: &value, ttl: Duration::ZERO },
            Command::Unlink { key: b"k" },
            Command::TimeToLive { key: b"k" },
            Command::Head { key: b"k", bytes: 1 },
            Command::Script { script: ScriptName::Text("return"), key: b"k", arguments: &[] },
        ] {
            assert_eq!(command.key(), Some(&b"k"[..]), "{command:?}");
        }
        for command in [Command::Ping, Command::SetName { name: "k" }, Command::Select { database: 1 }] {
            assert_eq!(command.key(), None, "{command:?}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let credentials = Credentials { user: "ann".to_owned(), password: Secret::new("hunter2") };
        let command = Command::Auth { credentials: &credentials };
        assert!(!format!("{command:?}").contains("hunter2"));
    }
}
