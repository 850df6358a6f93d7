//! What we say, and what is to be known of it before it is said.

use std::time::Duration;

use bytes::Bytes;

use super::credentials::Credentials;
use super::expected::ExpectedReply;
use super::pipeline::Urgency;

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
        /// Any bytes; kept, not copied, where it is large.
        value: &'a Bytes,
        /// Rounded down to milliseconds, and up to one: a server refuses zero.
        ttl: Duration,
    },
    /// `SET key value NX PX milliseconds`: only where there is nothing.
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
        /// How many bytes from the beginning of the value; at least one.
        bytes: u32,
    },
    /// `EVALSHA script 1 key argument…`, or `EVAL`.
    Script {
        /// By its text or its digest.
        script: ScriptName<'a>,
        /// The one key that it touches.
        key: &'a [u8],
        /// Any bytes each; kept, not copied, where they are large.
        arguments: &'a [Bytes],
    },
    /// `PUBLISH channel message`
    Publish {
        /// Any bytes.
        channel: &'a [u8],
        /// Any bytes.
        message: &'a [u8],
    },
    /// `SUBSCRIBE channel…`. In RESP3 it is answered by news and not by a reply: only for a connection's beginning.
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
    /// `PING`
    Ping,
    /// `HELLO 3 [AUTH user password]`
    Hello {
        /// Sent if the server may ask for them.
        credentials: Option<&'a Credentials>,
    },
    /// `AUTH [user] password`, for servers without `HELLO`.
    Auth {
        /// The user `default` is not named: servers that know no `HELLO` may know no users.
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
    /// `READONLY`: this connection's reads may be answered by a replica.
    ReadOnly,
    /// `ASKING`: the next command may be about a slot that is on its way here.
    Asking,
    /// `CLUSTER SHARDS`
    ClusterShards,
    /// `CLUSTER SLOTS`
    ClusterSlots,
    /// `CLUSTER MYID`
    ClusterMyId,
    /// `ROLE`
    Role,
    /// `WAIT replicas milliseconds`. The connection answers nothing else meanwhile.
    Wait {
        /// How many are to have what was written.
        replicas: u32,
        /// For how long at most.
        timeout: Duration,
    },
    /// `SENTINEL GET-MASTER-ADDR-BY-NAME name`
    MasterAddress {
        /// Under which the sentinels watch the master.
        name: &'a str,
    },
}

/// How a script is called.
#[derive(Clone, Copy, Debug)]
pub enum ScriptName<'a> {
    /// By the hexadecimal SHA-1 of its text: the server must have seen it.
    Digest(&'a str),
    /// By its text.
    Text(&'a str),
}

impl Command<'_> {
    /// The command's first word.
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
            Self::Ping => "PING",
            Self::Hello { .. } => "HELLO",
            Self::Auth { .. } => "AUTH",
            Self::SetName { .. } => "CLIENT",
            Self::Select { .. } => "SELECT",
            Self::ReadOnly => "READONLY",
            Self::Asking => "ASKING",
            Self::ClusterShards | Self::ClusterSlots | Self::ClusterMyId => "CLUSTER",
            Self::Role => "ROLE",
            Self::Wait { .. } => "WAIT",
            Self::MasterAddress { .. } => "SENTINEL",
        }
    }

    /// The key that it is about, by which a cluster finds the server that has it. No command has two.
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::SetNew { key, .. }
            | Self::Head { key, .. }
            | Self::Script { key, .. }
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
            | Self::Role
            | Self::Wait { .. }
            | Self::MasterAddress { .. } => None,
        }
    }

    /// Whether a request waits for the reply. A write that a request begins goes on beside it.
    pub fn urgency(&self) -> Urgency {
        if matches!(self, Self::Get { .. }) { Urgency::Interactive } else { Urgency::Background }
    }

    /// What a server answers, if it does not refuse.
    pub fn expected(&self) -> ExpectedReply {
        match self {
            Self::Get { .. } | Self::Head { .. } | Self::ClusterMyId => ExpectedReply::Value,
            Self::Script { .. } => ExpectedReply::Outcome,
            Self::SetNew { .. } => ExpectedReply::DoneOrNot,
            Self::Publish { .. } | Self::Wait { .. } => ExpectedReply::Count,
            Self::Track
            | Self::Set { .. }
            | Self::Auth { .. }
            | Self::SetName { .. }
            | Self::Select { .. }
            | Self::ReadOnly
            | Self::Asking => ExpectedReply::Done,
            Self::Unlink { .. } => ExpectedReply::Count,
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
    use crate::secret::Secret;

    #[test]
    fn commands_about_a_key_name_it() {
        let value = Bytes::from_static(b"v");
        for command in [
            Command::Get { key: b"k" },
            Command::Set { key: b"k", value: &value, ttl: Duration::ZERO },
            Command::Unlink { key: b"k" },
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
