//! Cases in which a client sends the bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::case::{Case, NO_REQUEST_ID};
use crate::harness::{PATIENCE, Proxy};
use crate::origin::{Asked, Origin};
use crate::wire::{Extent, Head, Kind, extent};

/// A client that sends arbitrary bytes, and reads answers strictly.
pub(crate) struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// The outcome of reading an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Answer {
        status: u16,
        bytes: Vec<u8>,
    },
    /// The connection ended, with these bytes of an incomplete answer.
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

    /// Sends bytes, and ignores an error: a server that refuses early may close before the end.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the next answer. Panics on an ambiguous one.
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
                Err(error) => {
                    panic!("no answer and no end of the connection: {error}, after {:?}", self.bytes)
                }
            }
        }
    }

    pub(crate) fn get(&mut self, target: &str) -> Got {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        self.next("GET")
    }
}

/// Formats an outcome, as in `200 /a`: the status, and the target if the answer is the origin's.
fn outcome(got: &Got) -> String {
    match got {
        Got::Closed(rest) if rest.is_empty() => "closed".to_owned(),
        // RFC 8446 §6: a record of type 21.
        Got::Closed(rest) if rest.starts_with(&[21, 3]) => "tls alert".to_owned(),
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
    let proxy = Proxy::start(&format!("{}{base}", origin.url()), &[NO_REQUEST_ID]);
    if let Some(target) = case.says("warm") {
        let Got::Answer { status: 200, .. } = Client::connect(proxy.addr()).get(target) else {
            panic!("the target of `warm` has no answer")
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
    // The client reads the expected answers, then the answer to a probe. Any answer in between was
    // never requested.
    for _ in fate.split(", ").filter(|part| !["open", "closed", "refused"].contains(part)) {
        seen.push(client.next(methods.next().unwrap_or("GET")));
        if matches!(seen.last(), Some(Got::Closed(_))) {
            break;
        }
    }
    let mut outcomes: Vec<String> = seen.iter().map(outcome).collect();
    if !matches!(seen.last(), Some(Got::Closed(_))) {
        let after = client.get(PROBE);
        let own = matches!(&after, Got::Answer { status: 200, .. })
            && outcome(&after) == format!("200 {base}{PROBE}");
        outcomes.push(match outcome(&after).as_str() {
            _ if own => "open".to_owned(),
            "400" => "refused".to_owned(),
            other => other.to_owned(),
        });
    }
    assert_eq!(outcomes.join(", "), fate, "\n{}: {:?}", case.name, seen);

    // Sends further requests over CacheWarp's own connections to the origin.
    for target in ["/after-1", "/hit-after-2"] {
        let got = Client::connect(proxy.addr()).get(target);
        assert_eq!(outcome(&got), format!("200 {base}{target}"), "{got:?}");
    }
    let probes = [PROBE, "/after-1", "/hit-after-2"].map(|target| format!("{base}{target}"));
    let mut went_on: Vec<Asked> = origin.asked().split_off(warmed);
    went_on.retain(|asked| !probes.contains(&asked.target));
    let bytes: Vec<u8> = went_on.iter().flat_map(|asked| plain(&asked.bytes, &origin)).collect();
    case.expect("the origin", &bytes);
}

/// Replaces the origin's address and the fields of every request by names.
pub(crate) fn plain(request: &[u8], origin: &Origin) -> Vec<u8> {
    let host = format!("host: {}\r\n", origin.authority());
    let replaced = replace(request, host.as_bytes(), b"host: {origin}\r\n");
    // `Via` has the version of the request, and its name has 16 digits of its own for each process.
    let prefixes: [&[u8]; 3] = [b"via: 1.1 cachewarp-", b"via: 1.0 cachewarp-", b"via: 2 cachewarp-"];
    let find = |prefix: &&[u8]| {
        let at = replaced.windows(prefix.len()).position(|window| window == *prefix)?;
        replaced.get(at..at + prefix.len() + 16).map(<[u8]>::to_vec)
    };
    let mut ours = prefixes.iter().find_map(find).unwrap_or_default();
    ours.extend(b"\r\n");
    ours.extend(b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: test\r\n");
    replace(&replaced, &ours, b"{ours}\r\n")
}

pub(crate) fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    match bytes.windows(old.len()).position(|window| window == old) {
        None => bytes.to_vec(),
        Some(at) => [&bytes[..at], new, &bytes[at + old.len()..]].concat(),
    }
}
