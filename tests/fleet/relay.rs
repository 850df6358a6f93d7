//! A relay between one node and Redis, which can cut the node off in silence.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// A relay. Its threads end with its connections.
pub(crate) struct Relay {
    addr: SocketAddr,
    line: Arc<Line>,
}

struct Line {
    server: SocketAddr,
    state: Mutex<LineState>,
    changed: Condvar,
}

#[derive(Default)]
struct LineState {
    is_cut: bool,
    /// The connections to the server.
    upstream: Vec<TcpStream>,
}

impl Relay {
    /// Starts a relay to a server.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let line = Arc::new(Line { server, state: Mutex::default(), changed: Condvar::new() });
        let accepting = Arc::clone(&line);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), line) = (client, Arc::clone(&accepting)) else { return };
                thread::spawn(move || line.carry(&client));
            }
        });
        Self { addr, line }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Carries nothing from now on: every connection stays open and silent, new ones too.
    pub(crate) fn cut(&self) {
        self.line.state.lock().unwrap().is_cut = true;
    }

    /// Closes the connections to the server, which the node does not notice.
    pub(crate) fn hang_up(&self) {
        for server in self.line.state.lock().unwrap().upstream.drain(..) {
            server.shutdown(Shutdown::Both).unwrap();
        }
    }

    /// Carries again.
    pub(crate) fn mend(&self) {
        self.line.state.lock().unwrap().is_cut = false;
        self.line.changed.notify_all();
    }
}

impl Line {
    fn carry(self: &Arc<Self>, client: &TcpStream) {
        self.await_line();
        let Ok(server) = TcpStream::connect(self.server) else { return };
        self.state.lock().unwrap().upstream.push(server.try_clone().unwrap());
        let (line, from, to) = (Arc::clone(self), server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || line.copy(from, to));
        self.copy(client.try_clone().unwrap(), server);
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 * 1024];
        loop {
            let read = from.read(&mut bytes).unwrap_or(0);
            self.await_line();
            if read == 0 || to.write_all(&bytes[..read]).is_err() {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
    }

    fn await_line(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.is_cut).unwrap());
    }
}
