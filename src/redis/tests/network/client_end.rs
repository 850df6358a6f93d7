//! The client's end of a simulated connection: a socket for the production code.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{SimulatedConnection, SimulatedNetwork, Towards};

/// The client's end of a connection.
pub(super) struct ClientEnd {
    pub(super) network: SimulatedNetwork,
    pub(super) connection: Rc<SimulatedConnection>,
}

impl AsyncRead for ClientEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut arrived = self.connection.arrived.borrow_mut();
        if arrived.is_empty() && !self.connection.is_closed.get() {
            self.connection.reader.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        let count = into.remaining().min(arrived.len());
        into.put_slice(&arrived.drain(..count).collect::<Vec<_>>());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientEnd {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.connection.is_closed.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.network.send(&self.connection, Towards::Server, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.leave(&self.connection);
        Poll::Ready(Ok(()))
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        self.network.leave(&self.connection);
    }
}
