//! The models of the scripts against their texts on a real server, over drawn inputs: each call
//! gives the same reply, and leaves the same value and the same remaining time.

use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tempfile::TempDir;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::keyspace::ServerKeys;
use super::script_models::{MODELS, ScriptCall, ScriptReply};
use crate::redis::{Client, Command, Deployment, Options, RedisAddress, Reply, Topology};
use crate::store::scripts::REGISTER;
use crate::telemetry::Registry;
use crate::time::{self, instant, millis};

/// Series of calls for each script.
const SERIES: u64 = 40;
/// Calls of one series.
const CALLS: usize = 12;
/// The tolerance of remaining times, which a busy machine delays.
const LATE: i64 = 5_000;
const KEY: &[u8] = b"key";

/// A real server, in a folder of its own.
struct RealServer {
    folder: TempDir,
    child: Child,
}

impl RealServer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Process::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "redis.sock", "--dir"])
            .arg(folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server: is it installed? tests/run.sh does that");
        Self { folder, child }
    }

    fn socket(&self) -> impl AsRef<Path> {
        self.folder.path().join("redis.sock")
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The inputs of one series: words that depend on each other only rarely match by accident.
struct Inputs {
    rng: Rng,
    epochs: [String; 3],
}

impl Inputs {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let epochs = [(); 3].map(|()| format!("{:016x}", rng.u64(1..)));
        Self { rng, epochs }
    }

    fn epoch(&mut self) -> Vec<u8> {
        self.epochs[self.rng.usize(..3)].clone().into_bytes()
    }

    fn number(&mut self, below: u64) -> Vec<u8> {
        self.rng.u64(..below).to_string().into_bytes()
    }

    /// A time in milliseconds that no test outlives. It differs by far from the others, from
    /// three quarters of them, and from [`Inputs::need`].
    fn keep(&mut self) -> Vec<u8> {
        ([1, 2, 3, 5, 6, 7][self.rng.usize(..6)] * 1_000_000).to_string().into_bytes()
    }

    fn need(&mut self) -> Vec<u8> {
        (self.rng.u64(1..9) * 1_000_000 + 500_000).to_string().into_bytes()
    }

    fn choice(&mut self, words: &[&str]) -> Vec<u8> {
        words[self.rng.usize(..words.len())].as_bytes().to_vec()
    }

    fn generation(&mut self) -> Vec<u8> {
        let generation: u64 = [0, 1, u64::MAX / 7][self.rng.usize(..3)];
        generation.to_be_bytes().to_vec()
    }

    fn entry(&mut self) -> Vec<u8> {
        let kind = [1, 2, 3][self.rng.usize(..3)];
        [&b"CW"[..], &[4, kind], &self.generation(), &[7; 20]].concat()
    }

    fn prefix(&mut self) -> Vec<u8> {
        let origin = self.choice(&["http://a.test/", "https://a.test/", "http://b.test/"]);
        let path = self.choice(&["", "x/", "x/1", "x/12", "x/2", "\u{e9}", "\u{e8}x", "y?a=b"]);
        [origin, path].concat()
    }

    fn nodes(&mut self) -> Vec<u8> {
        self.choice(&["00000000000000aa", "00000000000000bb", "00000000000000cc"])
    }

    /// Draws the arguments of a call.
    fn arguments(&mut self, script: usize) -> Vec<Vec<u8>> {
        match script {
            0 => vec![self.generation(), self.entry(), self.keep(), self.keep()],
            1 => vec![self.generation(), b"12345678".to_vec(), self.entry(), self.keep()],
            2 => {
                let what = self.choice(&["look", "tag", "all", "prefix", "prefix", "prefix", "prefix"]);
                let (strength, at) = (self.choice(&["h", "s"]), self.number(1000));
                let (prefix, before) = (self.prefix(), self.number(300));
                let epoch = self.epoch();
                vec![epoch, self.keep(), what, strength, at, prefix, before, b"4".to_vec()]
            }
            3 => vec![self.epoch(), self.number(9), self.choice(&["h", "s"]), self.number(99), self.keep()],
            4 => {
                let epoch = self.epoch();
                let value = [&epoch[..], b" 3 0 0"].concat();
                vec![epoch, value, self.need(), self.keep()]
            }
            5 => vec![
                self.choice(&["t", "u"]),
                if self.rng.u8(..4) == 0 { b"0".to_vec() } else { self.keep() },
            ],
            6 => vec![
                self.choice(&["head1", "head2"]),
                self.choice(&["dddddddd", "eeeeeeee", "ffffffff"]),
                self.keep(),
                b"2".to_vec(),
            ],
            7 => {
                let (what, node) =
                    (self.choice(&["look", "renew", "renew", "leave", "silent"]), self.nodes());
                let ids = if what == b"silent" { [&node[..], b" ", &self.nodes()].concat() } else { node };
                let (birth, lifetime) = (self.epoch(), self.keep());
                let kept = b"900000".to_vec();
                vec![what, ids, birth, kept, b"2".to_vec(), lifetime, self.number(5), b"name".to_vec()]
            }
            8 => vec![
                self.choice(&["run1", "run2", "run3"]),
                self.choice(&["", "run1", "run2"]),
                self.choice(&["", "run1", "run3"]),
                self.keep(),
            ],
            _ => vec![self.entry(), self.keep()],
        }
    }

    /// Draws a value that the scripts did not write.
    fn foreign(&mut self) -> Vec<u8> {
        self.choice(&["", "x", "1 zz 1 1 1\n", "CW\u{4}", "1 12 3 4 5", "1 ab 2\nbroken\n", "t", "ab 1 2"])
    }
}

