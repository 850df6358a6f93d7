//! A real `redis-server`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use super::resp::{self, Value};
use super::{PATIENCE, until};

/// Attempts to start on a free port that another process may bind first.
const PORTS_TRIED: usize = 8;

/// A server without persistence, in its own folder.
#[derive(Debug)]
pub(crate) struct Redis {
    folder: TempDir,
    place: Place,
    arguments: Vec<String>,
    child: Option<Child>,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Redis {
    /// Starts a server on a free loopback port, and waits until it accepts connections.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further arguments, such as `--requirepass secret`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        on_free_ports(|[port]| Self::try_start(port, arguments))
    }

    /// Returns the major version of the installed server. Valkey continues the numbers of Redis 7.
    pub(crate) fn version() -> u32 {
        let output = Command::new("redis-server").arg("--version").output().unwrap().stdout;
        let output = String::from_utf8(output).unwrap();
        let (_, version) = output.split_once("v=").expect("a version");
        version.split('.').next().unwrap().parse().unwrap()
    }

    /// Starts a server that speaks TLS only.
    pub(crate) fn start_with_tls(arguments: &[&str]) -> Self {
        on_free_ports(|[port]| {
            let tls_port = port.to_string();
            Self::try_start(port, &[&["--port", "0", "--tls-port", &tls_port], arguments].concat())
        })
    }

    /// Starts a server on this port, unless another process has it.
    pub(super) fn try_start(port: u16, arguments: &[&str]) -> Option<Self> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut redis = Self::at(Place::Tcp(addr), arguments);
        (redis.launch() == Launch::Ready).then_some(redis)
    }

    /// Starts a server on a unix socket.
    pub(crate) fn start_on_unix_socket() -> Self {
        let mut redis = Self::at(Place::Unix(PathBuf::new()), &[]);
        redis.place = Place::Unix(redis.folder.path().join("redis.sock"));
        assert_eq!(redis.launch(), Launch::Ready, "redis-server did not start");
        redis
    }

    fn at(place: Place, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self { folder: folder(), place, arguments, child: None }
    }

    /// Returns the URL, `redis://…` or `unix://…`.
    pub(crate) fn url(&self) -> String {
        match &self.place {
            Place::Tcp(addr) => format!("redis://{addr}"),
            Place::Unix(path) => format!("unix://{}", path.display()),
        }
    }

    /// Returns the listening address of a server on a port.
    pub(crate) fn addr(&self) -> SocketAddr {
        let Place::Tcp(addr) = self.place else { panic!("it is on a unix socket") };
        addr
    }

    /// Kills the server with SIGKILL, and waits until it is gone. Its data is gone as well.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Kills the server if it runs, and starts it again at the same address.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert_eq!(self.launch(), Launch::Ready, "redis-server did not start again");
    }

    /// Stops the server with SIGSTOP: its connections stay open and get no answer.
    pub(crate) fn stall(&self) {
        self.signal("STOP");
        let stat = format!("/proc/{}/stat", self.pid());
        // The signal may not have taken effect yet. In the file, the state follows the name in
        // brackets.
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            thread::yield_now();
        }
    }

    /// Resumes a stopped server.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends one command on its own connection, and reads its reply.
    pub(crate) fn command(&self, arguments: &[&str]) -> Value {
        self.try_command(arguments).expect("a reply")
    }

    /// Sends one command to a server that may close the connection, as it does when its role
    /// changes.
    pub(crate) fn try_command(&self, arguments: &[&str]) -> io::Result<Value> {
        match &self.place {
            Place::Tcp(addr) => {
                let stream = TcpStream::connect_timeout(addr, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                ask(stream, arguments)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                ask(stream, arguments)
            }
        }
    }

    /// Returns the names of all keys except for the purge log, the registry of nodes, the run of
    /// the server, tombstones, leases, and the keys that only operators read.
    pub(crate) fn keys(&self) -> Vec<String> {
        const SCRIPT: &str = "local names = {} \
            for _, name in ipairs(redis.call('KEYS', '*')) do \
                local head = redis.pcall('GETRANGE', name, 0, 3) \
                local is_beside = string.find(name, 'clock$') or string.find(name, 'nodes$') or string.find(name, 'server$') or string.find(name, 'lease:') or string.find(name, 'vary:') \
                if head ~= 'CW\\4\\3' and not is_beside then names[#names + 1] = name end \
            end \
            return names";
        let Value::Array(names) = self.command(&["EVAL", SCRIPT, "0"]) else { return Vec::new() };
        names.iter().map(Value::text).collect()
    }

    /// Waits until the server has this many keys, and returns their names.
    pub(crate) fn await_keys(&self, count: usize) -> Vec<String> {
        until(&format!("{count} keys"), || self.keys().len() == count);
        self.keys()
    }

    /// Returns how often a command has run since the start.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let statistics = self.command(&["INFO", "commandstats"]).text();
        let line = format!("cmdstat_{command}:calls=");
        let count = statistics.lines().find_map(|found| found.strip_prefix(&line)?.split(',').next());
        count.map_or(0, |count| count.parse().unwrap())
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running redis-server").id()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(sent.success());
    }

    fn launch(&mut self) -> Launch {
        let mut command = Command::new("redis-server");
        match &self.place {
            Place::Tcp(addr) => {
                command.args(["--bind", &addr.ip().to_string(), "--port", &addr.port().to_string()]);
            }
            Place::Unix(path) => {
                command.args(["--port", "0", "--unixsocket", &path.display().to_string()]);
            }
        }
        command.args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", ""]);
        command.arg("--dir").arg(self.folder.path()).args(&self.arguments);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server: is it installed? tests/run.sh does that");
        let mut log = BufReader::new(child.stdout.take().unwrap());
        self.child = Some(child);
        let mut line = String::new();
        while log.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line.contains("eady to accept connections") {
                // An unread pipe would fill up and block the server. The thread ends with the
                // process.
                thread::spawn(move || io::copy(&mut log, &mut io::sink()));
                return Launch::Ready;
            }
            line.clear();
        }
        self.kill();
        Launch::Failed
    }
}

/// Returns a folder in memory, if there is one. Sentinels and servers of a cluster write to the
/// disk at each change of state, and on a busy disk they miss their own elections.
pub(super) fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

/// Starts a server on free ports, and tries others if a port is taken meanwhile.
pub(super) fn on_free_ports<const COUNT: usize, T>(start: impl Fn([u16; COUNT]) -> Option<T>) -> T {
    for _ in 0..PORTS_TRIED {
        // All listeners exist at once, so that the ports differ.
        let held = [(); COUNT].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let ports = std::array::from_fn(|index| held[index].local_addr().unwrap().port());
        drop(held);
        if let Some(started) = start(ports) {
            return started;
        }
    }
    panic!("no free port in {PORTS_TRIED} tries");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Launch {
    Ready,
    Failed,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn ask(mut stream: impl Read + Write, arguments: &[&str]) -> io::Result<Value> {
    stream.write_all(&resp::command(arguments))?;
    resp::read(&mut BufReader::new(stream))?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
