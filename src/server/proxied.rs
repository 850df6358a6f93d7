//! Connections that a proxy in front opens for a client, whose address the PROXY protocol states.
//!
//! The specification forbids a receiver to guess whether a connection begins with a header. So
//! every connection of a trusted proxy has to begin with one, and no other may: HTTP or TLS refuses
//! it there. The header has the deadline of a request head. The stated address replaces that of the
//! peer in every use: the limits for each address, the log, and the fields for the origin.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::metrics::{ConnectionGuard, ConnectionRefusal, Metrics};
use super::proxy_header::{
    BINARY_HEAD_BYTES, FIRST_BYTES, LINE_BYTES_MAX, ProxyHeaderError, ProxyVersion, parse_addresses,
    parse_binary_head, parse_line, version,
};
use super::service::ConnectionPeer;
use crate::client_address::{AddressLimiter, TrustedProxies};
use crate::limits::PROXY_HEADER_BYTES_MAX;

/// The peers whose connections begin with a header.
pub(super) struct ProxiedPeers {
    pub(super) trusted: TrustedProxies,
    /// The open connections of each client.
    pub(super) addresses: AddressLimiter,
    /// The time limit of a header.
    pub(super) timeout: Duration,
    pub(super) metrics: Metrics,
}

/// The reason why a header could not be read.
#[derive(Debug, thiserror::Error)]
enum HeaderReadError {
    #[error(transparent)]
    Malformed(#[from] ProxyHeaderError),
    #[error("the connection ended within its PROXY header: {0}")]
    Ended(#[from] io::Error),
}

impl ProxiedPeers {
    /// Reads the header, and returns the client. Returns `None` if the connection has to be closed.
    pub(super) async fn client<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        peer: ConnectionPeer,
        guard: &mut ConnectionGuard,
    ) -> Option<ConnectionPeer> {
        let header = match timeout(self.timeout, read(stream)).await {
            Ok(Ok(header)) => header,
            Ok(Err(error)) => {
                tracing::debug!(%error, peer = %peer.addr, "refused a connection of a trusted proxy");
                self.metrics.refused(ConnectionRefusal::ProxyHeader);
                return None;
            }
            Err(_) => {
                self.metrics.refused(ConnectionRefusal::ProxyHeader);
                return None;
            }
        };
        let addr = header.unwrap_or(peer.addr);
        let Some(permit) = self.addresses.enter(addr.ip().into()) else {
            self.metrics.refused(ConnectionRefusal::PerAddressLimit);
            return None;
        };
        guard.hold(permit);
        Some(ConnectionPeer { addr, ..peer })
    }
}

/// Reads one header and no byte beyond it.
async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Option<SocketAddr>, HeaderReadError> {
    let mut first = [0; FIRST_BYTES];
    stream.read_exact(&mut first).await?;
    match version(&first)? {
        ProxyVersion::Line => {
            let mut line = Vec::with_capacity(LINE_BYTES_MAX);
            line.extend_from_slice(&first);
            while !line.ends_with(b"\n") {
                if line.len() == LINE_BYTES_MAX {
                    return Err(ProxyHeaderError::Line.into());
                }
                line.push(stream.read_u8().await?);
            }
            Ok(parse_line(&line)?)
        }
        ProxyVersion::Binary => {
            let mut head = [0; BINARY_HEAD_BYTES];
            stream.read_exact(&mut head).await?;
            let head = parse_binary_head(head, PROXY_HEADER_BYTES_MAX)?;
            let mut bytes = vec![0; head.length];
            stream.read_exact(&mut bytes).await?;
            Ok(parse_addresses(head, &bytes)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header from these bytes, and returns the bytes that it leaves.
    async fn read_from(bytes: &[u8]) -> (Result<Option<String>, HeaderReadError>, usize) {
        let mut rest = bytes;
        let client = read(&mut rest).await;
        (client.map(|client| client.map(|client| client.to_string())), rest.len())
    }

    const BINARY: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0d\xc0\0\x02\x01\xc6\x33\x64\x01\0\x07\x01\xbb\x04";

    #[tokio::test]
    async fn the_reader_takes_the_header_and_nothing_else() {
        for (header, client) in [
            (&b"PROXY TCP4 192.0.2.1 198.51.100.1 7 443\r\n"[..], Some("192.0.2.1:7")),
            (b"PROXY UNKNOWN\r\n", None),
            (BINARY, Some("192.0.2.1:7")),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", None),
        ] {
            let (read, left) = read_from(&[header, b"GET /"].concat()).await;
            assert_eq!((read.unwrap().as_deref(), left), (client, 5));
            for cut in 0..header.len() {
                let (read, left) = read_from(&header[..cut]).await;
                assert!(matches!(read, Err(HeaderReadError::Ended(_))) && left == 0, "{cut}");
            }
        }
    }

    #[tokio::test]
    async fn a_line_without_end_is_read_to_its_limit() {
        let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        let (read, left) = read_from(&endless).await;
        assert!(matches!(read, Err(HeaderReadError::Malformed(ProxyHeaderError::Line))));
        assert_eq!(endless.len() - left, LINE_BYTES_MAX);
    }
}
