//! Processes that are ours: started here, signalled by their number, ended with whoever holds them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use load::clock;

use crate::Failure;

/// How often it is asked whether something is so.
const LOOK: Duration = Duration::from_millis(20);

/// A process. Dropping it kills it.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program that says nothing.
    pub(crate) fn start(program: &str, arguments: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Self).map_err(|error| format!("{program}: {error}").into())
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal: `TERM`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) -> Result<(), Failure> {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.number().to_string()]).status()?;
        if sent.success() { Ok(()) } else { Err(format!("SIG{name} could not be sent").into()) }
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Waits for its end, which has to be a good one.
    pub(crate) fn await_end(&mut self) -> Result<(), Failure> {
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a node ended with {status}").into()) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already needs no more.
        let _ = self.kill();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// `redis-server`, without persistence, with these arguments beside.
pub(crate) fn redis(port: u16, more: &[&str]) -> Result<Process, Failure> {
    let port = port.to_string();
    let words = ["--port", &port, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"];
    let arguments: Vec<_> = words.iter().chain(more).map(ToString::to_string).collect();
    Process::start("redis-server", &arguments)
}

/// What a Redis, or a sentinel, says to a command.
pub(crate) fn redis_says(port: u16, words: &[&str]) -> Result<String, Failure> {
    let port = port.to_string();
    let said = Command::new("redis-cli").args(["-p", &port]).args(words).stderr(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failure> {
    let limit = clock::now() + Duration::from_secs(60);
    while !is_so() {
        if clock::now() > limit {
            return Err(format!("waited in vain for {what}").into());
        }
        sleep(LOOK);
    }
    Ok(())
}
