//! Orderly closing of a connection whose client may still be sending.
//!
//! The kernel answers the closing of a socket with unread bytes by a reset, and a reset makes the
//! client's kernel discard bytes that it already received: the error response. The server therefore
//! closes its sending side first and then reads and discards incoming bytes for a bounded time (RFC
//! 9112 §9.6).

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::limits::{LINGER_BYTES_MAX, LINGER_TIMEOUT};

/// Writes a short error response that hyper does not write itself, then [`linger`]s.
pub(super) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    status: StatusCode,
    text: &str,
) {
    let reason = status.canonical_reason().unwrap_or_default();
    let (code, length) = (status.as_u16(), text.len());
    send(
        stream,
        format!("HTTP/1.1 {code} {reason}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}")
            .as_bytes(),
    )
    .await;
}

/// Writes a few bytes, then [`linger`]s.
pub(super) async fn send<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) {
    // A client that is slow to send may be slow to receive. These few bytes fit the socket's
    // buffer; if they do not, the server does not wait.
    if let Ok(Ok(())) = timeout(LINGER_TIMEOUT, stream.write_all(bytes)).await {
        linger(stream).await;
    }
}

/// Closes the sending side and discards incoming bytes, for at most [`LINGER_TIMEOUT`] and
/// [`LINGER_BYTES_MAX`].
pub(super) async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let _ = timeout(LINGER_TIMEOUT, async {
        let mut scratch = vec![0; 8 * 1024];
        let mut read = 0;
        stream.shutdown().await?;
        while read < LINGER_BYTES_MAX {
            match stream.read(&mut scratch).await? {
                0 => break,
                count => read += count,
            }
        }
        std::io::Result::Ok(())
    })
    .await;
}
