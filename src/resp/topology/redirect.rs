//! A server says that another one has the key: `MOVED 3999 127.0.0.1:6381`, `ASK 3999 127.0.0.1:6381`.
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding>

use super::endpoint::{Endpoint, number};
use super::slot::HashSlot;
use crate::labels;
use crate::resp::{ErrorKind, ErrorReply};

labels! {
    /// For how long the other server has it.
    pub enum RedirectKind {
        /// From now on: `MOVED`.
        Moved => "moved",
        /// This time, because the slot is on its way there: `ASK`.
        Ask => "ask",
    }
}

/// Where to send a command instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// For how long.
    pub way: RedirectKind,
    /// Of which slot.
    pub slot: HashSlot,
    /// Where.
    pub to: Endpoint,
}

impl Redirect {
    /// What an error reply of the server `from` says, if it is a redirection. A server that does not know the
    /// other's host leaves it out, and means its own.
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
    fn where_to() {
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
    fn nowhere() {
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
