//! The key of names: another client of Redis recognises no URL and no tag, and confirms no purge.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};

use cachewarp::key::{CacheKey, NameKey, Target};
use cachewarp::store::CacheTag;

use crate::admin::purge;
use crate::harness::{Answer, Origin, Program, Proxy, Redis, Value, until};
use crate::sealed::{KeyFile, LINES, cacheable, is_hit, start, write_keys};

/// Two lines of the file of a name key.
const NAMES: [&str; 2] =
    ["n:AgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "n:AwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="];

/// Starts a node with the keys of entries, and with this key of names.
fn start_named(origin: &Origin, redis: &Redis, keys: &KeyFile, names: Option<&KeyFile>, node: &str) -> Proxy {
    let mut settings = vec![("node_name", node)];
    settings.extend(names.map(|names| ("name_key_file", names.path.as_str())));
    start(origin, redis, Some(keys), &settings)
}

#[test]
fn a_name_in_redis_is_no_hash_of_a_url_or_a_tag() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let (keys, names) = (KeyFile::of(&LINES), KeyFile::of(&NAMES[..1]));
    let fields = [("Cache-Control", "max-age=600"), ("Cache-Tag", "t")];
    origin.answer("/a", Answer::json_with(&fields, "{}"));
    let hex = CacheKey::of(&Target::of_url("http://test/a").unwrap()).hex();
    let url = String::from_utf8(hex.to_vec()).unwrap();
    let tag = format!("{:?}", CacheTag::parse("t").unwrap().digest(&NameKey::default()));
    for names in [None, Some(&names)] {
        redis.command(&["FLUSHALL"]);
        let proxy = start_named(&origin, &redis, &keys, names, "one");
        until("/a to be stored", || is_hit(&proxy, "/a"));
        until("the entry and its tag", || redis.keys().len() == 2);
        let shown = redis.keys().concat();
        for digest in [&url, &tag] {
            assert_eq!(shown.contains(digest), names.is_none(), "{digest} in {shown}");
        }
        let other = start_named(&origin, &redis, &keys, names, "other");
        assert!(is_hit(&other, "/a"), "nodes with one key share entries");
        for order in [r#"{"tag":"t"}"#, r#"{"url":"http://test/a"}"#] {
            until("/a to be stored", || is_hit(&proxy, "/a") && is_hit(&other, "/a"));
            assert_eq!(purge(&proxy, order).status, 200, "{order}");
            assert!(!is_hit(&other, "/a"), "{order}");
        }
    }
}

#[test]
fn nodes_with_another_name_key_confirm_no_purge() {
    let (origin, redis, keys) = (Origin::start(), Redis::start(), KeyFile::of(&LINES));
    let [one, other] = [&NAMES[..1], &NAMES[1..]].map(KeyFile::of);
    origin.answer("/a", cacheable("{}"));
    let known = start_named(&origin, &redis, &keys, Some(&one), "known");
    until("/a to be stored", || is_hit(&known, "/a"));
    until("the node to confirm", || purge(&known, r#"{"url":"http://test/b"}"#).status == 200);
    for (names, node) in [(Some(&other), "other"), (None, "none")] {
        let differing = start_named(&origin, &redis, &keys, names, node);
        let asked = origin.count("/a");
        differing.get("/a");
        assert_eq!(origin.count("/a"), asked + 1, "the node reads no entry of another key");
        for (purging, named) in [(&known, node), (&differing, "known")] {
            until("the other node to be named", || {
                let purged = purge(purging, r#"{"url":"http://test/b"}"#);
                let named = format!(r#","nodes_with_other_rules":["{named}"],"#);
                purged.status == 202 && purged.text().contains(&named)
            });
        }
    }
}

/// The forgery of an acknowledgement.
#[derive(Clone, Copy, Debug)]
enum Forgery {
    /// The acknowledgement of a node, once more.
    Repeated,
    /// The acknowledgement of a node, under another node's name.
    Renamed,
}

/// A client of Redis that receives the syncs, so that a purge waits for one more acknowledgement;
/// and that forges this one.
struct ForgingClient {
    stream: TcpStream,
    thread: JoinHandle<usize>,
}

impl ForgingClient {
    fn start(redis: &Redis, forgery: Forgery) -> Self {
        let Value::Array(channels) = redis.command(&["PUBSUB", "CHANNELS", "*:sync"]) else {
            panic!("a list of channels")
        };
        let sync = channels[0].text();
        let mut stream = TcpStream::connect(redis.addr()).unwrap();
        write!(stream, "PSUBSCRIBE *:ack:*\r\nSUBSCRIBE {sync}\r\n").unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == sync), "the reply to SUBSCRIBE");
        let mut publisher = TcpStream::connect(redis.addr()).unwrap();
        let thread = thread::spawn(move || {
            let (mut channel, mut known, mut forged) = (String::new(), HashSet::new(), 0);
            for line in lines {
                if line.contains(":ack:") {
                    channel = line;
                    continue;
                }
                // The length and the kind of a message are one word each.
                let mut words: Vec<_> = line.split(' ').collect();
                if words.len() < 4 || words[1].len() != 16 || !known.insert(line.clone()) {
                    continue;
                }
                if let Forgery::Renamed = forgery {
                    words[1] = "00000000000000aa";
                }
                let message = words.join(" ");
                known.insert(message.clone());
                write!(publisher, "PUBLISH {channel} \"{message}\"\r\n").unwrap();
                forged += 1;
            }
            forged
        });
        Self { stream, thread }
    }

    /// Returns the number of forged acknowledgements.
    fn stop(self) -> usize {
        self.stream.shutdown(Shutdown::Both).unwrap();
        self.thread.join().unwrap()
    }
}

#[test]
fn a_forged_acknowledgement_confirms_no_purge() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let (keys, names) = (KeyFile::of(&LINES), KeyFile::of(&NAMES[..1]));
    for names in [None, Some(&names)] {
        for forgery in [Forgery::Repeated, Forgery::Renamed] {
            redis.command(&["FLUSHALL"]);
            let proxy = start_named(&origin, &redis, &keys, names, "one");
            let order = r#"{"url":"http://test/a"}"#;
            until("the node to confirm", || purge(&proxy, order).status == 200);
            let client = ForgingClient::start(&redis, forgery);
            // Without a key of names, the forgery is what the purge waits for.
            let expected = if names.is_none() { 200 } else { 202 };
            assert_eq!(purge(&proxy, order).status, expected, "{forgery:?}");
            assert!(client.stop() > 0, "{forgery:?}");
        }
    }
}

#[test]
fn check_refuses_an_unusable_name_key() {
    let (keys, names) = (KeyFile::of(&LINES), KeyFile::of(&NAMES[..1]));
    let entries = format!("--entry-key-file={}", keys.path);
    let file = format!("--name-key-file={}", names.path);
    let check = |arguments: &[&str]| Program::run(&[&["check", "--redis-url=off"], arguments].concat());
    assert_eq!(check(&[&entries, &file]).code, Some(0));
    let alone = check(&[&file]);
    assert_eq!(alone.code, Some(2));
    let shown = alone.stdout + &alone.stderr;
    assert!(shown.contains("name_key_file") && shown.contains("needs entry_key_file"), "{shown}");
    write_keys(Path::new(&names.path), &[NAMES[0], &NAMES[1].replacen('n', "m", 1)]);
    let two = check(&[&entries, &file]);
    assert_eq!(two.code, Some(2));
    let shown = two.stdout + &two.stderr;
    assert!(shown.contains("line 2 has a second key"), "{shown}");
}
