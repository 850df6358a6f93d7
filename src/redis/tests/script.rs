//! The other side of a dialogue.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{LocalSet, yield_now};

use crate::redis::{Address, Credentials, Options, RedisPool};
use crate::resp::{Frame, Inbox, Reply};
use crate::telemetry::Registry;

/// A greeting in RESP3.
pub(super) const GREETING: &str = "%1\r\n+proto\r\n:3\r\n";

/// Everything that a test waits for comes sooner than this.
const SOON: Duration = Duration::from_secs(10);

/// Runs a dialogue as a worker runs.
pub(super) fn on_one_thread(dialogue: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(SOON, dialogue).await.unwrap() });
}

/// A place where a server can be.
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
            ..Options::at(Address::Unix(self.path()))
        }
    }

    /// A server that listens here.
    pub(super) fn listen(&self) -> ScriptedServer {
        let _ = std::fs::remove_file(self.path());
        ScriptedServer(UnixListener::bind(self.path()).unwrap())
    }
}

pub(super) struct ScriptedServer(UnixListener);

impl ScriptedServer {
    /// The next client, which has said nothing yet.
    pub(super) async fn accept(&self) -> ScriptedPeer {
        ScriptedPeer { socket: self.0.accept().await.unwrap().0, inbox: Inbox::new() }
    }

    /// The next client, when it has been greeted.
    pub(super) async fn greet(&self) -> ScriptedPeer {
        let mut client = self.accept().await;
        client.hears("HELLO 3").await;
        client.says(GREETING).await;
        client.hears("CLIENT SETNAME cachewarp").await;
        client.says("+OK\r\n").await;
        client
    }
}

/// What a server knows as a client.
pub(super) struct ScriptedPeer {
    socket: UnixStream,
    inbox: Inbox,
}

impl ScriptedPeer {
    pub(super) async fn says(&mut self, wire: impl AsRef<[u8]>) {
        self.socket.write_all(wire.as_ref()).await.unwrap();
    }

    /// The next command, its arguments with spaces between them.
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

    /// The client ends the connection.
    pub(super) async fn is_left(&mut self) {
        while self.socket.read_buf(self.inbox.room()).await.is_ok_and(|count| count > 0) {}
    }
}

pub(super) fn open(options: Options) -> RedisPool {
    RedisPool::open(options, &Registry::new())
}

/// Until the pool knows that it is connected, or is not.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        yield_now().await;
    }
}

/// A pool of one connection, and the other side of it.
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
