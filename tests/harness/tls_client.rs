//! A client that speaks raw HTTP/1.1 over TLS.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::PATIENCE;
use super::client::{Response, head_of, status};
use super::wire::Extent;

/// A connection to a server, after its handshake.
pub(crate) struct TlsClient(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl TlsClient {
    /// Opens a connection, and completes the handshake.
    pub(crate) fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&addr, PATIENCE)?, config)
    }

    /// Completes the handshake on a connection.
    pub(crate) fn over(mut stream: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self(BufReader::new(StreamOwned::new(session, stream))))
    }

    /// Returns the state of TLS.
    pub(crate) fn session(&self) -> &ClientConnection {
        &self.0.get_ref().conn
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(bytes.as_ref())
    }

    /// Closes the sending side: `close_notify`, and then that of the connection.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let StreamOwned { conn, sock } = self.0.get_mut();
        conn.send_close_notify();
        while conn.wants_write() {
            conn.write_tls(sock)?;
        }
        sock.shutdown(Shutdown::Write)
    }

    /// Sends a `GET` with fields, and reads the whole answer.
    pub(crate) fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> io::Result<Response> {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"))?;
        self.response()
    }

    /// Reads a whole answer.
    pub(crate) fn response(&mut self) -> io::Result<Response> {
        let head = head_of(&mut self.0)?;
        let mut body = Vec::new();
        Extent::of(&head, Extent::Close).read(&mut self.0, &mut body)?;
        Ok(Response { status: status(&head), head, body })
    }

    /// Reads exactly `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
