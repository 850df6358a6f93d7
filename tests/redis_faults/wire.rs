//! A socket that misbehaves byte by byte.

use bytes::Bytes;
use cachewarp::redis::{CommandError, Options, RedisPool};
use cachewarp::telemetry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

use crate::load::{SOON, on_one_thread, options, until};

/// The server's end of a pool's only connection, after the handshake and the first `GET`.
async fn asked(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut command = vec![0; 1024];
    for reply in ["%1\r\n+proto\r\n:3\r\n", "+OK\r\n", ""] {
        // One command per round trip.
        assert_ne!(socket.read(&mut command).await.unwrap(), 0);
        socket.write_all(reply.as_bytes()).await.unwrap();
    }
    socket
}

/// Returns a caller's result from a server that does this.
async fn against<F: Future>(server: impl FnOnce(TcpStream) -> F) -> Result<Option<Bytes>, CommandError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patient = Options { command_timeout: SOON, ..options(listener.local_addr().unwrap().port(), 1) };
    let pool = RedisPool::open(patient, &Registry::new());
    let caller = async {
        until(|| pool.is_connected()).await;
        pool.get(b"key").await
    };
    tokio::join!(caller, async { server(asked(&listener).await).await }).0
}

const REPLY: &[u8] = b">2\r\n+news\r\n*1\r\n$1\r\na\r\n$8\r\nkey\r\nkey\r\n";

#[test]
fn a_reply_cut_at_any_byte_is_not_delivered() {
    on_one_thread(async {
        for cut in 0..REPLY.len() {
            let ended = against(async |mut socket| {
                socket.write_all(&REPLY[..cut]).await.unwrap();
                socket.shutdown().await.unwrap();
            });
            assert_eq!(ended.await, Err(CommandError::Closed), "ended after {cut} bytes");
            let reset = against(async |mut socket| {
                socket.write_all(&REPLY[..cut]).await.unwrap();
                socket.set_zero_linger().unwrap();
            });
            assert_eq!(reset.await, Err(CommandError::Closed), "reset after {cut} bytes");
        }
    });
}

#[test]
fn a_reply_in_single_bytes_is_delivered() {
    on_one_thread(async {
        let got = against(async |mut socket| {
            socket.set_nodelay(true).unwrap();
            for byte in REPLY {
                socket.write_all(&[*byte]).await.unwrap();
                yield_now().await;
            }
            socket
        });
        assert_eq!(got.await, Ok(Some("key\r\nkey".into())));
    });
}

#[test]
fn an_invalid_reply_is_not_delivered() {
    let nested = "*1\r\n".repeat(10_000);
    let rows: [(&[u8], _); 4] = [
        (b"$9223372036854775808\r\n", CommandError::Malformed),
        (b"$9223372036854775807\r\n", CommandError::Malformed),
        (nested.as_bytes(), CommandError::Malformed),
        (b":1\r\n", CommandError::Desynchronised),
    ];
    on_one_thread(async {
        for (wire, failure) in rows {
            let got = against(async |mut socket| {
                // The client closes the connection, perhaps before it has read everything.
                let _ = socket.write_all(wire).await;
                let _ = socket.read(&mut [0; 1]).await;
            });
            assert_eq!(got.await, Err(failure));
        }
    });
}
