//! Entries in Redis that are sealed and compressed: the keys of a fleet, and other parties with
//! write access to Redis.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::admin::{JSON, admin_request, purge};
use crate::harness::{Answer, Client, Gate, Origin, Program, Proxy, Redis, Start, Value, until};

/// Two lines of a key file.
pub(crate) const LINES: [&str; 2] = [
    "2026-11:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "2026-08:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];
/// Settings for a busy machine, without memory: each request is answered by Redis or the origin.
const PATIENT: [(&str, &str); 3] =
    [("redis_timeout", "10s"), ("cache_memory_size", "0"), ("fetch_lease", "off")];

/// Writes a key file and renames it to its place, as an operator would.
pub(crate) fn write_keys(path: &Path, lines: &[&str]) {
    let new = path.with_extension("new");
    fs::write(&new, lines.join("\n")).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// A folder with a key file.
pub(crate) struct KeyFile {
    _folder: TempDir,
    pub(crate) path: String,
}

impl KeyFile {
    pub(crate) fn of(lines: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("keys");
        write_keys(&path, lines);
        Self { path: path.to_str().unwrap().to_owned(), _folder: folder }
    }
}

pub(crate) fn start(
    origin: &Origin,
    redis: &Redis,
    keys: Option<&KeyFile>,
    settings: &[(&str, &str)],
) -> Proxy {
    let file = keys.map(|keys| ("entry_key_file", keys.path.as_str()));
    let settings: Vec<_> = PATIENT
        .iter()
        .filter(|(name, _)| settings.iter().all(|(given, _)| given != name))
        .chain(settings)
        .copied()
        .chain(file)
        .collect();
    Proxy::start_with_redis(&origin.url(), &redis.url(), &settings)
}

pub(crate) fn cacheable(body: &str) -> Answer {
    Answer::json_with(&[("Cache-Control", "max-age=600")], body)
}

pub(crate) fn is_hit(proxy: &Proxy, target: &str) -> bool {
    proxy.get(target).cache_status().contains("hit")
}

fn damaged(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!("cachewarp_entries_damaged_total{{reason=\"{reason}\"}}"))
}

/// Returns the names and values of all keys.
fn dump(redis: &Redis) -> Vec<u8> {
    const SCRIPT: &str = "local all = {} \
        for _, name in ipairs(redis.call('KEYS', '*')) do \
            local value = redis.pcall('GET', name) \
            if type(value) ~= 'string' then value = redis.call('DUMP', name) end \
            for _, text in ipairs({name, value}) do \
                all[#all + 1] = string.gsub(text, '.', function(c) return string.format('%02x', string.byte(c)) end) \
                all[#all + 1] = string.gsub('\\n', '.', function(c) return string.format('%02x', string.byte(c)) end) \
            end \
        end \
        return table.concat(all)";
    let digits = redis.command(&["EVAL", SCRIPT, "0"]).text();
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Returns a text in the forms in which a dump may contain it.
fn forms(text: &str) -> Vec<Vec<u8>> {
    const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hex = |upper: bool| -> Vec<u8> {
        text.bytes()
            .flat_map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }.into_bytes())
            .collect()
    };
    let percent = text.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).collect();
    let reversed = text.bytes().rev().collect();
    let mut forms = vec![
        text.as_bytes().to_vec(),
        text.to_uppercase().into_bytes(),
        hex(true),
        hex(false),
        percent,
        reversed,
    ];
    // Base64 of the text behind 0, 1 and 2 bytes, without the digits that other bytes share.
    for before in 0..3 {
        let bytes = [&vec![0; before][..], text.as_bytes()].concat();
        let bits: Vec<u8> =
            bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
        let digits = bits
            .chunks_exact(6)
            .map(|bits| BASE64[bits.iter().fold(0, |sum, bit| sum * 2 + usize::from(*bit))]);
        let standard: Vec<u8> = digits.skip((before * 8).div_ceil(6)).collect();
        forms.push(
            standard
                .iter()
                .map(|digit| match digit {
                    b'+' => b'-',
                    b'/' => b'_',
                    digit => *digit,
                })
                .collect(),
        );
        forms.push(standard);
    }
    forms
}

