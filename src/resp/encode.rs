//! Encodes commands as arrays of bulk strings.

use bytes::Bytes;
use itoa::Buffer;

use super::command::{Command, Credentials, ScriptName};
use super::length::DIGITS_MAX;
use super::outbox::Outbox;
use crate::time::millis;

impl Command<'_> {
    /// Appends the command. Large values are shared, everything else is copied once.
    pub fn encode(&self, outbox: &mut Outbox) {
        match *self {
            Self::Get { key } => {
                outbox.text(b"*2\r\n$3\r\nGET\r\n");
                argument(outbox, key);
            }
            Self::Set { key, value, ttl } => {
                outbox.text(b"*5\r\n$3\r\nSET\r\n");
                argument(outbox, key);
                value_argument(outbox, value);
                outbox.text(b"$2\r\nPX\r\n");
                number(outbox, millis(ttl).max(1));
            }
            Self::SetNew { key, value, ttl } => {
                outbox.text(b"*6\r\n$3\r\nSET\r\n");
                argument(outbox, key);
                value_argument(outbox, value);
                outbox.text(b"$2\r\nNX\r\n$2\r\nPX\r\n");
                number(outbox, millis(ttl).max(1));
            }
            Self::Head { key, bytes } => {
                outbox.text(b"*4\r\n$8\r\nGETRANGE\r\n");
                argument(outbox, key);
                outbox.text(b"$1\r\n0\r\n");
                number(outbox, u64::from(bytes).saturating_sub(1));
            }
            Self::Script { script, key, arguments } => {
                outbox.text(b"*");
                outbox.text(Buffer::new().format(4 + arguments.len()).as_bytes());
                match script {
                    ScriptName::Digest(digest) => {
                        outbox.text(b"\r\n$7\r\nEVALSHA\r\n");
                        argument(outbox, digest.as_bytes());
                    }
                    ScriptName::Text(text) => {
                        outbox.text(b"\r\n$4\r\nEVAL\r\n");
                        argument(outbox, text.as_bytes());
                    }
                }
                outbox.text(b"$1\r\n1\r\n");
                argument(outbox, key);
                arguments.iter().for_each(|value| value_argument(outbox, value));
            }
            Self::Publish { channel, message } => {
                outbox.text(b"*3\r\n$7\r\nPUBLISH\r\n");
                argument(outbox, channel);
                argument(outbox, message);
            }
            Self::Subscribe { channels } => {
                outbox.text(b"*");
                outbox.text(Buffer::new().format(1 + channels.len()).as_bytes());
                outbox.text(b"\r\n$9\r\nSUBSCRIBE\r\n");
                channels.iter().for_each(|channel| argument(outbox, channel));
            }
            Self::Track => outbox.text(b"*3\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n"),
            Self::Unlink { key } => {
                outbox.text(b"*2\r\n$6\r\nUNLINK\r\n");
                argument(outbox, key);
            }
            Self::TimeToLive { key } => {
                outbox.text(b"*2\r\n$4\r\nPTTL\r\n");
                argument(outbox, key);
            }
            Self::Ping => outbox.text(b"*1\r\n$4\r\nPING\r\n"),
            Self::Hello { credentials: None } => outbox.text(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
            Self::Hello { credentials: Some(Credentials { user, password }) } => {
                outbox.text(b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n");
                argument(outbox, user.as_bytes());
                argument(outbox, password.expose().as_bytes());
            }
            Self::Auth { credentials: Credentials { user, password } } => {
                if user == Credentials::DEFAULT_USER {
                    outbox.text(b"*2\r\n$4\r\nAUTH\r\n");
                } else {
                    outbox.text(b"*3\r\n$4\r\nAUTH\r\n");
                    argument(outbox, user.as_bytes());
                }
                argument(outbox, password.expose().as_bytes());
            }
            Self::SetName { name } => {
                outbox.text(b"*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n");
                argument(outbox, name.as_bytes());
            }
            Self::Select { database } => {
                outbox.text(b"*2\r\n$6\r\nSELECT\r\n");
                number(outbox, database.into());
            }
            Self::ReadOnly => outbox.text(b"*1\r\n$8\r\nREADONLY\r\n"),
            Self::Asking => outbox.text(b"*1\r\n$6\r\nASKING\r\n"),
            Self::ClusterShards => outbox.text(b"*2\r\n$7\r\nCLUSTER\r\n$6\r\nSHARDS\r\n"),
            Self::ClusterSlots => outbox.text(b"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"),
            Self::ClusterMyId => outbox.text(b"*2\r\n$7\r\nCLUSTER\r\n$4\r\nMYID\r\n"),
            Self::ServerInfo => outbox.text(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n"),
            Self::Role => outbox.text(b"*1\r\n$4\r\nROLE\r\n"),
            Self::Wait { replicas, timeout } => {
                outbox.text(b"*3\r\n$4\r\nWAIT\r\n");
                number(outbox, replicas.into());
                // Zero means no timeout.
                number(outbox, millis(timeout).max(1));
            }
            Self::Trial { name, arguments } => {
                outbox.text(b"*");
                outbox.text(Buffer::new().format(1 + arguments.len()).as_bytes());
                outbox.text(b"\r\n");
                argument(outbox, name.as_bytes());
                arguments.iter().for_each(|word| argument(outbox, word));
            }
            Self::MasterAddress { name } => {
                outbox.text(b"*3\r\n$8\r\nSENTINEL\r\n$23\r\nGET-MASTER-ADDR-BY-NAME\r\n");
                argument(outbox, name.as_bytes());
            }
        }
    }

    /// Returns an upper bound of the encoded size.
    pub fn bytes_max(&self) -> usize {
        ENVELOPE_BYTES_MAX
            + match self {
                Self::Get { key }
                | Self::Unlink { key }
                | Self::TimeToLive { key }
                | Self::Head { key, .. } => key.len(),
                Self::Script { script, key, arguments } => {
                    let (ScriptName::Digest(text) | ScriptName::Text(text)) = script;
                    text.len() + key.len() + arguments.iter().map(argument_bytes_max).sum::<usize>()
                }
                Self::Publish { channel, message } => channel.len() + message.len(),
                Self::Trial { name, arguments } => {
                    name.len() + arguments.iter().map(|word| word.len() + DIGITS_MAX + 5).sum::<usize>()
                }
                Self::Subscribe { channels } => channels.iter().map(argument_bytes_max).sum(),
                Self::Set { key, value, .. } | Self::SetNew { key, value, .. } => key.len() + value.len(),
                Self::Ping
                | Self::Track
                | Self::Select { .. }
                | Self::Hello { credentials: None }
                | Self::ReadOnly
                | Self::Asking
                | Self::ClusterShards
                | Self::ClusterSlots
                | Self::ClusterMyId
                | Self::ServerInfo
                | Self::Wait { .. }
                | Self::Role => 0,
                Self::Hello { credentials: Some(Credentials { user, password }) }
                | Self::Auth { credentials: Credentials { user, password } } => {
                    user.len() + password.expose().len()
                }
                Self::SetName { name } | Self::MasterAddress { name } => name.len(),
            }
    }
}

/// The size without keys, values, names and credentials: the longest is that of a `SET`, with two
/// lengths of twenty digits and a time.
const ENVELOPE_BYTES_MAX: usize = 128;

/// The size of an argument beyond the command's envelope.
fn argument_bytes_max(argument: &Bytes) -> usize {
    argument.len() + DIGITS_MAX + 5
}

/// `$3\r\nkey\r\n`
fn argument(outbox: &mut Outbox, bytes: &[u8]) {
    length(outbox, bytes.len());
    outbox.text(bytes);
    outbox.text(b"\r\n");
}

/// Encodes an argument that may be large, and is then shared.
fn value_argument(outbox: &mut Outbox, value: &Bytes) {
    length(outbox, value.len());
    outbox.value(value);
    outbox.text(b"\r\n");
}

/// `$2\r\n10\r\n`
fn number(outbox: &mut Outbox, number: u64) {
    argument(outbox, Buffer::new().format(number).as_bytes());
}

/// `$3\r\n`
fn length(outbox: &mut Outbox, length: usize) {
    outbox.text(b"$");
    outbox.text(Buffer::new().format(length).as_bytes());
    outbox.text(b"\r\n");
}

#[cfg(test)]
mod tests;
