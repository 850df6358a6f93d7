//! Forged entries: another party with write access to Redis stores complete entries with a valid
//! checksum that CacheWarp would not write.

use std::sync::{Arc, Mutex};

use bytes::{BufMut, BytesMut};
use cachewarp::entry;
use cachewarp::key::{CacheKey, Scheme, Target};
use cachewarp::time;

use crate::harness::{Answer, Origin, Proxy, ScriptedRedis};

const HOUR: u64 = 3_600_000;

/// A forged entry under the key of `http://test/a`, fresh for a minute from its receipt on.
struct Forged {
    status: u16,
    /// Seconds between the clock and a receipt in the future.
    ahead: u64,
    obligations: u16,
    /// The time after which no node uses the entry.
    end: u64,
    fields: &'static [(&'static str, &'static str)],
}

const PLAIN: Forged = Forged { status: 200, ahead: 0, obligations: 0, end: u64::MAX, fields: &[] };

fn key() -> CacheKey {
    let uri = http::Uri::from_static("/a");
    CacheKey::of(&Target::parse(Scheme::Http, &uri, [&b"test"[..]].into_iter()).unwrap())
}

impl Forged {
    /// Encodes the entry in the layout of `src/entry/codec.rs`.
    fn bytes(&self) -> Vec<u8> {
        let (mut head, body) = (BytesMut::new(), r#""forged""#);
        for (name, value) in [("content-type", "application/json")].iter().chain(self.fields) {
            match *name {
                "content-type" => head.put_u8(1),
                "content-length" => head.put_u8(2),
                name => {
                    head.put_slice(&[0, u8::try_from(name.len()).unwrap()]);
                    head.put_slice(name.as_bytes());
                }
            }
            head.put_u16(u16::try_from(value.len()).unwrap());
            head.put_slice(value.as_bytes());
        }
        let mut entry = BytesMut::new();
        entry.put_slice(b"CW\x04\x01");
        entry.put_slice(&[0; 24]);
        entry.put_slice(key().digest());
        entry.put_u64(self.end);
        for number in [time::now().as_millis() + self.ahead, 0, 60_000, 0, 0, 0xff, 0] {
            entry.put_u64(number);
        }
        entry.put_u64(0);
        entry.put_u16(self.obligations);
        entry.put_u16(self.status);
        entry.put_u32(u32::try_from(head.len()).unwrap());
        entry.put_u32(u32::try_from(body.len()).unwrap());
        entry.put_u16(0);
        entry.put_slice(&head);
        entry.put_slice(body.as_bytes());
        entry::with_checksum(entry).unwrap().to_vec()
    }
}

/// Starts a Redis with the purge state and one entry, which a test can change.
fn redis(stored: &Arc<Mutex<Vec<u8>>>) -> ScriptedRedis {
    let stored = Arc::clone(stored);
    let digits = String::from_utf8(key().hex().to_vec()).unwrap();
    ScriptedRedis::respond(move |command| {
        let name = command.get(1).map_or("", String::as_str);
        Some(match command[0].to_ascii_uppercase().as_str() {
            "HELLO" => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
            "SUBSCRIBE" => b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".to_vec(),
            "PING" => b"+PONG\r\n".to_vec(),
            "GET" if name.ends_with("clock") => b"$11\r\n1 ff 0 0 0\n\r\n".to_vec(),
            "GET" if name.ends_with(&digits) => {
                let entry = stored.lock().unwrap();
                [format!("${}\r\n", entry.len()).as_bytes(), &entry[..], b"\r\n"].concat()
            }
            "GET" | "GETRANGE" => b"$-1\r\n".to_vec(),
            "EVALSHA" => b":1\r\n".to_vec(),
            _ => b"+OK\r\n".to_vec(),
        })
    })
}

#[test]
fn an_invalid_forged_entry_is_a_miss_and_leaves_the_connection_intact() {
    let stored = Arc::new(Mutex::new(PLAIN.bytes()));
    let (origin, redis) = (Origin::start(), redis(&stored));
    origin.answer("/a", Answer::json(r#""a""#));
    origin.answer("/b", Answer::json(r#""b""#));
    let settings = [("cache_memory_size", "0"), ("redis_timeout", "10s"), ("fetch_lease", "off")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    let mut client = proxy.connect();
    assert_eq!(client.get("/a").text(), r#""forged""#, "a well-formed forged entry is served");

    let field = |fields| Forged { fields, ..PLAIN };
    let mut asked = 0;
    for (forged, reason) in [
        (field(&[("content-length", "1")]), "field"),
        (field(&[("transfer-encoding", "chunked")]), "field"),
        (field(&[("connection", "close")]), "field"),
        (field(&[("keep-alive", "timeout=1")]), "field"),
        (field(&[("upgrade", "websocket")]), "field"),
        (field(&[("set-cookie", "session=forged")]), "field"),
        (field(&[("etag", "\"spelt out\"")]), "content"),
        (field(&[("x-a", "b\r\nset-cookie: a=b")]), "content"),
        (Forged { status: 101, ..PLAIN }, "status"),
        (Forged { status: 100, ..PLAIN }, "status"),
        (Forged { status: 204, ..PLAIN }, "status"),
        (Forged { status: 304, ..PLAIN }, "status"),
        (Forged { ahead: HOUR, ..PLAIN }, "time"),
        (Forged { obligations: 1 << 12, ..PLAIN }, "obligations"),
        (Forged { end: time::now().as_millis() - HOUR, ..PLAIN }, "expired"),
    ] {
        let damaged = format!("cachewarp_entries_damaged_total{{reason=\"{reason}\"}}");
        let before = proxy.metric(&damaged);
        *stored.lock().unwrap() = forged.bytes();
        let own = client.get("/a");
        assert_eq!((own.status, own.text()), (200, r#""a""#), "{reason} {:?}", forged.fields);
        assert_eq!(client.get("/b").text(), r#""b""#, "{reason} {:?}", forged.fields);
        assert!(proxy.metric(&damaged) > before, "{reason} {:?}", forged.fields);
        asked += 1;
        assert_eq!(origin.count("/a"), asked);
    }
}
