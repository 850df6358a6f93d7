//! The kind of reply that each command has.
//!
//! A matching kind proves nothing; another kind proves that the stream is desynchronised, before a
//! caller has seen it.

use super::reply::Reply;
use crate::labels;

labels! {
    /// The kind of reply that a command has, unless it is refused.
    pub enum ExpectedReply {
        /// A bulk string or nil.
        Value => "value",
        /// `OK`.
        Done => "done",
        /// `OK` or nil.
        DoneOrNot => "done-or-not",
        /// An integer.
        Count => "count",
        /// `PONG`.
        Pong => "pong",
        /// A map, or in RESP2 an array.
        Greeting => "greeting",
        /// The result of a CacheWarp script: a value, nil, or an integer.
        Outcome => "outcome",
        /// An array or nil.
        Listing => "listing",
        /// The reply to `SUBSCRIBE`: a push in RESP3, an array in RESP2.
        Subscription => "subscription",
    }
}

impl ExpectedReply {
    /// Returns whether this can be the reply. Any command may get an error.
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
