//! Child processes: started here, signalled by their id, and stopped when their owner is dropped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use load::clock;

use crate::Failure;

/// Interval at which a condition is checked.
const LOOK: Duration = Duration::from_millis(20);

/// A process. Dropping it kills it.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program without input and output.
    pub(crate) fn start(program: &str, arguments: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Self).map_err(|error| format!("{program}: {error}").into())
    }

    /// Returns the process id.
    pub(crate) fn number(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal, such as `TERM`, `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) -> Result<(), Failure> {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.number().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(format!("cannot send SIG{name}").into()) }
    }

    /// Kills the process, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Waits for the end of the process. Fails if it ended with an error.
    pub(crate) fn await_end(&mut self) -> Result<(), Failure> {
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a node ended with {status}").into()) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has ended cannot be killed, which is fine.
        let _ = self.kill();
    }
}

/// Returns a port that was free a moment ago.
pub(crate) fn free() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Starts `redis-server` without persistence, with further arguments.
pub(crate) fn redis(port: u16, more: &[&str]) -> Result<Process, Failure> {
    let port = port.to_string();
    let words = ["--port", &port, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"];
    let arguments: Vec<_> = words.iter().chain(more).map(ToString::to_string).collect();
    Process::start("redis-server", &arguments)
}

/// Returns the reply of a Redis or a sentinel to a command.
pub(crate) fn redis_command(port: u16, words: &[&str]) -> Result<String, Failure> {
    let port = port.to_string();
    let output = Command::new("redis-cli").args(["-p", &port]).args(words).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until a condition holds.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failure> {
    let limit = clock::now() + Duration::from_secs(60);
    while !is_so() {
        if clock::now() > limit {
            return Err(format!("timeout while waiting for {what}").into());
        }
        sleep(LOOK);
    }
    Ok(())
}
