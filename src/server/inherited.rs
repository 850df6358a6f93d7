//! Listening sockets that a supervisor such as systemd passes to the process (`sd_listen_fds(3)`).
//!
//! Such a socket stays open while one process replaces another, and keeps the queue of connections
//! that no process has accepted yet: a binary is replaced without a refused connection.
//! `LISTEN_FDS` holds the number of sockets, `LISTEN_FDNAMES` their names: `admin` is the admin
//! listener's, any other name is a client listener's. The process takes them only if `LISTEN_PID`
//! names it.

use std::net::TcpListener;

use listenfd::ListenFd;

/// The name of the admin listener's socket.
const ADMIN: &str = "admin";

/// The listening sockets that the process inherited.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// Sockets for clients.
    pub clients: Vec<TcpListener>,
    /// Sockets for operators.
    pub admin: Vec<TcpListener>,
}

impl InheritedSockets {
    /// Takes the sockets of this process. A second call finds none.
    #[expect(
        clippy::disallowed_methods,
        reason = "a supervisor passes it to the process, not to its settings"
    )]
    pub fn of_this_process() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..sockets.len() {
            let name = names.next().unwrap_or_default();
            match sockets.take_tcp_listener(index) {
                Ok(Some(socket)) if name == ADMIN => inherited.admin.push(socket),
                Ok(Some(socket)) => inherited.clients.push(socket),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, name, "the supervisor passed a socket that does not listen")
                }
            }
        }
        inherited
    }
}
