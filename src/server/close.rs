//! The last bytes of a connection that we end while its client may still be sending.
//!
//! A socket that is closed with unread bytes in it answers with a reset, and a reset makes the
//! client's kernel throw away what it had received: our explanation. So the writing half is closed
//! first, and what still comes is read and dropped for a bounded while (RFC 9112 §9.6).

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::limits::{LINGER_BYTES_MAX, LINGER_TIMEOUT};

/// Writes a short answer where hyper will not, then [`linger`]s.
pub(super) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, status: StatusCode) {
    let reason = status.canonical_reason().unwrap_or_default();
    let answer =
        format!("HTTP/1.1 {} {reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status.as_u16());
    // A client that is slow to send may be slow to receive; these few bytes fit the socket's buffer
    // or are not worth a wait.
    if let Ok(Ok(())) = timeout(LINGER_TIMEOUT, stream.write_all(answer.as_bytes())).await {
        linger(stream).await;
    }
}

/// Ends the writing half and drops what still comes, for at most [`LINGER_TIMEOUT`] and
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
