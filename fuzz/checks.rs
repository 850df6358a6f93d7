//! Properties of arbitrary bytes: the bodies of the fuzz targets. `tests/fuzz_seeds.rs` runs them
//! over the seeds on a stable toolchain.
#![allow(dead_code, unused_imports, reason = "the binary of a target uses one of these")]

#[path = "checks/body.rs"]
mod body;
#[path = "checks/dates.rs"]
mod dates;
#[path = "checks/differential.rs"]
mod differential;
#[path = "checks/fleet.rs"]
mod fleet;
#[path = "checks/framing.rs"]
mod framing;
#[path = "checks/greeting.rs"]
mod greeting;
#[path = "checks/heads.rs"]
mod heads;
#[path = "checks/location.rs"]
mod location;
#[path = "checks/origin_responses.rs"]
mod origin_responses;
#[path = "checks/proxy_headers.rs"]
mod proxy_headers;
#[path = "checks/purges.rs"]
mod purges;
#[path = "checks/queries.rs"]
mod queries;
#[path = "checks/ranges.rs"]
mod ranges;
#[path = "checks/requests.rs"]
mod requests;
#[path = "checks/routes.rs"]
mod routes;
#[path = "checks/scrapes.rs"]
mod scrapes;
#[path = "checks/sealed.rs"]
mod sealed;
#[path = "checks/streams.rs"]
mod streams;
#[path = "checks/survey.rs"]
mod survey;
#[path = "checks/tags.rs"]
mod tags;
#[path = "checks/targeted.rs"]
mod targeted;
#[path = "checks/topology.rs"]
mod topology;
#[path = "checks/traces.rs"]
mod traces;
#[path = "checks/vary.rs"]
mod vary;
#[path = "checks/warm.rs"]
mod warm;

pub(crate) use body::body;
pub(crate) use dates::dates;
pub(crate) use differential::differential;
pub(crate) use fleet::fleet_words;
pub(crate) use framing::{answer_framing, framing};
pub(crate) use greeting::handshake;
pub(crate) use location::location;
pub(crate) use origin_responses::origin_response;
pub(crate) use proxy_headers::proxy_header;
pub(crate) use purges::purge;
pub(crate) use queries::query_form;
pub(crate) use ranges::range;
pub(crate) use requests::{credential, outbound, target};
pub(crate) use routes::{route_match, routes_file};
pub(crate) use scrapes::metrics_accept;
pub(crate) use sealed::{entry_unpack, key_file};
pub(crate) use streams::stream;
pub(crate) use survey::recorded_heads;
pub(crate) use tags::tags;
pub(crate) use targeted::targeted;
pub(crate) use topology::{cluster_map, redirect, sentinel};
pub(crate) use traces::traceparent;
pub(crate) use vary::vary;
pub(crate) use warm::warm_list_of as warm_list;

use std::collections::VecDeque;
use std::task::Waker;

use bytes::{BufMut, Bytes, BytesMut};
use cachewarp::entry::{self, Provenance, StoredValue};
use cachewarp::json;
use cachewarp::key::{CacheKey, Scheme, Target};
use cachewarp::policy::Directives;
use cachewarp::resp::{
    CommandSpec, CommandUrgency, ExpectedReply, Frame, FrameMeaning, Inbox, Pipeline, Reply, Ticket, Window,
};
use cachewarp::time;

