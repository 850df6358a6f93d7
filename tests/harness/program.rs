//! The `cachewarp` binary, as its operator runs it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;

use super::PATIENCE;

/// What it is started with. Nothing else is around it: no variable, and a working folder of its own.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// The words behind the program's name.
    pub(crate) arguments: &'a [&'a str],
    /// Its environment.
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// Its `.env`, if it has one.
    pub(crate) dotenv: Option<&'a str>,
}

/// A process. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    said: Arc<Said>,
    _folder: TempDir,
}

/// How a process ended, and all that it has said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

#[derive(Default)]
struct Said {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stdout: String,
    stderr: String,
    /// Of the two streams, how many are at their end.
    ended: usize,
}

impl Program {
    /// Starts it.
    pub(crate) fn start(start: &Start<'_>) -> Self {
        let folder = TempDir::new().unwrap();
        if let Some(text) = start.dotenv {
            std::fs::write(folder.path().join(".env"), text).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_cachewarp"));
        command
            .args(start.arguments)
            .env_clear()
            .envs(start.environment.iter().copied())
            .stdin(Stdio::null());
        Self::spawn(command, folder)
    }

    /// Starts it by a shell's script, in which `$0` is the program and `$@` are these words; the file is the shell's standard
    /// input.
    pub(crate) fn start_by(script: &str, input: OwnedFd, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", script, env!("CARGO_BIN_EXE_cachewarp")])
            .args(arguments)
            .env_clear()
            .stdin(input);
        Self::spawn(command, TempDir::new().unwrap())
    }

    fn spawn(mut command: Command, folder: TempDir) -> Self {
        let mut child =
            command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Said>::default();
        listen(child.stdout.take().unwrap(), &said, |state| &mut state.stdout);
        listen(child.stderr.take().unwrap(), &said, |state| &mut state.stderr);
        Self { child, said, _folder: folder }
    }

    /// Starts it with these arguments and waits for its end.
    pub(crate) fn run(arguments: &[&str]) -> Ended {
        Self::start(&Start { arguments, ..Start::default() }).end()
    }

    /// Waits until it has said a line with these words in it, on either stream; the line.
    pub(crate) fn await_line(&self, words: &str) -> String {
        let mut found = None;
        let mut find = |state: &mut State| {
            let mut lines = state.stdout.lines().chain(state.stderr.lines());
            found = lines.find(|line| line.contains(words)).map(str::to_owned);
            found.is_some()
        };
        self.said.wait(words, &mut find);
        found.unwrap()
    }

    /// Waits until it serves; where clients connect.
    pub(crate) fn await_addr(&self) -> SocketAddr {
        let line = self.await_line("serving");
        let addr = line.split("addr=").nth(1).and_then(|rest| rest.split(' ').next());
        addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory now, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// What it has had in memory at most, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends it a signal: `TERM`, `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        self.said.wait("the program to end", &mut |state| state.ended == 2);
        let code = self.child.wait().unwrap().code();
        let state = self.said.state.lock().unwrap();
        Ended { code, stdout: state.stdout.clone(), stderr: state.stderr.clone() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn wait(&self, what: &str, done: &mut dyn FnMut(&mut State) -> bool) {
        let state = self.state.lock().unwrap();
        let (state, waited) = self.changed.wait_timeout_while(state, PATIENCE, |state| !done(state)).unwrap();
        let State { stdout, stderr, .. } = &*state;
        assert!(!waited.timed_out(), "waited in vain for {what:?}; it said\n{stdout}\n{stderr}");
    }
}

/// Notes down what is said on one stream. Ends with the process.
fn listen(stream: impl Read + Send + 'static, said: &Arc<Said>, into: fn(&mut State) -> &mut String) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            into(&mut said.state.lock().unwrap()).push_str(&line);
            said.changed.notify_all();
            line.clear();
        }
        said.state.lock().unwrap().ended += 1;
        said.changed.notify_all();
    });
}
