//! A scripted origin, which counts and keeps its requests.

use std::collections::HashMap;
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use super::PATIENCE;
use super::exchange::{Answer, Exchange, Request, Then};
use super::wire::{Extent, Head};

/// An HTTP/1.1 server on a free loopback port. It answers 404 on a path without a script.
#[derive(Debug)]
pub(crate) struct Origin {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    scripts: HashMap<String, Arc<Act>>,
    seen: Vec<Request>,
    connections: Vec<TcpStream>,
    accepted: usize,
}

type Act = dyn Fn(&mut Exchange) -> io::Result<Then> + Send + Sync;

impl Origin {
    /// Starts an origin.
    pub(crate) fn start() -> Self {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Starts an origin at the address of a stopped one.
    pub(crate) fn start_at(addr: SocketAddr) -> Self {
        Self::listen(addr)
    }

    fn listen(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).expect("to listen");
        let addr = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { addr, shared, acceptor: Some(acceptor) }
    }

    /// Returns the listening address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the URL of the origin.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Sets the answer of a path (without query). The origin reads the request's body first.
    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.script(path, move |exchange| {
            exchange.body()?;
            answer.give(exchange)
        });
    }

    /// Sets the script of a path. It runs once the head of a request has been read.
    pub(crate) fn script(
        &self,
        path: &str,
        act: impl Fn(&mut Exchange) -> io::Result<Then> + Send + Sync + 'static,
    ) {
        self.shared.state.lock().unwrap().scripts.insert(path.to_owned(), Arc::new(act));
    }

    /// Returns the number of requests for a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen(path).len()
    }

    /// Returns the requests for a path, oldest first.
    pub(crate) fn seen(&self, path: &str) -> Vec<Request> {
        let state = self.shared.state.lock().unwrap();
        state.seen.iter().filter(|request| request.path() == path).cloned().collect()
    }

    /// Waits until this many requests for a path have arrived.
    pub(crate) fn await_count(&self, path: &str, count: usize) {
        let seen = |state: &State| state.seen.iter().filter(|request| request.path() == path).count();
        let state = self.shared.state.lock().unwrap();
        let waited =
            self.shared.changed.wait_timeout_while(state, PATIENCE, |state| seen(state) < count).unwrap();
        assert!(!waited.1.timed_out(), "timeout while waiting for {count} requests for {path}");
    }

    /// Returns the number of accepted connections.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state.lock().unwrap().accepted
    }

    /// Closes all open connections.
    pub(crate) fn close_connections(&self) {
        for stream in self.shared.state.lock().unwrap().connections.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stops. The address then refuses connections.
    pub(crate) fn stop(mut self) -> SocketAddr {
        self.halt();
        self.addr
    }

    fn halt(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees the flag.
        let _ = TcpStream::connect(self.addr);
        let _ = acceptor.join();
        self.close_connections();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.halt();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let mut state = shared.state.lock().unwrap();
        state.accepted += 1;
        state.connections.extend(stream.try_clone());
        drop(state);
        let shared = Arc::clone(shared);
        // The thread ends with its connection, which `halt` closes.
        thread::spawn(move || converse(stream, &shared));
    }
}

fn converse(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(head) = Head::read(&mut stream)? {
        let request = Request { method: head.word(0).to_owned(), target: head.word(1).to_owned(), head };
        let mut state = shared.state.lock().unwrap();
        state.seen.push(request.clone());
        let script = state.scripts.get(request.path()).cloned();
        drop(state);
        shared.changed.notify_all();

        let unread = Extent::of(&request.head, Extent::Length(0));
        let mut exchange = Exchange::new(request, stream, unread);
        let then = match script {
            Some(script) => script(&mut exchange)?,
            None => Answer::new(404, &[], "no such path").give(&mut exchange)?,
        };
        exchange.body()?;
        stream = exchange.into_stream();
        if then == Then::Close {
            break;
        }
    }
    stream.get_ref().shutdown(Shutdown::Both)
}