/// A fuzz target's name and its check.
pub(crate) type FuzzCheck = (&'static str, fn(&[u8]));

/// Every check, by the name of its fuzz target.
pub(crate) const CHECKS: &[FuzzCheck] = &[
    ("answer_framing", answer_framing),
    ("body", body),
    ("cache_control", cache_control),
    ("cluster_map", cluster_map),
    ("credential", credential),
    ("dates", dates),
    ("differential", differential),
    ("entry_decode", entry_decode),
    ("entry_unpack", entry_unpack),
    ("fleet_words", fleet_words),
    ("framing", framing),
    ("handshake", handshake),
    ("json", json),
    ("key_file", key_file),
    ("location", location),
    ("metrics_accept", metrics_accept),
    ("origin_response", origin_response),
    ("outbound", outbound),
    ("pipeline", pipeline),
    ("proxy_header", proxy_header),
    ("purge", purge),
    ("query_form", query_form),
    ("range", range),
    ("recorded_heads", recorded_heads),
    ("redirect", redirect),
    ("resp_decode", resp_decode),
    ("route_match", route_match),
    ("routes_file", routes_file),
    ("sentinel", sentinel),
    ("stream", stream),
    ("tags", tags),
    ("target", target),
    ("targeted", targeted),
    ("traceparent", traceparent),
    ("vary", vary),
    ("warm_list", warm_list),
];

fn key() -> CacheKey {
    let target = Target::parse(Scheme::Http, &http::Uri::from_static("/a"), [&b"api.test"[..]].into_iter());
    CacheKey::of(&target.expect("a well-formed target"))
}

/// Checks that foreign bytes decode to damage, or to an entry that encodes to bytes which decode to
/// itself.
///
/// A fuzzer does not guess checksums and digests, so the content is also tried behind a valid
/// start.
pub(crate) fn entry_decode(data: &[u8]) {
    let key = key();
    let now = time::Timestamp::from_millis(1_800_000_000_000);
    let _ = entry::decode(&key, &Bytes::copy_from_slice(data), Provenance::Store(now));
    let Some((&kind, content)) = data.split_first() else { return };
    let mut fitting = BytesMut::new();
    fitting.put_slice(&[b'C', b'W', entry::ENTRY_VERSION, kind]);
    fitting.put_slice(&[0; 24]);
    fitting.put_slice(key.digest());
    fitting.put_slice(content);
    let fitting = entry::with_checksum(fitting).expect("a place for the checksum");
    if let Ok(stored) = entry::decode(&key, &fitting, Provenance::Store(now)) {
        if let StoredValue::Response(entry) = &stored {
            assert!(entry.body.len() <= fitting.len());
            assert!(!entry.status.is_informational() && entry.facts.received.since(now).as_secs() <= 60);
            assert!(!entry.head.contains_key("content-length") && !entry.head.contains_key("connection"));
        }
        let version = match entry::history(&fitting) {
            Some((generation, tags)) => {
                entry::EntryVersion { generation, tags: tags.collect(), ..entry::EntryVersion::default() }
            }
            None => entry::EntryVersion::default(),
        };
        // Without its history, only a purge of its key could concern the response.
        let is_response = matches!(stored, StoredValue::Response(_));
        assert_eq!(
            entry::history(&fitting).is_some(),
            is_response,
            "a response records its purge generation"
        );
        let bytes = entry::encode(&key, &stored, &version).expect("a decoded entry encodes");
        let read = entry::decode(&key, &bytes, Provenance::Store(now));
        assert_eq!(read, Ok(stored), "an encoded entry decodes to itself");
        if let Some((generation, tags)) = entry::history(&bytes) {
            assert_eq!(
                (generation, tags.collect::<Vec<_>>()),
                (version.generation, version.tags),
                "its history decodes to itself"
            );
        }
    }
}

/// Checks that bytes give equal frames and an equal end, wherever they are cut.
pub(crate) fn resp_decode(data: &[u8]) {
    let Some((&step, wire)) = data.split_first() else { return };
    let whole = frames(wire, usize::MAX);
    let cut = frames(wire, usize::from(step).max(1));
    assert_eq!(whole, cut, "cut every {step} bytes");
}

/// Formats a reply by its meaning: NaN equals itself, and maps and sets have no order.
fn text(reply: &Reply) -> String {
    match reply {
        Reply::Array(members) => sorted(members.iter().map(text)),
        Reply::Map(pairs) => sorted(pairs.iter().map(|(name, value)| text(name) + &text(value))),
        Reply::Nil
        | Reply::Simple(_)
        | Reply::Bulk(_)
        | Reply::Integer(_)
        | Reply::Double(_)
        | Reply::Boolean(_)
        | Reply::BigNumber(_)
        | Reply::Error(_) => format!("{reply:?}"),
    }
}

fn sorted(texts: impl Iterator<Item = String>) -> String {
    let mut texts: Vec<_> = texts.collect();
    texts.sort_unstable();
    format!("{texts:?}")
}

/// Returns the frames of a stream, and whether it ended in an error.
fn frames(wire: &[u8], step: usize) -> (Vec<String>, bool) {
    let mut inbox = Inbox::new();
    let mut found = Vec::new();
    let mut rest = wire;
    while !rest.is_empty() {
        let room = inbox.room();
        let count = step.min(rest.len()).min((room.capacity() - room.len()).max(1));
        let (now, later) = rest.split_at(count);
        room.extend_from_slice(now);
        rest = later;
        loop {
            match inbox.frame() {
                Ok(Some(Frame::Reply(reply))) => found.push(text(&reply)),
                Ok(Some(Frame::Push(push))) => found.push(format!(">{}", sorted(push.iter().map(text)))),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

/// Checks that a reply goes to the oldest unanswered command or is dropped, for any order of
/// submissions, replies and cancellations. A queue of numbers is the model.
pub(crate) fn pipeline(data: &[u8]) {
    let mut pipeline = Pipeline::new(Window { commands: 4, bytes: 64 });
    let (mut line, mut tickets) = (VecDeque::new(), Vec::<(i64, Ticket)>::new());
    let mut next = 0;
    for &step in data {
        match step % 4 {
            0 => {
                let (expected, bytes, now) = (ExpectedReply::Count, usize::from(step >> 2), time::instant());
                let spec = CommandSpec {
                    expected,
                    bytes,
                    urgency: CommandUrgency::Interactive,
                    submitted: now,
                    due: now,
                };
                if let Ok(ticket) = pipeline.submit(spec) {
                    line.push_back(next);
                    tickets.push((next, ticket));
                    next += 1;
                }
                assert!(pipeline.queued() <= 4, "the window holds");
            }
            1 => {
                let head = line.pop_front();
                let frame = Frame::Reply(Reply::Integer(head.unwrap_or(-1)));
                match (head, pipeline.accept(frame)) {
                    (None, arrival) => assert!(arrival.is_err(), "a reply without a command"),
                    (Some(number), Ok(FrameMeaning::Late(_))) => {
                        assert!(tickets.iter().all(|(own, _)| *own != number))
                    }
                    (Some(_), Ok(FrameMeaning::Answered(..))) => {}
                    (Some(_), other) => panic!("a reply in order was refused: {other:?}"),
                }
            }
            2 if !tickets.is_empty() => {
                let (_, ticket) = tickets.swap_remove(usize::from(step >> 2) % tickets.len());
                pipeline.abandon(ticket);
            }
            _ if !tickets.is_empty() => {
                let (number, ticket) = tickets.swap_remove(usize::from(step >> 2) % tickets.len());
                match pipeline.collect(ticket, Waker::noop()) {
                    Ok(Ok(reply)) => assert_eq!(reply, Reply::Integer(number), "a foreign reply"),
                    Ok(Err(failure)) => panic!("nothing failed: {failure}"),
                    Err(ticket) => {
                        assert!(line.contains(&number), "an answered command can be collected");
                        tickets.push((number, ticket));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Checks that any bytes parse without a panic, and that the case of letters has no effect outside
/// quotes.
pub(crate) fn cache_control(data: &[u8]) {
    let directives = Directives::parse([data]);
    if !data.contains(&b'"') {
        let upper = data.to_ascii_uppercase();
        assert_eq!(format!("{directives:?}"), format!("{:?}", Directives::parse([&upper[..]])));
    }
    for cut in 0..data.len().min(64) {
        let (one, two) = data.split_at(cut);
        let _ = Directives::parse([one, two]);
    }
}

/// Checks that any text, once written, reads back, printable and within its bound.
pub(crate) fn json(data: &[u8]) {
    const BYTES_MAX: usize = 64;
    let text = String::from_utf8_lossy(data);
    for bytes_max in [BYTES_MAX, usize::MAX] {
        let written = json::object(|object| object.text("a", &text, bytes_max));
        assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "unfit for a header field");
        assert!(bytes_max == usize::MAX || written.len() <= BYTES_MAX + r#"{"a":""}"#.len());
        let document: Result<serde_json::Value, _> = serde_json::from_str(&written);
        let Some(read) = document.as_ref().ok().and_then(|document| document.get("a")?.as_str()) else {
            panic!("written text does not read back")
        };
        let begins = read.strip_suffix('\u{2026}').is_some_and(|begin| text.starts_with(begin));
        assert!(read == text || (begins && bytes_max == BYTES_MAX), "neither the text nor its beginning");
    }
}
