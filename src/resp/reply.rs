//! What a server says.

use bytes::Bytes;

use crate::labels;

/// A frame from the server: the answer to a command, or news that answers nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The answer to the oldest command.
    Reply(Reply),
    /// RESP3 out-of-band data. It never answers a command.
    Push(Vec<Reply>),
}

/// A reply, of RESP2 or RESP3. Text and values are slices of the buffer that they were read into.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// There is nothing: `_`, `$-1` and `*-1` alike.
    Nil,
    /// A status, such as `OK`.
    Simple(Bytes),
    /// A value. Verbatim strings too, without their format.
    Bulk(Bytes),
    /// A 64-bit integer.
    Integer(i64),
    /// A floating point number.
    Double(f64),
    /// True or false.
    Boolean(bool),
    /// An integer of more than 64 bits, in decimal.
    BigNumber(Bytes),
    /// Several replies. Sets too, in no particular order.
    Array(Vec<Self>),
    /// Pairs, in no particular order.
    Map(Vec<(Self, Self)>),
    /// The command was refused.
    Error(ErrorReply),
}

/// Why the server refused a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// What it means for us.
    pub kind: ErrorKind,
    /// The whole line. Not for the log: a server quotes the arguments of a command that it does not know,
    /// passwords too.
    pub text: Bytes,
}

labels! {
    /// The refusals that mean different things to us, by the word that a server's error begins with.
    pub enum ErrorKind {
        /// The server is reading its data from disk.
        Loading => "loading",
        /// It is a replica and does not write.
        ReadOnly => "read-only",
        /// It is at its memory limit and may not evict.
        Oom => "oom",
        /// It cannot persist, and is configured to refuse writes then.
        Misconfigured => "misconf",
        /// It wants a password.
        NoAuth => "no-auth",
        /// It wants another password or user.
        WrongPass => "wrong-pass",
        /// The user may not do this.
        NoPerm => "no-perm",
        /// The key holds something that is not a string, so it is not ours.
        WrongType => "wrong-type",
        /// A script keeps it busy.
        Busy => "busy",
        /// It is a replica that has lost its master.
        MasterDown => "master-down",
        /// It does not speak the protocol that was asked for.
        NoProto => "no-proto",
        /// It is too old, or too restricted, to know the command.
        UnknownCommand => "unknown-command",
        /// It has not seen this script, or has forgotten it.
        NoScript => "no-script",
        /// It has as many clients as it accepts.
        MaxClients => "max-clients",
        /// Another server of the cluster has the key.
        Moved => "moved",
        /// Another server of the cluster has the key by now, perhaps.
        Ask => "ask",
        /// The key is on its way to another server of the cluster.
        TryAgain => "try-again",
        /// The cluster has nobody for the key.
        ClusterDown => "cluster-down",
        /// None of these.
        Other => "other",
    }
}

/// How an error line begins, and what it means. Codes are matched as whole words, sentences by their
/// beginning.
const ERRORS: &[(&[u8], ErrorKind)] = &[
    (b"LOADING ", ErrorKind::Loading),
    (b"READONLY ", ErrorKind::ReadOnly),
    (b"OOM ", ErrorKind::Oom),
    (b"MISCONF ", ErrorKind::Misconfigured),
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
    (b"ERR max number of clients", ErrorKind::MaxClients),
];

impl ErrorReply {
    /// An error line, without its type byte and line end.
    pub fn new(text: Bytes) -> Self {
        let said = in_a_script(&text).unwrap_or(&text);
        let kind =
            ERRORS.iter().find(|(start, _)| begins(said, start)).map_or(ErrorKind::Other, |&(_, kind)| kind);
        Self { kind, text }
    }
}

/// What a command in a script was refused with. Before Redis 7 it stands behind where that was, and not at the beginning:
/// `ERR Error running script (call to f_82cd…): @user_script:1: @user_script: 1: -OOM command not allowed …`.
fn in_a_script(text: &[u8]) -> Option<&[u8]> {
    const BEFORE_CODE: &[u8] = b": -";
    let told = text.strip_prefix(b"ERR Error running script")?;
    let at = told.windows(BEFORE_CODE.len()).position(|part| part == BEFORE_CODE)?;
    told.get(at + BEFORE_CODE.len()..)
}

/// Whether `text` begins with `start`. A code may also be all there is.
fn begins(text: &[u8], start: &[u8]) -> bool {
    text.starts_with(start) || start.strip_suffix(b" ") == Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_known_by_how_they_begin() {
        let rows: &[(&'static str, ErrorKind)] = &[
            ("LOADING Redis is loading the dataset in memory", ErrorKind::Loading),
            ("READONLY You can't write against a read only replica.", ErrorKind::ReadOnly),
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Oom),
            ("MISCONF Redis is configured to save RDB snapshots", ErrorKind::Misconfigured),
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
