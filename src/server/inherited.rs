//! Listening sockets that somebody else has made: systemd, or a supervisor that does as it does
//! (`sd_listen_fds(3)`).
//!
//! Such a socket stays open while one process hands over to the next, and with it the queue of
//! connections that nobody has accepted yet: a binary is swapped without one refused. `LISTEN_FDS`
//! says how many there are, `LISTEN_FDNAMES` what each is for: `admin` is the operators', any other
//! name the clients'. They are taken only where `LISTEN_PID` names this process.

use std::net::TcpListener;

use listenfd::ListenFd;

/// What the operators' socket is called.
const ADMIN: &str = "admin";

/// The sockets that this process was started with.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// For clients.
    pub clients: Vec<TcpListener>,
    /// For operators.
    pub admin: Vec<TcpListener>,
}

impl InheritedSockets {
    /// Takes them. A second call finds none.
    #[expect(
        clippy::disallowed_methods,
        reason = "a supervisor says it to the process and not to its settings"
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
                Err(error) => tracing::warn!(%error, name, "a socket was passed that is none to listen on"),
            }
        }
        inherited
    }
}
