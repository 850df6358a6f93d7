//! A node as an operator runs it: a process.

use std::net::SocketAddr;

use crate::harness::{Client, Origin, Program, Redis, Response, Start, client, until};

/// A running CacheWarp process.
pub(crate) struct Process {
    pub(crate) program: Program,
    addr: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    /// Starts `count` nodes in front of one origin and one Redis, and waits until each receives the
    /// messages of all.
    pub(crate) fn fleet(count: usize, origin: &Origin, redis: &Redis, flags: &[&str]) -> Vec<Self> {
        let nodes: Vec<_> = (0..count).map(|_| Self::start(origin, redis, flags)).collect();
        let whole = format!(r#""nodes":{count},"confirmed":{count},"#);
        for node in &nodes {
            until("all nodes to receive each other's messages", || {
                node.purge(r#"{"tag":"nothing"}"#).text().contains(&whole)
            });
        }
        nodes
    }

    fn start(origin: &Origin, redis: &Redis, flags: &[&str]) -> Self {
        let is_given = flags.iter().any(|flag| flag.starts_with("--redis-timeout"));
        let patient: &[&str] = if is_given { &[] } else { &["--redis-timeout=5s"] };
        Self::start_at(origin, &redis.url(), &[patient, flags].concat())
    }

    /// Starts a node with two workers on this Redis.
    pub(crate) fn start_at(origin: &Origin, redis_url: &str, flags: &[&str]) -> Self {
        let origin = origin.url();
        let mut arguments = vec!["--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"];
        arguments.extend(["--worker-threads=2", "--redis-pool-size=4"]);
        arguments.extend(["--origin-url", &origin, "--redis-url", redis_url]);
        arguments.extend(flags);
        let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
        let addr = program.await_addr();
        let line = program.await_line("serving");
        let admin = line.split("admin=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        Self { program, addr, admin: admin.parse().unwrap() }
    }

    /// Opens a connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Sends a request, and returns its connection.
    pub(crate) fn ask(&self, target: &str, fields: &[(&str, &str)]) -> Client {
        let mut client = self.connect();
        client.send_head("GET", target, fields);
        client
    }

    /// Sends a `POST /purge`.
    pub(crate) fn purge(&self, order: &str) -> Response {
        let mut client = Client::connect(self.admin);
        client.send(format!(
            "POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{order}",
            order.len()
        ));
        client.response()
    }

    /// Returns the value of one series, or zero if it does not exist yet.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = client::get(self.admin, "/metrics");
        let line = page.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}
