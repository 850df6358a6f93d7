//! A scripted Redis server, which can do what a real one would not.
//!
//! The server answers the commands of a connection setup (`HELLO`, `AUTH`, `SELECT`, `CLIENT`,
//! `INFO`, `SUBSCRIBE`, `PING`) like Redis, unless the next step of the script expects such a
//! command. Every other command must be the one that the script expects next.

use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::Gate;
use super::resp::{self, Value};

/// The steps of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Expect(Vec<String>),
    Send(Vec<u8>),
    Pass(Gate),
    Hang,
}

impl Script {
    /// Returns an empty script. At the end of its script, a connection is closed.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Expects a command that begins with these words (`GET`, or `GET` and a key).
    pub(crate) fn expect(self, words: &[&str]) -> Self {
        self.then(Step::Expect(words.iter().map(ToString::to_string).collect()))
    }

    /// Sends these bytes next: a reply, half of one, two, or none.
    pub(crate) fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.then(Step::Send(bytes.into()))
    }

    /// Waits at a gate next.
    pub(crate) fn pass(self, gate: &Gate) -> Self {
        self.then(Step::Pass(gate.clone()))
    }

    /// Neither reads nor writes any more, until the client closes.
    pub(crate) fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

/// A function that answers a command with raw bytes, or `None` to close the connection.
type Responder = dyn Fn(&[String]) -> Option<Vec<u8>> + Send + Sync;

/// The server. Dropping it fails the test if a client deviated from the script.
#[derive(Debug)]
pub(crate) struct ScriptedRedis {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    stopping: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    faults: Mutex<Vec<String>>,
}

enum Plan {
    Scripts(Mutex<std::vec::IntoIter<Script>>),
    Responder(Box<Responder>),
}

impl ScriptedRedis {
    /// Starts a server whose first connection follows the first script, and so on. It closes
    /// further connections at once.
    pub(crate) fn follow(scripts: Vec<Script>) -> Self {
        Self::start(Plan::Scripts(Mutex::new(scripts.into_iter())))
    }

    /// Starts a server that answers every command by a function, connection setup included: with
    /// `LOADING`, for example.
    pub(crate) fn respond(respond: impl Fn(&[String]) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::start(Plan::Responder(Box::new(respond)))
    }

    fn start(plan: Plan) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("to listen");
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            plan,
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            faults: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { addr, shared, acceptor: Some(acceptor) }
    }

    /// Returns the URL, `redis://…`.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Returns the listening address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the deviations from the scripts so far.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.shared.faults.lock().unwrap().clone()
    }
}

impl Drop for ScriptedRedis {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees the flag.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if thread::panicking() {
            // The deviations may be the reason for the panic.
            println!("deviations from the scripts: {:?}", self.faults());
        } else {
            assert_eq!(self.faults(), Vec::<String>::new());
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("faults", &self.faults).finish_non_exhaustive()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        shared.connections.lock().unwrap().extend(stream.try_clone());
        let script = match &shared.plan {
            Plan::Scripts(scripts) => match scripts.lock().unwrap().next() {
                Some(script) => Some(script),
                None => continue,
            },
            Plan::Responder(_) => None,
        };
        let shared = Arc::clone(shared);
        // The thread ends with its connection, which `drop` closes.
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let result = match (script, &shared.plan) {
                (Some(script), _) => follow(&mut stream, script, &shared.faults),
                (None, Plan::Responder(respond)) => answer(&mut stream, respond),
                (None, Plan::Scripts(_)) => Ok(()),
            };
            let _ = stream.get_ref().shutdown(Shutdown::Both);
            result
        });
    }
}

fn answer(stream: &mut BufReader<TcpStream>, respond: &Responder) -> io::Result<()> {
    while let Some(command) = read_command(stream)? {
        let Some(reply) = respond(&command) else { break };
        stream.get_mut().write_all(&reply)?;
    }
    Ok(())
}

fn follow(stream: &mut BufReader<TcpStream>, script: Script, faults: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut received = Vec::new();
    // The number of commands that the script has yet to answer, and the automatic replies that must
    // follow them.
    let (mut owed, mut behind) = (0, Vec::new());
    for step in script.0 {
        match step {
            Step::Send(bytes) => {
                stream.get_mut().write_all(&in_turn(bytes, std::mem::take(&mut behind)))?;
                owed = 0;
            }
            Step::Pass(gate) => gate.pass(),
            Step::Hang => {
                io::copy(stream, &mut io::sink())?;
                return Ok(());
            }
            Step::Expect(words) => {
                let command = loop {
                    let Some(command) = read_command(stream)? else {
                        let fault = format!("end of the connection instead of {words:?} after {received:?}");
                        faults.lock().unwrap().push(fault);
                        return Ok(());
                    };
                    received.push(command.join(" "));
                    match set_up(&command) {
                        None => break command,
                        Some(_) if begins(&command, &words) => break command,
                        // Replies keep the order of their commands: a heartbeat, for example, may
                        // arrive at any time.
                        Some(reply) if owed > 0 => behind.push((owed, reply)),
                        Some(reply) => stream.get_mut().write_all(reply)?,
                    }
                };
                owed += 1;
                if !begins(&command, &words) {
                    faults
                        .lock()
                        .unwrap()
                        .push(format!("{command:?} instead of {words:?} after {received:?}"));
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Merges the script's replies with the automatic ones, each behind the replies that it has to
/// follow.
fn in_turn(replies: Vec<u8>, others: Vec<(usize, &'static [u8])>) -> Vec<u8> {
    let (mut rest, mut all, mut passed) = (replies.as_slice(), Vec::new(), 0);
    for (behind, other) in others {
        let before = rest;
        while passed < behind && matches!(resp::read(&mut rest), Ok(Some(_))) {
            passed += 1;
        }
        all.extend(&before[..before.len() - rest.len()]);
        all.extend(other);
    }
    all.extend(rest);
    all
}

fn read_command(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<String>>> {
    Ok(resp::read(stream)?.map(|value| {
        if let Value::Array(words) = value { words.iter().map(word).collect() } else { vec![word(&value)] }
    }))
}

fn word(value: &Value) -> String {
    if let Value::Bulk(bytes) = value {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        format!("{value:?}")
    }
}

/// Compares the name in any case, and the arguments exactly.
fn begins(command: &[String], words: &[String]) -> bool {
    command.len() >= words.len()
        && command.iter().zip(words).enumerate().all(|(place, (received, expected))| {
            if place == 0 { received.eq_ignore_ascii_case(expected) } else { received == expected }
        })
}

/// Returns the reply of Redis to a command of the connection setup.
fn set_up(command: &[String]) -> Option<&'static [u8]> {
    match command.first()?.to_ascii_uppercase().as_str() {
        "HELLO" => Some(
            b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n",
        ),
        "AUTH" | "SELECT" | "CLIENT" => Some(b"+OK\r\n"),
        // The purge log, which a client reads before anything else.
        "GET" if command.get(1)?.ends_with(":clock") => Some(b"$11\r\n1 ff 0 0 0\n\r\n"),
        // The registration of the node and the run of the server, which it repeats when it likes.
        "EVALSHA"
            if [":nodes", ":server"].iter().any(|key| command.get(3).is_some_and(|of| of.ends_with(key))) =>
        {
            Some(b":1\r\n")
        }
        "SUBSCRIBE" => Some(b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"),
        "INFO" => Some(b"$0\r\n\r\n"),
        "PING" => Some(b"+PONG\r\n"),
        _ => None,
    }
}
