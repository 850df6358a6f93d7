//! The listening socket of one worker, TCP or unix, and the connections that it accepts.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::socket_file::SocketFile;

/// A listening socket.
#[derive(Debug)]
pub(super) enum ListeningSocket<T, U> {
    /// TCP.
    Tcp(T),
    /// A unix socket, its file, and the address that its connections have.
    Unix(U, Arc<SocketFile>, SocketAddr),
}

/// A socket that no runtime has.
pub(super) type IdleSocket = ListeningSocket<std::net::TcpListener, std::os::unix::net::UnixListener>;

/// A socket of a worker's runtime.
pub(super) type ClientListener = ListeningSocket<TcpListener, UnixListener>;

/// An accepted connection.
pub(super) enum AcceptedSocket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl IdleSocket {
    /// Returns the address of the listener, or that of the connections of a unix socket.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr(),
            Self::Unix(_, _, addr) => Ok(*addr),
        }
    }

    /// Returns the path of a unix socket.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, file, _) => Some(file.path()),
        }
    }

    /// Passes the socket to the runtime of the calling worker.
    pub(super) fn into_tokio(self) -> io::Result<ClientListener> {
        Ok(match self {
            Self::Tcp(socket) => ListeningSocket::Tcp(TcpListener::from_std(socket)?),
            Self::Unix(socket, file, addr) => {
                ListeningSocket::Unix(UnixListener::from_std(socket)?, file, addr)
            }
        })
    }

    /// Accepts a connection of the kernel's queue, if there is one.
    pub(super) fn accept_queued(&self) -> io::Result<(AcceptedSocket, SocketAddr)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, addr) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok((AcceptedSocket::Tcp(TcpStream::from_std(stream)?), addr))
            }
            Self::Unix(socket, _, addr) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok((AcceptedSocket::Unix(UnixStream::from_std(stream)?), *addr))
            }
        }
    }
}

impl ClientListener {
    /// Waits for the next connection. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<(AcceptedSocket, SocketAddr)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, addr) = socket.accept().await?;
                Ok((AcceptedSocket::Tcp(stream), addr))
            }
            Self::Unix(socket, _, addr) => {
                let (stream, _) = socket.accept().await?;
                Ok((AcceptedSocket::Unix(stream), *addr))
            }
        }
    }

    /// Takes the socket from the runtime.
    pub(super) fn into_std(self) -> io::Result<IdleSocket> {
        Ok(match self {
            Self::Tcp(socket) => ListeningSocket::Tcp(socket.into_std()?),
            Self::Unix(socket, file, addr) => ListeningSocket::Unix(socket.into_std()?, file, addr),
        })
    }
}
