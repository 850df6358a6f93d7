//! Listening sockets.
//!
//! Each worker has its own socket on one address (`SO_REUSEPORT`), so that the kernel distributes
//! connections and no worker wakes for another's. That option has a trap: a second process of one
//! user that sets it gets half of the connections without an error on either side. The server
//! therefore first binds the address without the option, which fails if another socket listens
//! there; with `listen_reuse_port` it skips that check, so that a new process can listen before the
//! old one stops.
//!
//! Closing a socket resets the connections that no process has accepted.
//! [`InheritedSockets`](super::InheritedSockets) stay open in the supervisor; for its own sockets,
//! `serve.rs` accepts the whole queue before it closes them.
//!
//! The server sets TCP options on the listening socket: Linux copies them to each accepted one,
//! which saves four system calls per connection.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::client_address::AddressLimiter;
use crate::limits::{
    CLIENT_KEEPALIVE_IDLE, CLIENT_KEEPALIVE_INTERVAL, CLIENT_KEEPALIVE_PROBES, CLIENT_UNSENT_BYTES_MAX,
};
use crate::server::accepting::{ClientListener, IdleSocket, ListeningSocket};
use crate::server::options::{AddressSharing, Options, SocketOptions};
use crate::server::socket_file;
use crate::tls::ListenerTls;

/// One worker's listening socket.
#[derive(Debug)]
pub struct WorkerListener {
    socket: IdleSocket,
    /// The open connections per client address, shared by all sockets that were bound together.
    addresses: AddressLimiter,
    /// The TLS configuration, shared by all sockets that were bound together.
    tls: Option<ListenerTls>,
}

