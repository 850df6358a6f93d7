//! Parked connections: idle HTTP/1.1 connections without hyper's state.
//!
//! ```text
//!         idle for CLIENT_PARK_AFTER
//! hyper ──────────────────────────────► parked ──┬─ a byte ──────────► hyper, with this byte first
//!   ▲                                     │      ├─ end of the client ─► closed
//!   └─────────────────────────────────────┘      ├─ client_idle_timeout ► closed
//!                                                └─ drain ────────────► closed
//! ```
//!
//! hyper holds some 20 KiB of buffers for each connection, and most connections of a proxy are
//! idle. A parked connection has its socket, its framing state, its permits and its timer. The
//! limits of a parked connection are those of an idle one, since the watch and the activity stay.

use std::future::poll_fn;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::drain::Shutdown;
use super::drive::drain_begun;
use super::io::WatchedSocket;
use super::watch::ConnectionWatch;
use crate::limits::{DRAIN_GRACE, LINGER_TIMEOUT};

/// The event that ended the parking of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParkingEnd {
    /// The client sent bytes, and the socket has them ready for hyper.
    Bytes,
    /// The connection is over.
    Close,
}

/// Parks a connection until its client sends something, or its time is over.
pub(super) async fn park<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WatchedSocket<S>,
    watch: &mut ConnectionWatch,
    shutdown: &Shutdown,
) -> ParkingEnd {
    tokio::select! {
        biased;
        read = poll_fn(|cx| socket.poll_parked(cx)) => match read {
            Ok(1..) => return ParkingEnd::Bytes,
            Ok(0) => {}
            Err(_) => return ParkingEnd::Close,
        },
        () = drain_begun(shutdown, DRAIN_GRACE) => {}
        // An idle client gets no response, and its socket closes at once.
        _ = poll_fn(|cx| watch.poll_overdue(cx)) => return ParkingEnd::Close,
    }
    // TLS announces the end; a client that does not read it has no claim on more time.
    let _ = timeout(LINGER_TIMEOUT, socket.shutdown()).await;
    ParkingEnd::Close
}
