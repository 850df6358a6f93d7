//! A relay in front of Redis with an adjustable delay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until};

/// Pieces in transfer at once.
const PIECES: usize = 4096;

/// Runs the relay on its own thread until the process ends. `delay` delays each answer, in
/// milliseconds.
pub(crate) fn start(from: SocketAddr, to: SocketAddr, delay: Arc<AtomicU64>) {
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        LocalSet::new().block_on(&runtime, async {
            let Ok(listener) = TcpListener::bind(from).await else { return };
            while let Ok((client, _)) = listener.accept().await {
                let delay = Arc::clone(&delay);
                spawn_local(async move {
                    let Ok(server) = TcpStream::connect(to).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = carry(from_client, to_server, Arc::default()) => {}
                        () = carry(from_server, to_client, delay) => {}
                    }
                });
            }
        });
    });
}

/// Carries bytes in one direction, each piece delayed.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Arc<AtomicU64>) {
    let (pieces, mut late) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let read = async move {
        loop {
            let mut piece = Vec::with_capacity(64 * 1024);
            match from.read_buf(&mut piece).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            let due = Instant::now() + Duration::from_millis(delay.load(Ordering::Relaxed));
            if pieces.send((due, piece)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = late.recv().await {
            // Timers have whole milliseconds: a piece without a delay must not wait for one.
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
