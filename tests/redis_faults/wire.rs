//! A socket that misbehaves byte by byte.

use bytes::Bytes;
use cachewarp::redis::{CommandError, Options, RedisPool};
use cachewarp::telemetry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

use crate::load::{SOON, on_one_thread, options, until};

/// The other side of a pool of one connection, when the greeting is over and the first `GET` has come.
async fn asked(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut command = vec![0; 1024];
    for reply in ["%1\r\n+proto\r\n:3\r\n", "+OK\r\n", ""] {
        // One command a round trip.
        assert_ne!(socket.read(&mut command).await.unwrap(), 0);
        socket.write_all(reply.as_bytes()).await.unwrap();
    }
    socket
}

/// What a caller gets from a server that does this.
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
fn a_reply_cut_at_every_byte_is_nobodys() {
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
fn a_reply_that_comes_byte_by_byte_is_whole() {
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
fn what_is_no_reply_is_nobodys() {
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
                // The client ends the connection, perhaps before it has read all of it.
                let _ = socket.write_all(wire).await;
                let _ = socket.read(&mut [0; 1]).await;
            });
            assert_eq!(got.await, Err(failure));
        }
    });
}
