//! What each command is answered with.
//!
//! That a reply is of the kind its command has proves nothing; that it is of another kind proves that the
//! stream is shifted, before a caller has seen it.

use super::reply::Reply;
use crate::labels;

labels! {
    /// The kind of reply that a command has if it is not refused. Another kind proves that the stream is
    /// shifted.
    pub enum ExpectedReply {
        /// A bulk string or nothing.
        Value => "value",
        /// `OK`.
        Done => "done",
        /// `OK` or nothing.
        DoneOrNot => "done-or-not",
        /// An integer.
        Count => "count",
        /// `PONG`.
        Pong => "pong",
        /// A map, or in RESP2 an array.
        Greeting => "greeting",
        /// What our scripts return: a value, nothing, or an integer.
        Outcome => "outcome",
        /// An array or nothing.
        Listing => "listing",
        /// What begins a subscription: in RESP3 a push, which is no reply, in RESP2 an array.
        Subscription => "subscription",
    }
}

impl ExpectedReply {
    /// Whether this can be the reply. Any command may be answered by an error.
    pub fn admits(self, reply: &Reply) -> bool {
        match (self, reply) {
            (_, Reply::Error(_)) => true,
            (Self::Value, Reply::Bulk(_) | Reply::Nil) => true,
            (Self::Done, Reply::Simple(text)) => text == "OK",
            (Self::DoneOrNot, Reply::Nil) => true,
            (Self::DoneOrNot, Reply::Simple(text)) => text == "OK",
            (Self::Count, Reply::Integer(_)) => true,
            (Self::Outcome, Reply::Bulk(_) | Reply::Nil | Reply::Integer(_)) => true,
            (Self::Pong, Reply::Simple(text)) => text == "PONG",
            (Self::Greeting, Reply::Map(_) | Reply::Array(_)) => true,
            (Self::Listing, Reply::Array(_) | Reply::Nil) => true,
            (Self::Subscription, Reply::Array(_)) => true,
            _ => false,
        }
    }
}
