//! Writes and reads of accounts, and the old responses that the reads show.
//!
//! Each account is a number of writes, and each read of the origin returns it. After the answer to
//! a write that every node has confirmed, a response with a smaller number is stale.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cachewarp::time::instant;
use tempfile::NamedTempFile;

use super::client::Client;
use super::exchange::Answer;
use super::origin::Origin;
use super::{Response, until};

pub(crate) const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");

const ROUTES: &str = r#"
[[route]]
name = "account"
path = "/accounts/{id}"

[[route]]
name = "items"
path = "/accounts/{id}/items"

[[route]]
name = "payments"
path = "/accounts/{id}/payments"
methods = ["POST"]
on_write = { purge = ["account", "items"], purge_tags = ["ledger:{id}", "totals"] }
"#;

/// The mark of an answer whose purge some node has not confirmed.
pub(crate) const UNCONFIRMED: &str = "CacheWarp; fwd=method; detail=purge-unconfirmed";

/// Returns whether a response comes from the cache.
pub(crate) fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

/// Writes the routes, with further members of `on_write`.
pub(crate) fn routes_file(members: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let routes = ROUTES.replace(r#""totals"] }"#, &format!(r#""totals"]{members} }}"#));
    file.write_all(routes.as_bytes()).unwrap();
    file
}

/// Answers reads of an account with the number of its writes until `lag` ago.
pub(crate) fn count_writes(origin: &Origin, account: usize, lag: Duration) {
    let writes = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let written = Arc::clone(&writes);
    origin.script(&format!("/accounts/{account}"), move |exchange| {
        let now = instant();
        let count = writes.lock().unwrap().iter().filter(|written| **written + lag <= now).count();
        Answer::json_with(&[FRESH], &count.to_string()).give(exchange)
    });
    origin.script(&format!("/accounts/{account}/payments"), move |exchange| {
        exchange.body()?;
        written.lock().unwrap().push(instant());
        Answer::new(204, &[], "").give(exchange)
    });
}

/// The observations of a client that writes an account and reads it on all nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteHistory {
    pub(crate) confirmed: usize,
    pub(crate) unconfirmed: usize,
    /// Hits of the state before a write, so that there was something to purge.
    pub(crate) hits: usize,
    /// Old responses after the answer to a confirmed write.
    pub(crate) stale: usize,
}

impl WriteHistory {
    /// Writes an account, and returns whether every node has confirmed the purge.
    fn write(&mut self, client: &mut Client, account: usize) -> bool {
        let path = format!("/accounts/{account}/payments");
        let written = client.request("POST", &path, &[("Content-Length", "0")]);
        assert_eq!(written.status, 204);
        if written.field("cache-status").is_some() {
            assert_eq!(written.cache_status(), UNCONFIRMED);
            self.unconfirmed += 1;
            return false;
        }
        self.confirmed += 1;
        true
    }
}

/// Writes an account, by turns on each node, and reads it on all of them.
fn write_and_read(
    nodes: &[SocketAddr],
    account: usize,
    tries: usize,
    all_written: &AtomicUsize,
) -> WriteHistory {
    let mut clients: Vec<_> = nodes.iter().copied().map(Client::connect).collect();
    let path = format!("/accounts/{account}");
    let mut seen = WriteHistory::default();
    for number in 1..=tries {
        for client in &mut clients {
            client.get(&path);
            seen.hits += usize::from(is_hit(&client.get(&path)));
        }
        let writer = number % clients.len();
        let is_confirmed = seen.write(&mut clients[writer], account);
        all_written.fetch_add(1, Ordering::SeqCst);
        if is_confirmed {
            for client in &mut clients {
                seen.stale += usize::from(client.get(&path).text() != number.to_string());
            }
        }
    }
    seen
}

/// Writes an account, by turns on each node, and reads it on all of them until it is stored again:
/// each hit after a confirmed write shows the write.
pub(crate) fn write_and_await_hits(nodes: &[SocketAddr], account: usize, tries: usize) -> WriteHistory {
    let mut clients: Vec<_> = nodes.iter().copied().map(Client::connect).collect();
    let path = format!("/accounts/{account}");
    let mut seen = WriteHistory::default();
    let await_hits = |clients: &mut Vec<Client>, seen: &mut WriteHistory, least: Option<usize>| {
        for client in clients {
            until("the response to be stored", || {
                let response = client.get(&path);
                let is_hit = is_hit(&response);
                let is_old = |least: usize| response.text().parse::<usize>().unwrap() < least;
                seen.stale += usize::from(is_hit && least.is_some_and(is_old));
                is_hit
            });
            seen.hits += 1;
        }
    };
    for number in 1..=tries {
        await_hits(&mut clients, &mut seen, None);
        let writer = number % clients.len();
        let least = seen.write(&mut clients[writer], account).then_some(number);
        await_hits(&mut clients, &mut seen, least);
    }
    seen
}

/// Begins this many tries of all clients together, and counts the writes.
pub(crate) fn begin(
    origin: &Origin,
    nodes: &[SocketAddr],
    tries: usize,
    written: &Arc<AtomicUsize>,
) -> Vec<JoinHandle<WriteHistory>> {
    const CLIENTS: usize = 8;
    let client = |account: usize| {
        count_writes(origin, account, Duration::ZERO);
        let (written, nodes) = (Arc::clone(written), nodes.to_vec());
        thread::spawn(move || write_and_read(&nodes, account, tries / CLIENTS, &written))
    };
    (0..CLIENTS).map(client).collect()
}

/// Adds up what all clients saw.
pub(crate) fn together(clients: Vec<JoinHandle<WriteHistory>>) -> WriteHistory {
    let mut all = WriteHistory::default();
    for client in clients {
        let WriteHistory { confirmed, unconfirmed, hits, stale } = client.join().unwrap();
        all.confirmed += confirmed;
        all.unconfirmed += unconfirmed;
        all.hits += hits;
        all.stale += stale;
    }
    println!("{all:?}");
    all
}
