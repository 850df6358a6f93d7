//! The replies of a server.

use bytes::Bytes;

use crate::labels;

/// A frame from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The reply to the oldest command.
    Reply(Reply),
    /// RESP3 out-of-band data. It never answers a command.
    Push(Vec<Reply>),
}

/// A reply of RESP2 or RESP3. Text and values are slices of the read buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nil: `_`, `$-1` and `*-1` alike.
    Nil,
    /// A status, such as `OK`.
    Simple(Bytes),
    /// A bulk string, or a verbatim string without its format.
    Bulk(Bytes),
    /// A 64-bit integer.
    Integer(i64),
    /// A floating point number.
    Double(f64),
    /// A boolean.
    Boolean(bool),
    /// An integer of more than 64 bits, in decimal.
    BigNumber(Bytes),
    /// An array, or a set in no particular order.
    Array(Vec<Self>),
    /// A map, in no particular order.
    Map(Vec<(Self, Self)>),
    /// An error reply.
    Error(ErrorReply),
}

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The whole line. Never log it: a server quotes the arguments of an unknown command, including
    /// passwords.
    pub text: Bytes,
}

labels! {
    /// The kinds of error replies that are handled differently, by the first word of the error.
    pub enum ErrorKind {
        /// The server is loading its data from disk.
        Loading => "loading",
        /// The server is a replica.
        ReadOnly => "read-only",
        /// The server is at its memory limit and may not evict.
        Oom => "oom",
        /// The server cannot persist, and is configured to refuse writes then.
        Misconfigured => "misconf",
        /// The server has too few replicas, and is configured to refuse writes then.
        NoReplicas => "no-replicas",
        /// The server requires a password.
        NoAuth => "no-auth",
        /// The password or user is wrong.
        WrongPass => "wrong-pass",
        /// The user lacks the permission.
        NoPerm => "no-perm",
        /// The key holds another type than a string, so it is not CacheWarp's.
        WrongType => "wrong-type",
        /// A script keeps the server busy.
        Busy => "busy",
        /// The server is a replica without its master.
        MasterDown => "master-down",
        /// The server does not support the protocol version.
        NoProto => "no-proto",
        /// The server is too old or too restricted to know the command.
        UnknownCommand => "unknown-command",
        /// The script is not in the server's cache.
        NoScript => "no-script",
        /// The consumer group exists.
        BusyGroup => "busy-group",
        /// The stream does not exist, or does not have the consumer group.
        NoGroup => "no-group",
        /// The server has its maximum of clients.
        MaxClients => "max-clients",
        /// Another server of the cluster has the key.
        Moved => "moved",
        /// Another server of the cluster may have the key already.
        Ask => "ask",
        /// The key is migrating to another server of the cluster.
        TryAgain => "try-again",
        /// No server of the cluster has the key.
        ClusterDown => "cluster-down",
        /// Any other error.
        Other => "other",
    }
}

/// The prefixes of error lines. A code matches as a whole word, a sentence by its beginning.
const ERRORS: &[(&[u8], ErrorKind)] = &[
    (b"LOADING ", ErrorKind::Loading),
    (b"READONLY ", ErrorKind::ReadOnly),
    (b"OOM ", ErrorKind::Oom),
    (b"MISCONF ", ErrorKind::Misconfigured),
    (b"NOREPLICAS ", ErrorKind::NoReplicas),
    (b"NOAUTH ", ErrorKind::NoAuth),
    (b"WRONGPASS ", ErrorKind::WrongPass),
    // Redis 5 and older.
    (b"ERR invalid password", ErrorKind::WrongPass),
    (b"NOPERM ", ErrorKind::NoPerm),
    (b"WRONGTYPE ", ErrorKind::WrongType),
    (b"BUSY ", ErrorKind::Busy),
    (b"MASTERDOWN ", ErrorKind::MasterDown),
    (b"NOPROTO ", ErrorKind::NoProto),
    (b"MOVED ", ErrorKind::Moved),
    (b"ASK ", ErrorKind::Ask),
    (b"TRYAGAIN ", ErrorKind::TryAgain),
    (b"CLUSTERDOWN ", ErrorKind::ClusterDown),
    (b"ERR unknown command", ErrorKind::UnknownCommand),
    (b"NOSCRIPT ", ErrorKind::NoScript),
    (b"BUSYGROUP ", ErrorKind::BusyGroup),
    (b"NOGROUP ", ErrorKind::NoGroup),
    (b"ERR max number of clients", ErrorKind::MaxClients),
];