/// Compares one series of calls of one script.
async fn compare(redis: &Client, script: usize, seed: u64) {
    let (text, model) = MODELS[script];
    let mut inputs = Inputs::new(seed);
    let mut data = ServerKeys::default();
    let (begin, start) = (instant(), time::now().as_millis());
    redis.command(&Command::Unlink { key: KEY }).await.unwrap();
    for call in 0..CALLS {
        if inputs.rng.u8(..6) == 0 || (script == 5 && call == 0) {
            let value = if script == 5 { b"t".to_vec() } else { inputs.foreign() };
            let ttl = Duration::from_secs(5000);
            redis.command(&Command::Set { key: KEY, value: &value.clone().into(), ttl }).await.unwrap();
            data.set(KEY, value, Some(5_000_000), start + millis(instant() - begin)).unwrap();
        }
        let arguments = inputs.arguments(script);
        let shared: Vec<_> = arguments.iter().cloned().map(Bytes::from).collect();
        let reply = text.run(redis, KEY, &shared).await.unwrap();
        let reply = if let Reply::Integer(number) = reply {
            ScriptReply::Integer(number)
        } else {
            let Reply::Bulk(value) = reply else { panic!("{reply:?}") };
            ScriptReply::Bulk(value.to_vec())
        };
        let mut now = start + millis(instant() - begin);
        if text.digest() == REGISTER.digest()
            && let ScriptReply::Bulk(value) = &reply
        {
            let first = value.split(|byte| *byte == b'\n').next().unwrap();
            now = std::str::from_utf8(first).unwrap().parse().unwrap();
        }
        let modelled = model(&mut ScriptCall { data: &mut data, key: KEY, arguments: &arguments, now });
        let context = || {
            let shown: Vec<_> = arguments.iter().map(|one| String::from_utf8_lossy(one)).collect();
            format!("script {script}, seed {seed}, call {call}: {shown:?}")
        };
        match (&reply, modelled.unwrap()) {
            // The remaining time.
            (ScriptReply::Integer(left), ScriptReply::Integer(modelled)) if script == 4 => {
                assert!((left - modelled).abs() < LATE, "{left} and {modelled}; {}", context());
            }
            (reply, modelled) => assert_eq!(*reply, modelled, "{}", context()),
        }
        // A `GET` would have a tighter deadline.
        let value = redis.command(&Command::Head { key: KEY, bytes: 1 << 20 }).await.unwrap();
        let Reply::Bulk(value) = value else { panic!("{value:?}") };
        assert_eq!(value.to_vec(), data.get(KEY, now).unwrap_or_default(), "{}", context());
        let left = redis.command(&Command::TimeToLive { key: KEY }).await.unwrap();
        let Reply::Integer(left) = left else { panic!("{left:?}") };
        let modelled = data.time_to_live(KEY, now);
        assert!((left - modelled).abs() < LATE, "kept for {left} and {modelled}; {}", context());
    }
}

#[test]
fn the_models_of_the_scripts_do_what_their_texts_do() {
    let server = RealServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let address = RedisAddress::Unix(server.socket().as_ref().to_owned());
        let options =
            Options { connections: 1, command_timeout: Duration::from_secs(10), ..Options::at(address) };
        let deployment = Deployment { topology: Topology::Single, server: options };
        let redis = Client::open(deployment, &Registry::new());
        while !redis.is_connected() {
            sleep(Duration::from_millis(2)).await;
        }
        for script in 0..MODELS.len() {
            for seed in 0..SERIES {
                compare(&redis, script, seed).await;
            }
        }
        redis.close().await;
    });
}