#[test]
fn a_dump_of_redis_shows_nothing_of_url_header_or_body() {
    let (origin, redis, keys) = (Origin::start(), Redis::start(), KeyFile::of(&LINES));
    let fields = [
        ("Cache-Control", "max-age=600"),
        ("X-Cost", "header-of-the-response"),
        ("Cache-Tag", "tag-of-the-response"),
        ("Vary", "Accept-Language"),
        ("ETag", "\"etag-of-the-response\""),
    ];
    let large = format!("[{}0]", r#"{"balance":"body-of-the-response"},"#.repeat(100));
    for (path, body) in [("/path-of-the-request", r#""body-of-the-response""#), ("/large", &large)] {
        origin.answer(path, Answer::json_with(&fields, body));
    }
    let settings = [("fetch_lease", "on"), ("cache_warm_keys", "10"), ("cache_memory_size", "1MiB")];
    let markers = [
        "path-of-the-request",
        "header-of-the-response",
        "tag-of-the-response",
        "accept-language",
        "language-of-the-request",
        "tag-of-the-request",
        "etag-of-the-response",
        "body-of-the-response",
        "application/json",
        "max-age",
    ];
    for (keys, is_sealed) in [(Some(&keys), true), (None, false)] {
        redis.command(&["FLUSHALL"]);
        let proxy = start(&origin, &redis, keys, &settings);
        for target in ["/path-of-the-request?query-of-the-request", "/path-of-the-request", "/large"] {
            let get = || proxy.get_with(target, &[("Accept-Language", "language-of-the-request")]);
            until("the response to be stored", || get().cache_status().contains("hit"));
        }
        until("the values to be in Redis", || redis.keys().len() >= 7);
        for order in
            [r#"{"tag":"tag-of-the-request"}"#, r#"{"prefix":"http://test/path-of-the-request/below"}"#]
        {
            assert_eq!(purge(&proxy, order).status, 200);
        }
        let mut client = proxy.connect();
        (0..300).for_each(|_| drop(client.get("/large")));
        // A lease is in Redis while a fetch is under way, and a warm list once a node has ended.
        let gate = Gate::new();
        let leased = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        origin.answer("/path-of-the-request/leased", Answer::silent().pass(&gate).send(leased));
        let mut during_fetch = thread::scope(|scope| {
            scope.spawn(|| proxy.get("/path-of-the-request/leased"));
            gate.await_arrivals(1);
            let during_fetch = dump(&redis);
            gate.open();
            during_fetch
        });
        drop(proxy);
        let at_the_end = dump(&redis);
        for (dump, name) in [(&during_fetch, "lease:"), (&at_the_end, "warm:")] {
            assert!(dump.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
        }
        during_fetch.extend(at_the_end);
        let dump = during_fetch;
        let shown: Vec<_> = markers
            .iter()
            .filter(|marker| {
                forms(marker).iter().any(|form| dump.windows(form.len()).any(|part| part == form))
            })
            .collect();
        // Without keys, the search finds the texts: it would find them in sealed values too.
        assert_eq!(shown.is_empty(), is_sealed, "{shown:?}");
    }
}

#[test]
fn a_sealed_prefix_is_a_purge_by_prefix_or_of_everything() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let [purging, opening, other] = [&LINES[..1], &LINES[..], &LINES[1..]].map(KeyFile::of);
    let nodes = [&purging, &opening, &other].map(|keys| start(&origin, &redis, Some(keys), &[]));
    for path in ["/a/1", "/b"] {
        origin.answer(path, cacheable("{}"));
    }
    // Each node reads the entries that a node with its own keys has stored.
    let store = |node: &Proxy| {
        for path in ["/a/1", "/b"] {
            until("the response to be stored", || is_hit(node, path));
        }
    };
    let purge = || purge(&nodes[0], r#"{"prefix":"http://test/a/"}"#).status;
    store(&nodes[0]);
    assert_eq!(purge(), 202, "the nodes have other keys");
    for node in &nodes[..2] {
        assert!(is_hit(node, "/b"), "another prefix");
    }
    assert!(!is_hit(&nodes[1], "/a/1"));
    store(&nodes[2]);
    assert_eq!(purge(), 202);
    assert!(!is_hit(&nodes[2], "/b"), "the node cannot open the prefix");
}

#[test]
fn another_party_cannot_move_change_or_replace_an_entry() {
    let (origin, redis, keys) = (Origin::start(), Redis::start(), KeyFile::of(&LINES));
    let proxy = start(&origin, &redis, Some(&keys), &[]);
    for path in ["/a", "/b"] {
        origin.answer(path, cacheable(&format!("\"{path}\"")));
    }
    until("/a to be stored", || is_hit(&proxy, "/a"));
    let [name] = &redis.await_keys(1)[..] else { panic!("one key") };
    until("/b to be stored", || is_hit(&proxy, "/b"));
    let other = redis.keys().into_iter().find(|other| other != name).unwrap();

    let asked = origin.count("/b");
    assert_eq!(redis.command(&["COPY", name, &other, "REPLACE"]), Value::Integer(1));
    assert_eq!(proxy.get("/b").text(), "\"/b\"", "the entry of /a under the name of /b is a miss");
    assert_eq!((origin.count("/b"), damaged(&proxy, "forged")), (asked + 1, 1.0));

    let length = redis.command(&["STRLEN", name]).number();
    for (at, reason) in [(25, "forged"), (33, "unknown-key"), (37, "forged"), (length - 1, "forged")] {
        until("/a to be stored", || is_hit(&proxy, "/a"));
        let before = damaged(&proxy, reason);
        let flip = format!(
            "local byte = string.byte(redis.call('GETRANGE', KEYS[1], {at}, {at})) \
             return redis.call('SETRANGE', KEYS[1], {at}, string.char((byte + 1) % 256))"
        );
        redis.command(&["EVAL", &flip, "1", name]);
        assert_eq!(proxy.get("/a").text(), "\"/a\"");
        assert_eq!(damaged(&proxy, reason), before + 1.0, "{at}");
    }
    // The kind 1 and no seal: a plain entry.
    until("/a to be stored", || is_hit(&proxy, "/a"));
    redis.command(&["SETRANGE", name, "3", "\u{1}"]);
    assert_eq!(proxy.get("/a").text(), "\"/a\"");
    assert_eq!(damaged(&proxy, "plain"), 1.0);
}

#[test]
fn a_node_without_keys_neither_reads_nor_writes_and_confirms_no_purge() {
    let (origin, redis, keys) = (Origin::start(), Redis::start(), KeyFile::of(&LINES));
    let sealing = start(&origin, &redis, Some(&keys), &[("node_name", "sealing")]);
    origin.answer("/a", cacheable("{}"));
    origin.answer("/b", cacheable("{}"));
    until("/a to be stored", || is_hit(&sealing, "/a"));
    until("the node to confirm", || purge(&sealing, r#"{"url":"http://test/c"}"#).status == 200);

    let plain = start(&origin, &redis, None, &[("node_name", "plain")]);
    for target in ["/a", "/b", "/a"] {
        assert!(!is_hit(&plain, target), "{target}");
    }
    assert!(damaged(&plain, "sealed") >= 2.0);
    plain.await_metric("cachewarp_store_writes_lost_total", 1.0);
    assert!(is_hit(&sealing, "/a"), "the plain node has not replaced the entry");
    assert_eq!(damaged(&sealing, "plain"), 0.0);
    for (node, other) in [(&sealing, "plain"), (&plain, "sealing")] {
        until("the other node to be named", || {
            let purged = purge(node, r#"{"all":true}"#);
            let named = format!(r#","nodes_with_other_rules":["{other}"],"#);
            purged.status == 202 && purged.text().contains(&named)
        });
    }
    // A node with one more key reads the entries, and does not count either until all have it.
    drop(plain);
    let one = KeyFile::of(&LINES[..1]);
    let reader = start(&origin, &redis, Some(&one), &[("node_name", "reader")]);
    until("/a to be stored", || is_hit(&sealing, "/a"));
    assert!(is_hit(&reader, "/a"));
    until("the other node to be named", || purge(&sealing, r#"{"all":true}"#).status == 202);
}

#[test]
fn keys_rotate_under_load_without_a_miss() {
    let (origin, redis, keys) = (Origin::start(), Redis::start(), KeyFile::of(&LINES[1..]));
    let path = Path::new(&keys.path);
    const TARGETS: usize = 20;
    for number in 0..TARGETS {
        origin.answer(&format!("/{number}"), cacheable("{}"));
    }
    let file = format!("--entry-key-file={}", keys.path);
    let (to, server) = (format!("--origin-url={}", origin.url()), format!("--redis-url={}", redis.url()));
    let arguments = [
        "--listen-addr=127.0.0.1:0",
        "--admin-addr=127.0.0.1:0",
        "--worker-threads=2",
        "--cache-memory-size=0",
        "--redis-timeout=10s",
        &file,
        &to,
        &server,
    ];
    let program = Program::start(&Start { arguments: &arguments, environment: &[], dotenv: None });
    let addr = program.await_addr();
    let reload = || admin_request(program.await_admin_addr(), "POST", "/reload", &[JSON], "{}");
    let get =
        |client: &mut Client, number: usize| client.get(&format!("/{number}")).cache_status().contains("hit");
    let mut client = Client::connect(addr);
    for number in 0..TARGETS {
        until("the response to be stored", || get(&mut client, number));
    }
    let (done, hits, misses) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::connect(addr);
                for number in (0..TARGETS).cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let counter = if get(&mut client, number) { &hits } else { &misses };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let some_hits = || {
            let before = hits.load(Ordering::Relaxed);
            until("hits", || {
                hits.load(Ordering::Relaxed) >= before + 3 * TARGETS || misses.load(Ordering::Relaxed) > 0
            });
        };
        some_hits();
        // The new key opens first, so that every node knows it before one seals with it.
        for lines in [[LINES[1], LINES[0]], [LINES[0], LINES[1]]] {
            write_keys(path, &lines);
            let reloaded = reload();
            assert!(reloaded.status == 200 && reloaded.text().contains("\"keys\""), "{}", reloaded.text());
            some_hits();
        }
        // An invalid file changes nothing.
        write_keys(path, &["2026-11:AAEC"]);
        assert_eq!(reload().status, 422);
        some_hits();
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(misses.into_inner(), 0);
}

#[test]
fn check_names_the_keys_and_refuses_an_unusable_file() {
    let keys = KeyFile::of(&LINES);
    let file = format!("--entry-key-file={}", keys.path);
    let checked = Program::run(&["check", "--redis-url=off", &file]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let row = checked.stdout.lines().find(|line| line.starts_with("entry_key_file")).unwrap();
    assert!(row.contains("keys (2026-11 seals, 2026-08 opens)"), "{row}");
    assert!(!checked.stdout.contains("AAECAwQF"), "{}", checked.stdout);

    for (lines, mode, error) in [
        (&[][..], 0o600, "has no key"),
        (&["a:AAEC"], 0o600, "line 1 has a key of 3 bytes"),
        (&[LINES[0], LINES[0]], 0o600, "line 2 repeats the id of line 1"),
        (&LINES, 0o644, "chmod 600"),
    ] {
        write_keys(Path::new(&keys.path), lines);
        fs::set_permissions(&keys.path, Permissions::from_mode(mode)).unwrap();
        let refused = Program::run(&["check", "--redis-url=off", &file]);
        assert_eq!(refused.code, Some(2));
        let shown = refused.stdout + &refused.stderr;
        assert!(shown.contains("entry_key_file") && shown.contains(error), "{shown}");
    }
}
