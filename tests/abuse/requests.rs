//! What clients send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::case::Case;
use crate::harness::{PATIENCE, Proxy};
use crate::origin::{Asked, Origin};
use crate::wire::{Extent, Head, Kind, extent};

/// One that is told bytes and reads answers strictly.
pub(crate) struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Answer {
        status: u16,
        bytes: Vec<u8>,
    },
    /// The connection ended, with these bytes of something unfinished.
    Closed(Vec<u8>),
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, bytes: Vec::new() }
    }

    /// Sends what the other side takes: who refuses early may close before all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next answer. What is framed in two ways fails.
    pub(crate) fn next(&mut self, method: &str) -> Got {
        let kind = Kind::Answer { bodiless: method == "HEAD" };
        let mut ended = false;
        loop {
            let end = match extent(kind, &self.bytes).unwrap_or_else(|fault| panic!("an answer with {fault}"))
            {
                Extent::Whole(end) => Some(end),
                Extent::AtClose if ended => Some(self.bytes.len()),
                Extent::AtClose | Extent::Partial => None,
            };
            if let Some(end) = end {
                let bytes: Vec<u8> = self.bytes.drain(..end).collect();
                let status = Head::read(&bytes).unwrap().unwrap().word(1).parse().unwrap();
                return Got::Answer { status, bytes };
            }
            if ended {
                return Got::Closed(std::mem::take(&mut self.bytes));
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(0) => ended = true,
                Ok(count) => self.bytes.extend(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => ended = true,
                Err(error) => panic!("neither an answer nor an end: {error}, after {:?}", self.bytes),
            }
        }
    }

    pub(crate) fn get(&mut self, target: &str) -> Got {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        self.next("GET")
    }
}

/// `200 /a`: the status, and whose answer it is if it is one of the origin's.
fn told(got: &Got) -> String {
    match got {
        Got::Closed(rest) if rest.is_empty() => "closed".to_owned(),
        Got::Closed(rest) => format!("cut {rest:?}"),
        Got::Answer { status, bytes } => {
            let text = String::from_utf8_lossy(bytes);
            let of = text.split("{\"to\":\"").nth(1).and_then(|rest| rest.split('"').next());
            of.map_or_else(|| status.to_string(), |target| format!("{status} {target}"))
        }
    }
}

const PROBE: &str = "/probe";

pub(crate) fn hold(case: &mut Case) {
    let origin = Origin::start(None);
    let base = case.says("base").unwrap_or_default().to_owned();
    let proxy = Proxy::start(&format!("{}{base}", origin.url()), &[]);
    if let Some(target) = case.says("warm") {
        let Got::Answer { status: 200, .. } = Client::connect(proxy.addr()).get(target) else {
            panic!("cold")
        };
    }
    let warmed = origin.asked().len();

    let sent = case.bytes("client");
    let fate = case.says("fate").unwrap().to_owned();
    let mut client = Client::connect(proxy.addr());
    client.send(&sent);
    let mut methods =
        sent.split(|&byte| byte == b'\n').filter_map(|line| line.starts_with(b"HEAD ").then_some("HEAD"));
    let mut seen = Vec::new();
    // The answers that it is to get, then one to a probe: anything that comes between was never asked for.
    for _ in fate.split(", ").filter(|part| !["open", "closed", "refused"].contains(part)) {
        seen.push(client.next(methods.next().unwrap_or("GET")));
        if matches!(seen.last(), Some(Got::Closed(_))) {
            break;
        }
    }
    let mut told_all: Vec<String> = seen.iter().map(told).collect();
    if !matches!(seen.last(), Some(Got::Closed(_))) {
        let after = client.get(PROBE);
        let own =
            matches!(&after, Got::Answer { status: 200, .. }) && told(&after) == format!("200 {base}{PROBE}");
        told_all.push(match told(&after).as_str() {
            _ if own => "open".to_owned(),
            "400" => "refused".to_owned(),
            other => other.to_owned(),
        });
    }
    assert_eq!(told_all.join(", "), fate, "\n{}: {:?}", case.name, seen);

    // The next on CacheWarp's own connections.
    for target in ["/after-1", "/hit-after-2"] {
        let got = Client::connect(proxy.addr()).get(target);
        assert_eq!(told(&got), format!("200 {base}{target}"), "{got:?}");
    }
    let probes = [PROBE, "/after-1", "/hit-after-2"].map(|target| format!("{base}{target}"));
    let mut went_on: Vec<Asked> = origin.asked().split_off(warmed);
    went_on.retain(|asked| !probes.contains(&asked.target));
    let bytes: Vec<u8> = went_on.iter().flat_map(|asked| plain(&asked.bytes, &origin)).collect();
    case.expect("the origin", &bytes);
}

/// With names in place of what differs from run to run, and of what is in every request.
pub(crate) fn plain(request: &[u8], origin: &Origin) -> Vec<u8> {
    let host = format!("host: {}\r\n", origin.authority());
    let replaced = replace(request, host.as_bytes(), b"host: {origin}\r\n");
    let ours = b"via: 1.1 cachewarp\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: test\r\n";
    replace(&replaced, ours, b"{ours}\r\n")
}

pub(crate) fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    match bytes.windows(old.len()).position(|window| window == old) {
        None => bytes.to_vec(),
        Some(at) => [&bytes[..at], new, &bytes[at + old.len()..]].concat(),
    }
}
