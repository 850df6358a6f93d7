//! `cachewarp demo`, as a newcomer runs it: each of its commands, with the promised
//! outcome.

use std::net::{SocketAddr, TcpListener};

use crate::harness::{Client, Ended, Program, Response, Start};

const FLAGS: [&str; 4] = ["demo", "--listen-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--redis-url=off"];

/// A printed curl command, as the request that it sends.
struct Line {
    addr: SocketAddr,
    method: &'static str,
    path: String,
    fields: Vec<(String, String)>,
}

impl Line {
    /// Parses `curl -i [-X POST] [-H 'name: value'] http://host:port/path`.
    fn read(line: &str) -> Self {
        let (flags, url) = line.trim().rsplit_once(" http://").unwrap();
        let (addr, path) = url.split_once('/').unwrap();
        let fields = flags.split(" -H ").skip(1).map(|field| {
            let (name, value) = field.trim_matches('\'').split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        });
        let method = if flags.contains(" -X POST") { "POST" } else { "GET" };
        Self { addr: addr.parse().unwrap(), method, path: format!("/{path}"), fields: fields.collect() }
    }

    fn send(&self) -> Response {
        let fields: Vec<_> =
            self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Client::connect(self.addr).request(self.method, &self.path, &fields)
    }
}

#[test]
fn each_demo_command_has_the_printed_outcome() {
    let program = Program::start(&Start { arguments: &FLAGS, ..Start::default() });
    program.await_line("Ctrl-C stops the demo");
    let lines = ["/slow", "/quotes/", "/accounts/"].map(|path| program.await_line(path));
    let [slow, quotes, accounts] = lines.map(|line| Line::read(&line));

    let (first, second) = (slow.send(), slow.send());
    assert_eq!((first.status, first.cache_status()), (200, "CacheWarp; fwd=uri-miss; stored"));
    assert!(second.cache_status().starts_with("CacheWarp; hit; ttl="), "{}", second.cache_status());
    assert_eq!(first.body, second.body);

    let (first, second) = (quotes.send(), quotes.send());
    assert_eq!(first.cache_status(), "CacheWarp; fwd=uri-miss; stored");
    assert!(second.cache_status().starts_with("CacheWarp; hit; ttl="), "{}", second.cache_status());
    assert!(first.text().contains("\"served\"") && first.body == second.body, "a hit must not change");

    let (first, second) = (accounts.send(), accounts.send());
    assert_eq!((first.status, first.cache_status()), (200, "CacheWarp; fwd=uri-miss; detail=authorization"));
    assert_eq!(second.cache_status(), "CacheWarp; fwd=uri-miss; detail=authorization");
    assert_ne!(first.body, second.body, "the counter must increase");

    let read = Line::read(&program.await_line("/rates/EURUSD"));
    let write = Line::read(&program.await_line("curl -i -X POST"));
    let (first, second) = (read.send(), read.send());
    assert_eq!(first.cache_status(), "CacheWarp; fwd=uri-miss; stored");
    assert!(second.cache_status().starts_with("CacheWarp; hit; ttl="), "{}", second.cache_status());
    let (written, after) = (write.send(), read.send());
    assert_eq!((written.status, write.path == read.path), (200, true));
    assert_eq!(written.field("cache-status"), None, "every node has confirmed");
    let rate = |text: &str| text.split("\"rate\":").nth(1).and_then(|rest| rest.get(..4).map(str::to_owned));
    assert_eq!([first.text(), after.text()].map(rate), [Some("1.08".to_owned()), Some("1.09".to_owned())]);

    // The other paths that the demo names.
    for (path, want) in [("/private", "private"), ("/broken", "invalid-json")] {
        let line = Line { addr: slow.addr, method: "GET", path: path.to_owned(), fields: Vec::new() };
        line.send();
        assert_eq!(line.send().cache_status(), format!("CacheWarp; fwd=uri-miss; detail={want}"));
    }
    let metrics = program.await_line("Metrics: ");
    let url = metrics.split_whitespace().last().unwrap().trim_end_matches('.');
    assert_eq!(Line::read(&format!("curl {url}")).send().status, 200);

    program.signal("INT");
    let Ended { code, stdout, stderr } = program.end();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout.lines().filter(|line| line.trim().starts_with("curl ")).count(), 5);
}

#[test]
fn the_demo_uses_free_ports_if_its_own_are_in_use() {
    let others = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [listen, admin] = others.each_ref().map(|other| other.local_addr().unwrap());
    let flags = [format!("--listen-addr={listen}"), format!("--admin-addr={admin}")];
    let program = Program::start(&Start {
        arguments: &["demo", "--redis-url=off", &flags[0], &flags[1]],
        ..Start::default()
    });
    let line = Line::read(&program.await_line("/quotes/"));
    assert_ne!(line.addr, listen);
    assert_eq!(line.send().status, 200);
}
