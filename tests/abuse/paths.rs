//! Paths that an origin reads in another way than CacheWarp: cache deception, and evasion of
//! routes.
//!
//! Five origins read each path of `paths.txt` in five ways, and the program runs in front of each
//! of them with one routes file. An origin answers by the resource that it reads: a private
//! resource differs for each fetch, and its response states nothing about caching.
//!
//! - A response is stored only if the origin reads the path as a resource of the route whose rules
//!   applied, so no rule stores a private resource under any spelling.
//! - A write that the origin reads as one to `/rates/eur` purges that resource under any spelling.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::NamedTempFile;

use crate::harness::{Answer, Client, Origin, Program, Response, Start, until};

/// The routes: resources that may be stored whatever the origin says, beside private ones.
const ROUTES: &str = r#"
[[route]]
name = "public"
path = "/public/{*rest}"
cache_control = "max-age=600"
override = ["private", "no-store", "set-cookie"]
[[route]]
name = "me"
path = "/public/me"
cache = false
[[route]]
name = "account"
path = "/account/{id}"
mode = "off"
[[route]]
name = "rates"
path = "/rates/{pair}"
cache_control = "max-age=600"
[[route]]
name = "write"
path = "/rates/{pair}"
methods = ["POST"]
on_write = { purge = ["rates"] }
"#;

/// Paths in the corpus, at least.
const PATHS_MIN: usize = 150;

/// A way in which an origin reads a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathReader {
    /// Removes `;` and all behind it from each segment.
    Parameters,
    /// Merges slashes.
    MergedSlashes,
    /// Ignores letter case.
    AnyCase,
    /// Decodes everything, `%2F` too, before it splits the path.
    DecodedSlashes,
    /// Ignores a slash at the end.
    OptionalSlash,
}

const READERS: [PathReader; 5] = [
    PathReader::Parameters,
    PathReader::MergedSlashes,
    PathReader::AnyCase,
    PathReader::DecodedSlashes,
    PathReader::OptionalSlash,
];

impl PathReader {
    /// Returns the resource that the origin serves for a path. Every origin decodes segments, and
    /// resolves dot segments last.
    fn resource(self, path: &str) -> String {
        let path = match self {
            Self::DecodedSlashes => decoded(path).replace('\\', "/"),
            Self::AnyCase => path.to_lowercase(),
            Self::Parameters | Self::MergedSlashes | Self::OptionalSlash => path.to_owned(),
        };
        let mut segments: Vec<String> = Vec::new();
        let all: Vec<&str> = path.split('/').skip(1).collect();
        for (at, segment) in all.iter().enumerate() {
            let bare = match self {
                Self::Parameters => segment.split(';').next().unwrap_or_default(),
                Self::MergedSlashes | Self::AnyCase | Self::DecodedSlashes | Self::OptionalSlash => segment,
            };
            let name = decoded(bare);
            let is_last = at + 1 == all.len();
            match name.as_str() {
                "" if self == Self::MergedSlashes && !is_last => {}
                "" if self == Self::OptionalSlash && is_last => {}
                "." => {}
                ".." => drop(segments.pop()),
                _ => segments.push(if self == Self::AnyCase { name.to_lowercase() } else { name }),
            }
        }
        format!("/{}", segments.join("/"))
    }
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The rules that a resource has in the routes file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    Public,
    Private,
    Rates,
    Elsewhere,
}

fn area(resource: &str) -> Area {
    match resource.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["public", "me"] => Area::Private,
        ["account", id] if !id.is_empty() => Area::Private,
        ["public", _, ..] => Area::Public,
        ["rates", pair] if !pair.is_empty() => Area::Rates,
        _ => Area::Elsewhere,
    }
}

fn corpus() -> BTreeSet<&'static str> {
    include_str!("paths.txt").lines().filter(|line| !line.starts_with('#')).collect()
}

/// The program in front of an origin.
struct Stage {
    client: Client,
    /// Dropping them would stop them.
    _servers: (Program, Origin),
}

