//! The Redis protocol without sockets: encoding, decoding, and matching replies to commands.
//!
//! ```text
//! Command ─► Outbox ─► bytes               encoding       (command, encode, outbox)
//! bytes ─► Inbox ─► ReplyDecoder ─► Frame  decoding       (inbox, scan, decode, reply)
//! Pipeline                                 matching       (pipeline)
//! Handshake                                the first commands
//! topology                                 routing to servers
//! stream                                   the commands and replies of a stream's consumer
//! ```
//!
//! Nothing here waits, reads a clock or owns a socket, so that every order of events can be tested.
//! **Always:** a reply is delivered to the oldest unanswered command or to none, and after any
//! unexpected input the stream is not read any further.

mod command;
mod decode;
mod encode;
mod expected;
mod handshake;
mod inbox;
mod length;
mod outbox;
mod pipeline;
mod reply;
mod rights;
mod run;
mod scan;
pub mod stream;
pub mod topology;

pub use command::{Command, Credentials, ScriptName};
pub use expected::ExpectedReply;
pub use handshake::{ConnectionAccess, Handshake, HandshakeError, HandshakeStep, RedisLogin, RespVersion};
pub use inbox::Inbox;
pub use outbox::Outbox;
pub use pipeline::{
    CommandSpec, CommandUrgency, DesyncError, FrameMeaning, Pipeline, ReplyDeadlines, ReplyFailure,
    ReplyTiming, Ticket, Window, WindowFullError,
};
pub use reply::{ErrorKind, ErrorReply, Frame, ProtocolError, Reply};
pub use rights::{MissingRights, rights_trials};
pub use run::ServerRun;
