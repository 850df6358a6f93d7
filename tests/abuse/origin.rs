//! An origin that records every byte, and reads it as strictly as possible.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use crate::wire::{Extent, Head, Kind, extent};

/// The answer to one target.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    /// The target.
    pub(crate) target: String,
    /// The bytes of the answer.
    pub(crate) answer: Vec<u8>,
    /// Closes the connection behind the answer.
    pub(crate) closes: bool,
}

/// A complete request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The number of its connection.
    pub(crate) connection: usize,
    pub(crate) target: String,
    pub(crate) bytes: Vec<u8>,
}

/// The origin. It answers a target without a script with the target's name; below `/hit` the answer
/// may be stored.
pub(crate) struct Origin {
    addr: SocketAddr,
    notes: Arc<Mutex<Notes>>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Notes {
    stopping: bool,
    asked: Vec<Asked>,
    faults: Vec<String>,
    streams: Vec<TcpStream>,
}

impl Origin {
    /// Starts an origin on a free port.
    pub(crate) fn start(scripted: Option<Scripted>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let notes = Arc::<Mutex<Notes>>::default();
        let acceptor = thread::spawn({
            let notes = Arc::clone(&notes);
            move || {
                for (number, stream) in listener.incoming().enumerate() {
                    let (Ok(stream), mut state) = (stream, notes.lock().unwrap()) else { return };
                    if state.stopping {
                        return;
                    }
                    state.streams.extend(stream.try_clone());
                    drop(state);
                    let (notes, scripted) = (Arc::clone(&notes), scripted.clone());
                    // The thread ends with its connection, which this origin closes.
                    thread::spawn(move || converse(stream, number, scripted.as_ref(), &notes));
                }
            }
        });
        Self { addr, notes, acceptor: Some(acceptor) }
    }

    /// Returns the URL of the origin.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Returns the value of its `Host` field.
    pub(crate) fn authority(&self) -> String {
        self.addr.to_string()
    }

    /// Returns all complete requests, in their order. Panics if the origin received an ambiguous
    /// one.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let notes = self.notes();
        assert!(notes.faults.is_empty(), "the origin received an ambiguous request: {:?}", notes.faults);
        notes.asked.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.notes().stopping = true;
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.notes().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn converse(mut stream: TcpStream, connection: usize, scripted: Option<&Scripted>, notes: &Mutex<Notes>) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match extent(Kind::Request, &bytes) {
            Ok(Extent::Whole(length)) => {
                let request: Vec<u8> = bytes.drain(..length).collect();
                let head = Head::read(&request).unwrap().unwrap();
                let target = head.word(1).to_owned();
                let method = head.word(0).to_owned();
                notes.lock().unwrap().asked.push(Asked {
                    connection,
                    target: target.clone(),
                    bytes: request,
                });
                let scripted = scripted.filter(|scripted| scripted.target == target);
                let answer =
                    scripted.map_or_else(|| own(&method, &target), |scripted| scripted.answer.clone());
                if stream.write_all(&answer).is_err() || scripted.is_some_and(|scripted| scripted.closes) {
                    let _ = stream.shutdown(Shutdown::Write);
                    return;
                }
            }
            Ok(Extent::Partial | Extent::AtClose) => match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes.extend(&piece[..count]),
            },
            Err(fault) => return notes.lock().unwrap().faults.push(fault),
        }
    }
}

/// Returns an answer with the name of the target.
fn own(method: &str, target: &str) -> Vec<u8> {
    let control = if target.starts_with("/hit") { "max-age=60" } else { "no-store" };
    let body = format!("{{\"to\":\"{}\"}}", target.replace(['"', '\\'], "?"));
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: {control}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if method != "HEAD" {
        answer.push_str(&body);
    }
    answer.into_bytes()
}
