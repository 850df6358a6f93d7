//! The Redis protocol without its sockets: bytes in, replies out, and who each reply is for.
//!
//! ```text
//! Command ─► Outbox ─► bytes          what is sent        (command, encode, outbox)
//! bytes ─► Inbox ─► Decoder ─► Frame  what has come       (inbox, scan, decode, reply)
//! Pipeline                            which is whose      (pipeline)
//! Handshake                           how it begins       (handshake)
//! topology                            which server is asked
//! ```
//!
//! Nothing here waits, reads a clock or knows a socket, so that every order of events can be tested. What
//! always holds: a reply is given to the command at the head of the line or to nobody, and after anything
//! that cannot be explained the stream is not read any further.

mod command;
mod credentials;
mod decode;
mod encode;
mod expected;
mod handshake;
mod inbox;
mod length;
mod outbox;
mod pipeline;
mod protocol_error;
mod reply;
mod scan;
pub mod topology;

pub use command::{Command, ScriptName};
pub use credentials::Credentials;
pub use expected::ExpectedReply;
pub use handshake::{Access, Handshake, HandshakeError, HandshakeStep, RedisLogin, RespVersion};
pub use inbox::Inbox;
pub use outbox::Outbox;
pub use pipeline::{
    Arrival, CommandSpec, DesyncError, Pipeline, ReplyDeadlines, ReplyFailure, ReplyTiming, Ticket, Urgency,
    Window, WindowFullError,
};
pub use protocol_error::ProtocolError;
pub use reply::{ErrorKind, ErrorReply, Frame, Reply};