/// The reason why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process, or another listener of this one, has the address.
    #[error("{addr} is already in use")]
    Taken {
        /// The address.
        addr: SocketAddr,
    },
    /// Another process listens on the unix socket.
    #[error("{} is already in use", .path.display())]
    SocketTaken {
        /// The path.
        path: PathBuf,
    },
    /// The unix socket cannot be made: no folder, no permission, or another file in its place.
    #[error("cannot listen on {}: {source}", .path.display())]
    SocketFailed {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The address is not local, its port is reserved, or no file descriptors are left.
    #[error("cannot listen on {addr}: {source}")]
    Failed {
        /// The address.
        addr: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl WorkerListener {
    /// Binds one listener for each of `shares` workers, all on one address. With port 0 the kernel
    /// chooses one port for all.
    pub fn bind(options: &Options, shares: usize) -> Result<Vec<Self>, ListenError> {
        let failed = |source: io::Error| {
            if source.kind() == io::ErrorKind::AddrInUse {
                ListenError::Taken { addr: options.addr }
            } else {
                ListenError::Failed { addr: options.addr, source }
            }
        };
        if let Some(socket) = &options.socket {
            return Self::bind_unix(socket, options, shares);
        }
        if shares == 1 && options.sharing == AddressSharing::Alone {
            let socket = listen(options, options.addr, PortSharing::Own).map_err(failed)?;
            return Ok(vec![Self {
                socket: ListeningSocket::Tcp(socket),
                addresses: AddressLimiter::new(options.connections_per_address_max),
                tls: None,
            }]);
        }
        let addresses = AddressLimiter::new(options.connections_per_address_max);
        if options.sharing == AddressSharing::Alone {
            drop(bind(options.addr, PortSharing::Own).map_err(failed)?);
        }
        let mut addr = options.addr;
        let mut listeners = Vec::with_capacity(shares);
        for _ in 0..shares {
            let socket = listen(options, addr, PortSharing::Shared).map_err(failed)?;
            addr = socket.local_addr().map_err(failed)?;
            let socket = ListeningSocket::Tcp(socket);
            listeners.push(Self { socket, addresses: addresses.clone(), tls: None });
        }
        Ok(listeners)
    }

    /// Listens on a unix socket, which has no `SO_REUSEPORT`: all workers accept from one queue.
    fn bind_unix(socket: &SocketOptions, options: &Options, shares: usize) -> Result<Vec<Self>, ListenError> {
        let failed = |source: io::Error| {
            let path = socket.path.clone();
            if source.kind() == io::ErrorKind::AddrInUse {
                ListenError::SocketTaken { path }
            } else {
                ListenError::SocketFailed { path, source }
            }
        };
        let (listener, file) = socket_file::listen(socket, options).map_err(failed)?;
        let file = Arc::new(file);
        let addresses = AddressLimiter::new(options.connections_per_address_max);
        let clone = |_| {
            let socket = ListeningSocket::Unix(listener.try_clone()?, Arc::clone(&file), options.addr);
            Ok(Self { socket, addresses: addresses.clone(), tls: None })
        };
        (0..shares).map(clone).collect::<io::Result<_>>().map_err(failed)
    }

    /// Returns one listener for each of `shares` workers on inherited sockets; none if there are no
    /// sockets.
    pub fn inherit(
        sockets: &[TcpListener],
        options: &Options,
        shares: usize,
    ) -> Result<Vec<Self>, ListenError> {
        let failed = |source| ListenError::Failed { addr: options.addr, source };
        let addresses = AddressLimiter::new(options.connections_per_address_max);
        let clone = |socket: &TcpListener| {
            set_client_options(&SockRef::from(socket), options)?;
            socket.set_nonblocking(true)?;
            Ok(Self {
                socket: ListeningSocket::Tcp(socket.try_clone()?),
                addresses: addresses.clone(),
                tls: None,
            })
        };
        sockets
            .iter()
            .cycle()
            .take(if sockets.is_empty() { 0 } else { shares })
            .map(clone)
            .collect::<io::Result<_>>()
            .map_err(failed)
    }

    /// Returns the local address, with the real port if port 0 was configured.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns the path of the listener's unix socket, if it listens on one.
    pub fn socket_path(&self) -> Option<&Path> {
        self.socket.path()
    }

    /// Returns the listener with TLS, if there is a configuration.
    #[must_use]
    pub fn with_tls(self, tls: Option<ListenerTls>) -> Self {
        Self { tls, ..self }
    }

    /// Passes the socket to the runtime of the calling worker.
    pub(super) fn into_tokio(self) -> io::Result<(ClientListener, AddressLimiter, Option<ListenerTls>)> {
        Ok((self.socket.into_tokio()?, self.addresses, self.tls))
    }
}

/// The choice whether other sockets may bind the port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PortSharing {
    Own,
    Shared,
}

fn bind(addr: SocketAddr, port: PortSharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a previous process in TIME_WAIT do not delay a restart.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(port == PortSharing::Shared)?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn listen(options: &Options, addr: SocketAddr, port: PortSharing) -> io::Result<TcpListener> {
    let socket = bind(addr, port)?;
    set_client_options(&SockRef::from(&socket), options)?;
    socket.set_nonblocking(true)?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

fn set_client_options(socket: &SockRef<'_>, options: &Options) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(CLIENT_KEEPALIVE_IDLE)
        .with_interval(CLIENT_KEEPALIVE_INTERVAL)
        .with_retries(CLIENT_KEEPALIVE_PROBES);
    // hyper writes a response in one piece, so waiting for more bytes would only delay it.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_notsent_lowat(CLIENT_UNSENT_BYTES_MAX)?;
    // The kernel's own timer for a client that reads nothing: the kernel sees acknowledged bytes,
    // and the server only written ones.
    socket.set_tcp_user_timeout(Some(options.body_timeout))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
    use std::time::Duration;

    use super::*;

    fn options(addr: impl Into<SocketAddr>) -> Options {
        Options {
            addr: addr.into(),
            socket: None,
            sharing: AddressSharing::Alone,
            backlog: 16,
            connections_max: 16,
            connections_per_address_max: None,
            when_full: crate::server::WhenFull::Wait,
            tls: None,
            proxied: None,
            request_ids: None,
            head_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            body_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn workers_share_one_port() {
        let listeners = WorkerListener::bind(&options((Ipv4Addr::LOCALHOST, 0)), 3).unwrap();
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert_ne!(addrs[0].port(), 0);
        assert_eq!(addrs, [addrs[0]; 3]);
    }

    #[test]
    fn another_listener_is_detected_even_if_it_shares_its_port() {
        for foreign in [1, 2] {
            let foreign = WorkerListener::bind(&options((Ipv4Addr::LOCALHOST, 0)), foreign).unwrap();
            let addr = foreign[0].local_addr().unwrap();
            for shares in [1, 2] {
                let taken = WorkerListener::bind(&options(addr), shares).unwrap_err();
                assert!(matches!(taken, ListenError::Taken { addr: at } if at == addr), "{taken}");
            }
        }
    }

    #[test]
    fn a_new_process_listens_beside_the_old_one_if_both_allow_it() {
        let handover = |addr| Options { sharing: AddressSharing::Handover, ..options(addr) };
        let first = WorkerListener::bind(&handover((Ipv4Addr::LOCALHOST, 0).into()), 1).unwrap();
        let addr = first[0].local_addr().unwrap();
        assert!(WorkerListener::bind(&handover(addr), 2).is_ok());
        assert!(WorkerListener::bind(&options(addr), 1).is_err());
    }

    #[test]
    fn inherited_sockets_are_split_among_workers() {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = socket.local_addr().unwrap();
        let listeners = WorkerListener::inherit(&[socket], &options(addr), 3).unwrap();
        assert_eq!(listeners.len(), 3);
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == addr));
        assert!(WorkerListener::inherit(&[], &options(addr), 3).unwrap().is_empty());
    }

    #[test]
    fn a_foreign_address_is_an_error_with_its_cause() {
        let error = WorkerListener::bind(&options(([192, 0, 2, 1], 0)), 1).unwrap_err();
        assert!(matches!(error, ListenError::Failed { .. }), "{error}");
    }

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let listener = WorkerListener::bind(&options((Ipv4Addr::LOCALHOST, 0)), 1).unwrap().remove(0);
        let ListeningSocket::Tcp(socket) = &listener.socket else { panic!("a TCP socket") };
        socket.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = socket.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), CLIENT_KEEPALIVE_IDLE);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(1)));
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), CLIENT_UNSENT_BYTES_MAX);
    }

    #[test]
    fn the_ipv6_wildcard_accepts_ipv4() {
        let Ok(listeners) = WorkerListener::bind(&options((Ipv6Addr::UNSPECIFIED, 0)), 1) else {
            return; // The machine has no IPv6.
        };
        let port = listeners[0].local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
