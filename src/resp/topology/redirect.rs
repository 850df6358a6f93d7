//! Redirections: `MOVED 3999 127.0.0.1:6381`, `ASK 3999 127.0.0.1:6381`.
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding>

use super::endpoint::{Endpoint, number};
use super::slot::HashSlot;
use crate::labels;
use crate::resp::reply::{ErrorKind, ErrorReply};

labels! {
    /// The duration of a redirection.
    pub enum RedirectKind {
        /// From now on: `MOVED`.
        Moved => "moved",
        /// For this command, since the slot is migrating: `ASK`.
        Ask => "ask",
    }
}

/// A redirection to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Permanent, or for one command.
    pub way: RedirectKind,
    /// The slot.
    pub slot: HashSlot,
    /// The other server.
    pub to: Endpoint,
}

impl Redirect {
    /// Parses an error reply of the server `from`, if it is a redirection. An empty host means the
    /// host of `from`.
    pub fn parse(error: &ErrorReply, from: &Endpoint) -> Option<Self> {
        let ways = [(ErrorKind::Moved, RedirectKind::Moved), (ErrorKind::Ask, RedirectKind::Ask)];
        let (_, way) = ways.into_iter().find(|(kind, _)| *kind == error.kind)?;
        let mut words = error.text.split(|byte| *byte == b' ').skip(1);
        let slot = HashSlot::new(number(words.next()?)?)?;
        let (host, port) = Endpoint::parse(words.next()?)?;
        let host = if host.is_empty() { from.host.as_bytes() } else { host };
        Some(Self { way, slot, to: Endpoint::new(host, port)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Option<(RedirectKind, usize, String)> {
        let from = Endpoint { host: "asked".to_owned(), port: 7000 };
        let redirect = Redirect::parse(&ErrorReply::new(text.into()), &from)?;
        Some((redirect.way, redirect.slot.index(), redirect.to.to_string()))
    }

    #[test]
    fn redirections_are_parsed() {
        for (text, way, slot, to) in [
            ("MOVED 3999 127.0.0.1:6381", RedirectKind::Moved, 3999, "127.0.0.1:6381"),
            ("ASK 0 127.0.0.1:6381", RedirectKind::Ask, 0, "127.0.0.1:6381"),
            ("MOVED 16383 fd00::1:6381", RedirectKind::Moved, 16383, "[fd00::1]:6381"),
            ("MOVED 1 cache-1.example:6381", RedirectKind::Moved, 1, "cache-1.example:6381"),
            ("MOVED 1 :6381", RedirectKind::Moved, 1, "asked:6381"),
        ] {
            assert_eq!(parse(text), Some((way, slot, to.to_owned())), "{text}");
        }
    }

    #[test]
    fn other_errors_are_no_redirections() {
        for text in [
            "",
            "MOVED",
            "MOVED 1",
            "MOVED 16384 a:1",
            "MOVED -1 a:1",
            "MOVED x a:1",
            "MOVED 1 a",
            "MOVED 1 a:",
            "MOVED 1 a:0",
            "MOVED 1 a:65536",
            "MOVED 1 a:+1",
            "MOVED  1 a:1",
            "MOVEDX 1 a:1",
            "moved 1 a:1",
            "ERR MOVED 1 a:1",
            "CLUSTERDOWN Hash slot not served",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