fn stage(reader: PathReader) -> Stage {
    let (origin, fetches) = (Origin::start(), Arc::new(AtomicUsize::new(0)));
    for path in corpus() {
        let (resource, fetches) = (reader.resource(path), Arc::clone(&fetches));
        origin.script(path, move |exchange| {
            exchange.body()?;
            let owner = exchange.request.field("authorization").unwrap_or("anonymous").to_owned();
            let number = fetches.fetch_add(1, Ordering::Relaxed);
            let text = format!("{{\"resource\":{resource:?},\"owner\":{owner:?},\"fetch\":{number}}}");
            Answer::json(&text).give(exchange)
        });
    }
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(ROUTES.as_bytes()).unwrap();
    let arguments = [
        "--listen-addr=127.0.0.1:0".to_owned(),
        "--admin-addr=off".to_owned(),
        "--redis-url=off".to_owned(),
        "--worker-threads=1".to_owned(),
        format!("--origin-url={}", origin.url()),
        format!("--routes-file={}", file.path().display()),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    let client = Client::connect(program.await_addr());
    Stage { client, _servers: (program, origin) }
}

fn is_hit(answer: &Response) -> bool {
    answer.cache_status().starts_with("CacheWarp; hit")
}

/// Returns whether the answer came from the cache, or is promised to.
fn is_stored(answer: &Response) -> bool {
    is_hit(answer) || answer.cache_status().contains("; stored")
}

#[test]
fn the_readers_differ() {
    for (path, resources) in [
        ("/a;x/b", ["/a/b", "/a;x/b", "/a;x/b", "/a;x/b", "/a;x/b"]),
        ("/a//b", ["/a//b", "/a/b", "/a//b", "/a//b", "/a//b"]),
        ("/A/b", ["/A/b", "/A/b", "/a/b", "/A/b", "/A/b"]),
        ("/a%252fb", ["/a%2fb", "/a%2fb", "/a%2fb", "/a/b", "/a%2fb"]),
        ("/a/b/", ["/a/b/", "/a/b/", "/a/b/", "/a/b/", "/a/b"]),
        ("/x/../%61", ["/a", "/a", "/a", "/a", "/a"]),
    ] {
        assert_eq!(READERS.map(|reader| reader.resource(path)), resources, "{path}");
    }
    assert!(corpus().len() >= PATHS_MIN, "{} paths", corpus().len());
}

#[test]
fn no_rule_stores_a_path_that_the_origin_reads_as_another() {
    for reader in READERS {
        let mut stage = stage(reader);
        let mut stored = BTreeSet::new();
        for path in corpus() {
            let own = stage.client.request("GET", path, &[("Authorization", "alice")]);
            assert!(!is_stored(&own), "{reader:?} {path}: {}", own.cache_status());
            let answers = [stage.client.get(path), stage.client.get(path)];
            for answer in &answers {
                assert!(!answer.text().contains("alice"), "{reader:?} {path}: {}", answer.text());
            }
            if !answers.iter().any(is_stored) {
                let [first, second] = answers.each_ref().map(Response::text);
                assert!(answers[0].status != 200 || first != second, "{reader:?} {path}");
                continue;
            }
            let (read, meant) = (area(&reader.resource(path)), area(&canonical(path)));
            assert_eq!(read, meant, "{reader:?} stored {path} as {}", reader.resource(path));
            assert_ne!(read, Area::Private, "{reader:?} stored {path}");
            stored.insert(path);
        }
        for path in ["/public/page", "/public/a/b", "/rates/eur", "/rates/%65ur", "/elsewhere"] {
            assert!(stored.contains(path), "{reader:?} has to store {path}");
        }
    }
}

/// Returns the resource of a path by RFC 3986 alone: only letters are decoded.
fn canonical(path: &str) -> String {
    let mut parts = path.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(u8::is_ascii_alphanumeric) {
            Some(byte) => {
                text = text + char::from(byte).encode_utf8(&mut [0; 4]) + part.get(2..).unwrap_or_default()
            }
            None => text = text + "%" + part,
        }
    }
    text
}

#[test]
fn a_write_purges_in_every_reading_of_its_path() {
    const KEPT: &str = "/rates/eur";
    for reader in READERS {
        let mut stage = stage(reader);
        let mut purging = 0;
        for path in corpus() {
            if reader.resource(path) != KEPT {
                continue;
            }
            let client = &mut stage.client;
            until("the response to be stored", || is_hit(&client.get(KEPT)));
            let written = client.request("POST", path, &[("Content-Length", "0")]);
            let after = client.get(KEPT);
            assert!(written.status != 200 || !is_hit(&after), "{reader:?} {path}: {}", after.cache_status());
            purging += usize::from(written.status == 200);
        }
        assert!(purging > 1, "{reader:?} has {purging} spellings");
    }
}
