//! The client side: listeners, sockets, HTTP connections, drain. Independent of the handler.
//!
//! ```text
//! listener ──► serve ──► connection ──► (proxied) ──► (handshake) ──► http1 | http2 ──► service ──► Handler
//!                            │              │                │  ▲
//!                            │              │                │  └─► parking
//!                          watch ◄────── activity ◄──────────┤
//!                            ▲              ▲                ▼
//!                          pace   io ──► framing          streams
//! ```

mod accepting;
mod activity;
mod answer_holds;
mod client_socket;
mod close;
mod connection;
mod drain;
mod drive;
mod frames;
pub mod framing;
mod handshake;
mod head_refusal;
mod http1;
mod http2;
mod inherited;
mod interims;
mod io;
mod listener;
mod metrics;
mod options;
mod pace;
mod panics;
mod parking;
mod proxied;
pub mod proxy_header;
mod received_frames;
mod sent_frames;
mod serve;
mod service;
mod silent;
mod socket_file;
mod streams;
#[cfg(test)]
mod tests;
mod watch;

pub use drain::Shutdown;
pub use handshake::open_tls;
pub use inherited::InheritedSockets;
pub use listener::{ListenError, WorkerListener};
pub use metrics::{ConnectionRefusal, HttpProtocol};
pub use options::{AddressSharing, Options, SocketOptions, WhenFull};
pub use serve::{DrainOutcome, serve};
pub use service::{BodyFailure, ConnectionPeer, Handler, HandlerReply, ReplyFuture};
