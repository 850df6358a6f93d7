//! A real master with replicas and sentinels.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::guard::Guard;
use super::redis::{Redis, ask, folder, on_free_ports};
use super::resp::Value;
use super::{PATIENCE, until, until_agreed};

/// The name of the master at the sentinels.
const NAME: &str = "mymaster";

/// The servers and sentinels. Dropping the group stops them.
pub(crate) struct Sentinels {
    /// The initial master, then its replicas.
    pub(crate) servers: Vec<Redis>,
    pub(crate) sentinels: Vec<Sentinel>,
    /// The ports of the servers for clients, in their order.
    ports: Vec<u16>,
    /// The credentials that servers and sentinels require.
    pub(crate) guard: Guard,
}

/// A running sentinel.
pub(crate) struct Sentinel {
    addr: SocketAddr,
    /// The port for clients.
    port: u16,
    child: Option<Child>,
    _folder: TempDir,
}

impl Sentinels {
    /// Starts one master, two replicas with its data, and three sentinels with a quorum of two that
    /// know each other.
    pub(crate) fn start() -> Self {
        Self::start_with(Guard::Open)
    }

    /// Starts servers and sentinels that require these credentials.
    pub(crate) fn start_with(guard: Guard) -> Self {
        let server = |arguments: &[&str]| {
            on_free_ports(|[port, tls_port]| {
                let guarded = guard.of_server(tls_port);
                let mut all: Vec<_> = guarded.iter().map(String::as_str).collect();
                // The master sends its data at once, without waiting for further replicas.
                all.extend(["--repl-diskless-sync-delay", "0"]);
                all.extend(arguments);
                Some((Redis::try_start(port, &all)?, guard.port(port, tls_port)))
            })
        };
        let (master, port) = server(&[]);
        let of = port.to_string();
        let replica = || server(&["--replicaof", "127.0.0.1", &of]);
        let (servers, ports): (Vec<_>, Vec<_>) = [(master, port), replica(), replica()].into_iter().unzip();
        for replica in &servers[1..] {
            until("a replica to have the data", || info(replica, "master_link_status") == "up");
        }
        let sentinels = (0..3).map(|_| Sentinel::start(port, &guard)).collect();
        let all = Self { servers, sentinels, ports, guard };
        for sentinel in &all.sentinels {
            until("the sentinels to know all servers", || {
                sentinel.field("num-slaves") == "2" && sentinel.field("num-other-sentinels") == "2"
            });
        }
        all
    }

    /// Returns the URL by which a client finds the master.
    pub(crate) fn url(&self) -> String {
        let login = match self.guard {
            Guard::Open | Guard::Tls(_) => "",
            Guard::Users => "?sentinel_user=watcher&sentinel_password=watch-secret",
        };
        format!("{}{}/{NAME}{login}", self.guard.url("sentinel"), self.places())
    }

    /// Returns the URL without credentials.
    pub(crate) fn url_of_a_stranger(&self) -> String {
        format!("redis+sentinel://{}/{NAME}", self.places())
    }

    fn places(&self) -> String {
        let places = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port));
        places.collect::<Vec<_>>().join(",")
    }

    /// Returns the addresses of the sentinels.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(|sentinel| sentinel.addr).collect()
    }

    /// Waits until the sentinels have promoted another server.
    pub(crate) fn await_another_master(&self) {
        until_agreed("another master", || self.master().is_some_and(|master| master != 0));
    }

    /// Makes the sentinels promote another server while the first is healthy. They refuse as long
    /// as they consider no replica suitable.
    pub(crate) fn switch(&self) {
        until_agreed("the sentinels to switch", || {
            let switched = self.master().is_some_and(|master| master != 0);
            if !switched {
                self.sentinels[0].command(&["SENTINEL", "FAILOVER", NAME]);
            }
            switched
        });
    }

    /// Returns the index of the current master, as the first running sentinel reports it.
    pub(crate) fn master(&self) -> Option<usize> {
        let mut running = self.sentinels.iter().filter(|sentinel| sentinel.child.is_some());
        let port: u16 = running.next()?.field("port").parse().ok()?;
        self.ports.iter().position(|other| *other == port)
    }
}

impl Sentinel {
    fn start(master_port: u16, guard: &Guard) -> Self {
        on_free_ports(|ports| Self::try_start(ports, master_port, guard))
    }

    fn try_start([port, tls_port]: [u16; 2], master_port: u16, guard: &Guard) -> Option<Self> {
        let folder = folder();
        let file = folder.path().join("sentinel.conf");
        let settings = format!(
            "bind 127.0.0.1\nport {port}\ndir {folder}\n\
             {guarded}\
             sentinel monitor {NAME} 127.0.0.1 {master_port} 2\n\
             sentinel down-after-milliseconds {NAME} 500\n\
             sentinel failover-timeout {NAME} 3000\n",
            folder = folder.path().display(),
            guarded = guard.of_sentinel(tls_port),
        );
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("redis-server: is it installed? tests/run.sh does that");
        let mut sentinel = Self {
            addr: (Ipv4Addr::LOCALHOST, port).into(),
            port: guard.port(port, tls_port),
            child: Some(child),
            _folder: folder,
        };
        let mut has_ended = false;
        until("a sentinel to answer", || {
            has_ended = sentinel.child.as_mut().unwrap().try_wait().unwrap().is_some();
            has_ended || TcpStream::connect(sentinel.addr).is_ok()
        });
        (!has_ended).then_some(sentinel)
    }

    /// Kills the sentinel with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends one command on its own connection, and reads its reply.
    fn command(&self, arguments: &[&str]) -> Value {
        let stream = TcpStream::connect_timeout(&self.addr, PATIENCE).expect("a sentinel");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        ask(stream, arguments).expect("a reply")
    }

    /// Returns a field of the sentinel's state of the master.
    fn field(&self, name: &str) -> String {
        let Value::Array(pairs) = self.command(&["SENTINEL", "MASTER", NAME]) else { panic!("no master") };
        let pairs: Vec<_> = pairs.iter().map(Value::text).collect();
        let pair = pairs.chunks(2).find(|pair| pair[0] == name);
        pair.map(|pair| pair[1].clone()).unwrap_or_default()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns one line of a server's `INFO replication`.
pub(super) fn info(redis: &Redis, name: &str) -> String {
    let info = redis.command(&["INFO", "replication"]).text();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().to_owned()
}
