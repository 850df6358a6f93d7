//! The server's end of a dialogue.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{LocalSet, yield_now};

use crate::redis::{Credentials, Options, RedisAddress, RedisPool};
use crate::resp::{Frame, Inbox, Reply};
use crate::telemetry::Registry;

/// A RESP3 greeting.
pub(super) const GREETING: &str = "%1\r\n+proto\r\n:3\r\n";

/// The longest wait of a test.
const SOON: Duration = Duration::from_secs(10);

/// Runs a dialogue on one thread, as a worker does.
pub(super) fn on_one_thread(dialogue: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(SOON, dialogue).await.unwrap() });
}

/// A socket path for a server.
pub(super) struct SocketPath(TempDir);

impl SocketPath {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("redis.sock")
    }

    pub(super) fn options(&self) -> Options {
        Options {
            connections: 1,
            value_bytes_max: 8 << 20,
            command_timeout: SOON,
            hedge_share: 0.0,
            connect_timeout: SOON,
            ..Options::at(RedisAddress::Unix(self.path()))
        }
    }

    /// Starts a server on this path.
    pub(super) fn listen(&self) -> ScriptedServer {
        let _ = std::fs::remove_file(self.path());
        ScriptedServer(UnixListener::bind(self.path()).unwrap())
    }
}

pub(super) struct ScriptedServer(UnixListener);

impl ScriptedServer {
    /// Accepts the next connection, before any command.
    pub(super) async fn accept(&self) -> ScriptedPeer {
        ScriptedPeer { socket: self.0.accept().await.unwrap().0, inbox: Inbox::new() }
    }

    /// Accepts the next connection, and completes the handshake.
    pub(super) async fn greet(&self) -> ScriptedPeer {
        let mut client = self.accept().await;
        client.hears("HELLO 3").await;
        client.says(GREETING).await;
        client.hears("CLIENT SETNAME cachewarp").await;
        client.says("+OK\r\n").await;
        client
    }
}

/// The server's end of one connection.
pub(super) struct ScriptedPeer {
    socket: UnixStream,
    inbox: Inbox,
}

impl ScriptedPeer {
    pub(super) async fn says(&mut self, wire: impl AsRef<[u8]>) {
        self.socket.write_all(wire.as_ref()).await.unwrap();
    }

    /// Returns the next command, its arguments separated by spaces.
    pub(super) async fn command(&mut self) -> String {
        loop {
            if let Some(frame) = self.inbox.frame().unwrap() {
                let Frame::Reply(Reply::Array(arguments)) = frame else { panic!("{frame:?}") };
                let text = |argument: &Reply| {
                    let Reply::Bulk(text) = argument else { panic!("{argument:?}") };
                    String::from_utf8(text.to_vec()).unwrap()
                };
                return arguments.iter().map(text).collect::<Vec<_>>().join(" ");
            }
            assert_ne!(self.socket.read_buf(self.inbox.room()).await.unwrap(), 0, "the client has gone");
        }
    }

    pub(super) async fn hears(&mut self, command: &str) {
        assert_eq!(self.command().await, command);
    }

    /// Waits until the client closes the connection.
    pub(super) async fn is_left(&mut self) {
        while self.socket.read_buf(self.inbox.room()).await.is_ok_and(|count| count > 0) {}
    }
}

pub(super) fn open(options: Options) -> RedisPool {
    RedisPool::open(options, &Registry::new())
}

/// Waits until the condition holds.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        yield_now().await;
    }
}

/// A pool of one connection, and the server's end of it.
pub(super) async fn pair(place: &SocketPath, options: Options) -> (RedisPool, ScriptedServer, ScriptedPeer) {
    let server = place.listen();
    let pool = open(options);
    let client = server.greet().await;
    until(|| pool.is_connected()).await;
    (pool, server, client)
}

pub(super) fn ann() -> Option<Credentials> {
    Some(Credentials { user: "ann".to_owned(), password: crate::secret::Secret::new("pass") })
}