impl ErrorReply {
    /// Parses an error line, without its type byte and line end.
    pub fn new(text: Bytes) -> Self {
        let code = in_a_script(&text).unwrap_or(&text);
        let kind =
            ERRORS.iter().find(|(start, _)| begins(code, start)).map_or(ErrorKind::Other, |&(_, kind)| kind);
        Self { kind, text }
    }
}

/// Returns the error of a command in a script. Before Redis 7 it follows the location, instead of
/// leading the line: `ERR Error running script (call to f_82cd…): @user_script:1: @user_script: 1:
/// -OOM command not allowed …`.
fn in_a_script(text: &[u8]) -> Option<&[u8]> {
    const BEFORE_CODE: &[u8] = b": -";
    let rest = text.strip_prefix(b"ERR Error running script")?;
    let at = rest.windows(BEFORE_CODE.len()).position(|part| part == BEFORE_CODE)?;
    rest.get(at + BEFORE_CODE.len()..)
}

/// Returns whether `text` begins with `start`, or is the code alone.
fn begins(text: &[u8], start: &[u8]) -> bool {
    text.starts_with(start) || start.strip_suffix(b" ") == Some(text)
}

labels! {
    /// The reason that bytes are no valid reply.
    pub enum ProtocolError {
        /// No frame begins with this byte.
        Type => "type",
        /// A length that is not a number, too large, or negative without a meaning.
        Length => "length",
        /// A line, value or aggregate does not end at its announced length.
        End => "end",
        /// A streamed string or aggregate, which Redis does not send.
        Streamed => "streamed",
        /// A line is too long.
        LineBytes => "line-bytes",
        /// A reply is too large.
        Bytes => "bytes",
        /// A reply is nested too deeply.
        Depth => "depth",
        /// A reply has too many elements.
        Elements => "elements",
        /// The content of an element does not match its type.
        Content => "content",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_recognised_by_their_prefix() {
        let rows: &[(&'static str, ErrorKind)] = &[
            ("LOADING Redis is loading the dataset in memory", ErrorKind::Loading),
            ("READONLY You can't write against a read only replica.", ErrorKind::ReadOnly),
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Oom),
            ("MISCONF Redis is configured to save RDB snapshots", ErrorKind::Misconfigured),
            ("NOREPLICAS Not enough good replicas to write.", ErrorKind::NoReplicas),
            ("NOAUTH Authentication required.", ErrorKind::NoAuth),
            ("WRONGPASS invalid username-password pair or user is disabled.", ErrorKind::WrongPass),
            ("ERR invalid password", ErrorKind::WrongPass),
            ("NOPERM this user has no permissions", ErrorKind::NoPerm),
            ("WRONGTYPE Operation against a key", ErrorKind::WrongType),
            ("BUSY Redis is busy running a script.", ErrorKind::Busy),
            ("MASTERDOWN Link with MASTER is down", ErrorKind::MasterDown),
            ("NOPROTO unsupported protocol version", ErrorKind::NoProto),
            ("MOVED 3999 127.0.0.1:6381", ErrorKind::Moved),
            ("ASK 3999 127.0.0.1:6381", ErrorKind::Ask),
            ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::TryAgain),
            ("CLUSTERDOWN Hash slot not served", ErrorKind::ClusterDown),
            ("ERR unknown command `HELLO`, with args beginning with: `3`, ", ErrorKind::UnknownCommand),
            ("ERR max number of clients reached", ErrorKind::MaxClients),
            ("NOSCRIPT No matching script. Please use EVAL.", ErrorKind::NoScript),
            (
                "ERR Error running script (call to f_82cd): @user_script:1: @user_script: 1: -OOM command not allowed",
                ErrorKind::Oom,
            ),
            (
                "ERR Error running script (call to f_82cd): @user_script:1: @user_script: 1: -READONLY You can't write",
                ErrorKind::ReadOnly,
            ),
            ("ERR Error running script (call to f_82cd): @user_script:1: attempt to index", ErrorKind::Other),
            ("ERR syntax error: -OOM ", ErrorKind::Other),
            ("LOADING", ErrorKind::Loading),
            ("LOADINGS of things", ErrorKind::Other),
            ("ERR syntax error", ErrorKind::Other),
            ("", ErrorKind::Other),
        ];
        for &(text, kind) in rows {
            assert_eq!(ErrorReply::new(Bytes::from_static(text.as_bytes())).kind, kind, "{text}");
        }
    }
}
