//! One connection: dialling, the handshake, the callers' link, and the task that owns the socket.

mod blocking;
mod control;
mod dial;
mod encryption;
mod handshake;
mod link;
mod login_source;
mod replicas;
mod task;

pub use blocking::{BlockingConnection, BlockingError};
pub use control::Replication;
pub(super) use control::{ControlConnection, ControlConnections, ControlError};
pub(super) use dial::Dialer;
#[cfg(test)]
pub(super) use dial::RedisSocket;
pub(super) use encryption::TlsSource;
pub(super) use handshake::{
    GreetedSocket, Subscription, TrackingSetup, enable_tracking, greet, node_id, try_rights,
};
pub(super) use link::{Link, PendingReply};
pub(super) use login_source::LoginSource;
pub use login_source::check_password_file;
pub(super) use task::Connection;
