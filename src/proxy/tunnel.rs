//! A tunnel: a connection that has switched protocols. Bytes flow both ways until one side ends or
//! both are idle.
//!
//! The proxy does not interpret the tunnel's bytes, so its only limit is an idle timeout. Without
//! one, a client that gets an origin to switch protocols holds a connection on both sides forever.
//! Bytes received from either side reset the timeout. A side that only reads slowly blocks little:
//! at most one buffer is in flight between the two.

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::sleep_until;

use crate::telemetry::access::TunnelBytes;
use crate::time::instant;

/// The end of a tunnel.
#[derive(Debug)]
pub(super) enum TunnelEnd {
    /// Both sides have ended, or one broke.
    Closed(io::Result<()>),
    /// No bytes arrived within the idle timeout.
    Idle,
}

/// Copies bytes until both sides have ended, one breaks, or neither has sent any for
/// `idle_timeout`. Counts them in `bytes`. Dropping the future closes both.
pub(super) async fn carry<C, O>(
    client: C,
    origin: O,
    idle_timeout: Duration,
    bytes: &TunnelBytes,
) -> TunnelEnd
where
    C: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    let last = Cell::new(instant());
    let (mut client, mut origin) = (
        TunnelSide { stream: client, last: &last, read: &bytes.from_client },
        TunnelSide { stream: origin, last: &last, read: &bytes.to_client },
    );
    let mut copied = pin!(copy_bidirectional(&mut client, &mut origin));
    loop {
        let due = last.get() + idle_timeout;
        tokio::select! {
            biased;
            closed = copied.as_mut() => return TunnelEnd::Closed(closed.map(drop)),
            // One timer is re-armed when it fires, so that received bytes cost a clock read and no
            // timer update.
            () = sleep_until(due.into()) => if last.get() + idle_timeout <= due { return TunnelEnd::Idle },
        }
    }
}

/// One side of a tunnel.
struct TunnelSide<'a, S> {
    stream: S,
    /// The time of the last bytes received, from either side.
    last: &'a Cell<Instant>,
    /// The number of bytes received from this side.
    read: &'a Cell<u64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for TunnelSide<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.read.set(self.read.get() + (buf.filled().len() - before) as u64);
        self.last.set(instant());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TunnelSide<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::sleep;

    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn bytes_from_either_side_keep_a_tunnel_open() {
        let ((mut client, near), (far, mut origin)) = (duplex(64), duplex(64));
        let talk = async {
            let mut received = [0; 4];
            for _ in 0..3 {
                sleep(IDLE * 3 / 4).await;
                client.write_all(b"ping").await.unwrap();
                origin.read_exact(&mut received).await.unwrap();
                sleep(IDLE * 3 / 4).await;
                origin.write_all(b"pong").await.unwrap();
                client.read_exact(&mut received).await.unwrap();
            }
            (instant(), client, origin)
        };
        let bytes = TunnelBytes::default();
        let (ended, (last, ..)) = tokio::join!(carry(near, far, IDLE, &bytes), talk);
        assert!(matches!(ended, TunnelEnd::Idle), "{ended:?}");
        assert_eq!((bytes.from_client.get(), bytes.to_client.get()), (12, 12));
        assert_eq!(instant() - last, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_reads_nothing_does_not_prevent_the_idle_timeout() {
        let ((mut client, near), (far, origin)) = (duplex(64), duplex(64));
        let flood = async { while client.write_all(&[0; 64]).await.is_ok() {} };
        let begun = instant();
        let bytes = TunnelBytes::default();
        let (ended, ()) =
            tokio::join!(async { matches!(carry(near, far, IDLE, &bytes).await, TunnelEnd::Idle) }, flood);
        assert!(ended);
        assert_eq!(instant() - begun, IDLE);
        drop(origin);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_when_both_sides_have_ended() {
        let ((client, near), (far, mut origin)) = (duplex(64), duplex(64));
        origin.write_all(b"bye").await.unwrap();
        drop(origin);
        let mut client = client;
        let listen = async {
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            drop(client);
            received
        };
        let bytes = TunnelBytes::default();
        let (ended, received) = tokio::join!(carry(near, far, IDLE, &bytes), listen);
        assert!(matches!(ended, TunnelEnd::Closed(Ok(()))), "{ended:?}");
        assert_eq!((received.as_slice(), bytes.to_client.get()), (&b"bye"[..], 3));
    }
}
