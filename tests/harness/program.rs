//! The `cachewarp` binary, started as an operator starts it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;

use super::PATIENCE;

/// The arguments and files of a start. The environment has no other variables, and the working
/// folder is new.
#[derive(Default)]
pub(crate) struct Start<'a> {
    /// The arguments after the program's name.
    pub(crate) arguments: &'a [&'a str],
    /// The environment variables.
    pub(crate) environment: &'a [(&'a str, &'a str)],
    /// The text of `.env`, if there is one.
    pub(crate) dotenv: Option<&'a str>,
}

/// A process. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    output: Arc<Said>,
    folder: TempDir,
}

/// The exit code and the output of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal ended the process.
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
    /// The number of the two streams that have ended.
    ended: usize,
}

impl Program {
    /// Starts the program.
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

    /// Starts the program through a shell script, in which `$0` is the program and `$@` are the
    /// arguments. The file is the shell's standard input.
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
        let output = Arc::<Said>::default();
        listen(child.stdout.take().unwrap(), &output, |state| &mut state.stdout);
        listen(child.stderr.take().unwrap(), &output, |state| &mut state.stderr);
        Self { child, output, folder }
    }

    /// Starts the program with these arguments and waits for its end.
    pub(crate) fn run(arguments: &[&str]) -> Ended {
        Self::start(&Start { arguments, ..Start::default() }).end()
    }

    /// Waits until either stream has a line with these words. Returns the line.
    pub(crate) fn await_line(&self, words: &str) -> String {
        let mut found = None;
        let mut find = |state: &mut State| {
            let mut lines = state.stdout.lines().chain(state.stderr.lines());
            found = lines.find(|line| line.contains(words)).map(str::to_owned);
            found.is_some()
        };
        self.output.wait(words, &mut find);
        found.unwrap()
    }

    /// Writes a file in the program's working folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Waits until the program serves. Returns the address for clients.
    pub(crate) fn await_addr(&self) -> SocketAddr {
        self.await_field("addr=")
    }

    /// Waits until the program serves. Returns the address for operators.
    pub(crate) fn await_admin_addr(&self) -> SocketAddr {
        self.await_field("admin=")
    }

    fn await_field(&self, name: &str) -> SocketAddr {
        let line = self.await_line("serving");
        let addr = line.split(name).nth(1).and_then(|rest| rest.split(' ').next());
        addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Returns the process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the current memory of the process, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Returns the peak memory of the process, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends a signal, such as `TERM` or `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end of the process.
    pub(crate) fn end(mut self) -> Ended {
        self.output.wait("the program to end", &mut |state| state.ended == 2);
        let code = self.child.wait().unwrap().code();
        let state = self.output.state.lock().unwrap();
        Ended { code, stdout: state.stdout.clone(), stderr: state.stderr.clone() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Said {
    fn wait(&self, what: &str, done: &mut dyn FnMut(&mut State) -> bool) {
        let state = self.state.lock().unwrap();
        let (state, waited) = self.changed.wait_timeout_while(state, PATIENCE, |state| !done(state)).unwrap();
        let State { stdout, stderr, .. } = &*state;
        assert!(!waited.timed_out(), "timeout while waiting for {what:?}; the output is\n{stdout}\n{stderr}");
    }
}

/// Records the output of one stream. Ends with the process.
fn listen(stream: impl Read + Send + 'static, output: &Arc<Said>, into: fn(&mut State) -> &mut String) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            into(&mut output.state.lock().unwrap()).push_str(&line);
            output.changed.notify_all();
            line.clear();
        }
        output.state.lock().unwrap().ended += 1;
        output.changed.notify_all();
    });
}
