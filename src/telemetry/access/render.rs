//! The text of a line.
//!
//! Most lines share members with the last one: its second, its peer, its host, its status and its
//! outcome. The renderer remembers them as text, and copies them as long as they are equal.

use std::net::{IpAddr, Ipv4Addr};
use std::ptr;

use http::Version;

use super::line::{AccessLine, AnswerFacts, LineTexts};
use super::members::{
    digits, put_address, put_escaped, put_millis, put_number, put_optional, put_optional_seconds,
    put_optional_word, put_second, put_string, put_word,
};
use super::options::{AccessFormat, LoggedPath};
use crate::label::Label;
use crate::time::Timestamp;

/// A renderer of lines.
#[derive(Debug)]
pub(super) struct LineRenderer {
    format: AccessFormat,
    path: LoggedPath,
    /// The second of the last line, and its text: most lines share their second with the last one.
    second: (u64, Vec<u8>),
    /// The peer of the last line, and its text.
    peer: (IpAddr, Vec<u8>),
    /// The authority of the last JSON line, and its members: a worker serves few names.
    host: (Vec<u8>, Vec<u8>),
    /// The length of the request and the status of the last JSON line, and their members.
    status: ((Option<u64>, Option<u16>), Vec<u8>),
    /// The outcome of the last JSON line, and its members.
    outcome: (Option<LineOutcome>, Vec<u8>),
}

/// The words about the end of a request.
#[derive(Clone, Copy, Debug)]
struct LineOutcome {
    facts: [Option<&'static str>; 4],
    end: &'static str,
}

impl LineOutcome {
    fn of(line: &AccessLine) -> Self {
        let AnswerFacts { outcome, tier, forward, detail, .. } = line.facts;
        Self { facts: [outcome, tier, forward, detail], end: line.end.word() }
    }

    /// Returns whether the words are in one place. Equal words in two places only cost a rendering.
    fn is(&self, other: &Self) -> bool {
        let is_one = |one: &Option<&'static str>, other: &Option<&'static str>| match (one, other) {
            (Some(one), Some(other)) => ptr::eq(*one, *other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        ptr::eq(self.end, other.end)
            && self.facts.iter().zip(&other.facts).all(|(one, other)| is_one(one, other))
    }

    fn put(&self, out: &mut Vec<u8>) {
        let [outcome, tier, forward, detail] = self.facts;
        put_optional_word(out, b",\"cachewarp.outcome\":\"", outcome);
        put_optional_word(out, b",\"cachewarp.tier\":\"", tier);
        put_optional_word(out, b",\"cachewarp.forward\":\"", forward);
        put_optional_word(out, b",\"cachewarp.detail\":\"", detail);
        put_word(out, b",\"cachewarp.end\":\"", self.end);
    }
}

impl LineRenderer {
    pub(super) fn new(format: AccessFormat, path: LoggedPath) -> Self {
        let (mut second, mut peer) = (Vec::new(), Vec::new());
        put_second(&mut second, 0);
        put_address(&mut peer, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut host = Vec::new();
        put_authority(&mut host, b"");
        Self {
            format,
            path,
            second: (0, second),
            peer: (IpAddr::V4(Ipv4Addr::UNSPECIFIED), peer),
            host: (Vec::new(), host),
            status: ((None, None), Vec::new()),
            outcome: (None, Vec::new()),
        }
    }

    /// Appends a line.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, line: &AccessLine, texts: &LineTexts<'_>) {
        match self.format {
            AccessFormat::Json => self.put_json(out, line, texts),
            AccessFormat::Text => self.put_text(out, line, texts),
        }
    }

    fn put_json(&mut self, out: &mut Vec<u8>, line: &AccessLine, texts: &LineTexts<'_>) {
        let facts = &line.facts;
        out.extend_from_slice(b"{\"timestamp\":\"");
        self.put_time(out, line.at);
        out.push(b'"');
        if let Some(method) = &line.method {
            // A method is a token (RFC 9110 §9.1), which needs no escape.
            put_word(out, b",\"http.request.method\":\"", method.as_str());
            put_word(out, b",\"url.scheme\":\"", line.scheme.as_str());
            self.put_host(out, texts.host);
            if let Some(route) = &facts.route {
                put_string(out, b",\"http.route\":\"", route.as_bytes());
            }
            if self.shows_path(line) {
                put_string(out, b",\"url.path\":\"", texts.path);
            }
            if !texts.query.is_empty() {
                put_string(out, b",\"url.query\":\"", texts.query);
            }
            put_word(out, b",\"network.protocol.version\":\"", version(line.version));
        }
        out.extend_from_slice(b",\"client.address\":\"");
        self.put_peer(out, facts.client.unwrap_or(line.peer));
        out.push(b'"');
        if facts.client.is_some_and(|client| client != line.peer) {
            out.extend_from_slice(b",\"network.peer.address\":\"");
            put_address(out, line.peer);
            out.push(b'"');
        }
        if !texts.agent.is_empty() {
            put_string(out, b",\"user_agent.original\":\"", texts.agent);
        }
        self.put_status(out, line);
        put_optional(out, b",\"http.response.body.size\":", Some(line.response_bytes));
        put_optional(out, b",\"cachewarp.tunnel.received.size\":", line.tunnel_bytes);
        self.put_outcome(out, LineOutcome::of(line));
        put_optional(out, b",\"cachewarp.age\":", facts.age);
        put_optional_seconds(out, b",\"cachewarp.time_to_head\":", line.time_to_head);
        put_optional_seconds(out, b",\"cachewarp.duration\":", Some(line.duration));
        put_optional_seconds(out, b",\"cachewarp.origin_time\":", facts.origin_time);
        if !texts.request_id.is_empty() {
            put_string(out, b",\"cachewarp.request_id\":\"", texts.request_id);
        }
        if !texts.trace_id.is_empty() {
            put_string(out, b",\"trace_id\":\"", texts.trace_id);
        }
        out.extend_from_slice(b"}\n");
    }

    fn put_text(&mut self, out: &mut Vec<u8>, line: &AccessLine, texts: &LineTexts<'_>) {
        let facts = &line.facts;
        self.put_time(out, line.at);
        out.push(b' ');
        self.put_peer(out, facts.client.unwrap_or(line.peer));
        out.extend_from_slice(b" \"");
        if let Some(method) = &line.method {
            put_escaped(out, method.as_str().as_bytes());
            out.push(b' ');
            put_escaped(out, texts.host);
            if self.shows_path(line) {
                put_escaped(out, texts.path);
            } else if let Some(route) = &facts.route {
                out.push(b' ');
                put_escaped(out, route.as_bytes());
            }
            if !texts.query.is_empty() {
                out.push(b'?');
                put_escaped(out, texts.query);
            }
            out.extend_from_slice(b" HTTP/");
            out.extend_from_slice(version(line.version).as_bytes());
        }
        out.extend_from_slice(b"\" ");
        match line.status {
            Some(status) => put_number(out, u64::from(status)),
            None => out.push(b'-'),
        }
        out.push(b' ');
        put_number(out, line.response_bytes);
        out.push(b' ');
        out.extend_from_slice(facts.outcome.unwrap_or("-").as_bytes());
        out.push(b' ');
        out.extend_from_slice(line.end.word().as_bytes());
        for (name, duration) in [
            (&b" head="[..], line.time_to_head),
            (b" end=", Some(line.duration)),
            (b" origin=", facts.origin_time),
        ] {
            if let Some(duration) = duration {
                out.extend_from_slice(name);
                put_millis(out, duration);
            }
        }
        for (name, word) in
            [(&b" tier="[..], facts.tier), (b" forward=", facts.forward), (b" detail=", facts.detail)]
        {
            if let Some(word) = word {
                out.extend_from_slice(name);
                out.extend_from_slice(word.as_bytes());
            }
        }
        put_optional(out, b" age=", facts.age);
        put_optional(out, b" received=", line.tunnel_bytes);
        for (name, text) in [
            (&b" agent=\""[..], texts.agent),
            (b" request_id=\"", texts.request_id),
            (b" trace_id=\"", texts.trace_id),
        ] {
            if !text.is_empty() {
                put_string(out, name, text);
            }
        }
        out.push(b'\n');
    }

    /// Returns whether the line has the path: always if it has no route.
    fn shows_path(&self, line: &AccessLine) -> bool {
        line.facts.route.is_none() || self.path != LoggedPath::Route
    }

    /// Appends an address. A proxy in front sends many requests, and so does a connection.
    fn put_peer(&mut self, out: &mut Vec<u8>, address: IpAddr) {
        if self.peer.0 != address {
            self.peer.0 = address;
            self.peer.1.clear();
            put_address(&mut self.peer.1, address);
        }
        out.extend_from_slice(&self.peer.1);
    }

    /// Appends the members of an authority.
    fn put_host(&mut self, out: &mut Vec<u8>, authority: &[u8]) {
        if self.host.0 != authority {
            self.host.0.clear();
            self.host.0.extend_from_slice(authority);
            self.host.1.clear();
            put_authority(&mut self.host.1, authority);
        }
        out.extend_from_slice(&self.host.1);
    }

    /// Appends the length of the request and the status.
    fn put_status(&mut self, out: &mut Vec<u8>, line: &AccessLine) {
        let status = (line.request_bytes, line.status);
        if self.status.0 != status {
            self.status.0 = status;
            self.status.1.clear();
            put_optional(&mut self.status.1, b",\"http.request.body.size\":", line.request_bytes);
            put_optional(&mut self.status.1, b",\"http.response.status_code\":", line.status.map(u64::from));
        }
        out.extend_from_slice(&self.status.1);
    }

    /// Appends the members of an outcome.
    fn put_outcome(&mut self, out: &mut Vec<u8>, outcome: LineOutcome) {
        if !self.outcome.0.is_some_and(|last| last.is(&outcome)) {
            self.outcome.0 = Some(outcome);
            self.outcome.1.clear();
            outcome.put(&mut self.outcome.1);
        }
        out.extend_from_slice(&self.outcome.1);
    }

    /// Appends a time in the form of RFC 3339, with milliseconds.
    fn put_time(&mut self, out: &mut Vec<u8>, at: Timestamp) {
        let second = at.as_millis() / 1000;
        if self.second.0 != second {
            self.second.0 = second;
            self.second.1.clear();
            put_second(&mut self.second.1, second);
        }
        out.extend_from_slice(&self.second.1);
        let [hundreds, tens, ones] = digits(at.as_millis() % 1000);
        out.extend_from_slice(&[b'.', hundreds, tens, ones, b'Z']);
    }
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// Appends the members of an authority.
fn put_authority(out: &mut Vec<u8>, authority: &[u8]) {
    let (host, port) = host_and_port(authority);
    put_string(out, b",\"server.address\":\"", host);
    if !port.is_empty() {
        out.extend_from_slice(b",\"server.port\":");
        out.extend_from_slice(port);
    }
}

/// Splits an authority. The port is empty if there is none.
fn host_and_port(authority: &[u8]) -> (&[u8], &[u8]) {
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let split = authority.len() - digits;
    let is_number = (1..=5).contains(&digits) && authority.get(split) != Some(&b'0');
    match authority.split_at_checked(split) {
        Some((host, port)) if is_number => match host.strip_suffix(b":") {
            Some(host) => (host, port),
            None => (authority, &[]),
        },
        _ => (authority, &[]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::key::Scheme;
    use crate::telemetry::access::line::AnswerEnd;

    /// A hit in memory.
    fn hit() -> AccessLine {
        let mut line =
            AccessLine::begun(Timestamp::from_millis(1_795_946_449_007), [192, 0, 2, 7].into(), Scheme::Http);
        line.method = Some(Method::GET);
        line.status = Some(200);
        line.request_bytes = Some(0);
        line.response_bytes = 32;
        line.time_to_head = Some(Duration::from_nanos(41_999));
        line.duration = Duration::from_micros(1_000_052);
        line.end = AnswerEnd::Complete;
        line.facts.outcome = Some("hit-memory");
        line.facts.tier = Some("memory");
        line.facts.age = Some(3);
        line
    }

    fn rendered(format: AccessFormat, path: LoggedPath, line: &AccessLine, texts: &LineTexts<'_>) -> String {
        let mut out = Vec::new();
        LineRenderer::new(format, path).put(&mut out, line, texts);
        String::from_utf8(out).unwrap()
    }

    fn json_of(path: LoggedPath, line: &AccessLine, texts: &LineTexts<'_>) -> Value {
        serde_json::from_str(&rendered(AccessFormat::Json, path, line, texts)).unwrap()
    }

    #[test]
    fn a_json_line_has_the_names_of_opentelemetry() {
        let texts =
            LineTexts { host: b"api.test:8000", path: b"/a", agent: b"curl/8.5.0", ..LineTexts::default() };
        assert_eq!(
            json_of(LoggedPath::Route, &hit(), &texts),
            json!({
                "timestamp": "2026-11-29T10:00:49.007Z",
                "http.request.method": "GET",
                "url.scheme": "http",
                "server.address": "api.test",
                "server.port": 8000,
                "url.path": "/a",
                "network.protocol.version": "1.1",
                "client.address": "192.0.2.7",
                "user_agent.original": "curl/8.5.0",
                "http.request.body.size": 0,
                "http.response.status_code": 200,
                "http.response.body.size": 32,
                "cachewarp.outcome": "hit-memory",
                "cachewarp.tier": "memory",
                "cachewarp.end": "complete",
                "cachewarp.age": 3,
                "cachewarp.time_to_head": 0.000041,
                "cachewarp.duration": 1.000052,
            })
        );
    }

    #[test]
    fn a_text_line_is_for_people() {
        let texts = LineTexts { host: b"api.test", path: b"/a", agent: b"a \"b\"", ..LineTexts::default() };
        assert_eq!(
            rendered(AccessFormat::Text, LoggedPath::Route, &hit(), &texts),
            "2026-11-29T10:00:49.007Z 192.0.2.7 \"GET api.test/a HTTP/1.1\" 200 32 hit-memory complete \
             head=0.041ms end=1000.052ms tier=memory age=3 agent=\"a \\\"b\\\"\"\n"
        );
    }

    #[test]
    fn optional_facts_appear_when_they_are_known() {
        let mut line = hit();
        line.facts.client = Some("2001:db8::1".parse().unwrap());
        line.facts.forward = Some("uri-miss");
        line.facts.detail = Some("no-store");
        line.facts.origin_time = Some(Duration::from_millis(12));
        line.facts.route = Some("quotes".into());
        line.tunnel_bytes = Some(9);
        line.version = Version::HTTP_2;
        let texts = LineTexts {
            path: b"/a",
            query: b"b=c",
            request_id: b"7",
            trace_id: b"0a",
            ..LineTexts::default()
        };
        let shown = json_of(LoggedPath::Full, &line, &texts);
        for (name, value) in [
            ("client.address", json!("2001:db8::1")),
            ("network.peer.address", json!("192.0.2.7")),
            ("network.protocol.version", json!("2")),
            ("http.route", json!("quotes")),
            ("url.path", json!("/a")),
            ("url.query", json!("b=c")),
            ("cachewarp.forward", json!("uri-miss")),
            ("cachewarp.detail", json!("no-store")),
            ("cachewarp.origin_time", json!(0.012)),
            ("cachewarp.tunnel.received.size", json!(9)),
            ("cachewarp.request_id", json!("7")),
            ("trace_id", json!("0a")),
        ] {
            assert_eq!(shown.get(name), Some(&value), "{name}");
        }
        let by_route = LineTexts { query: b"", ..texts };
        assert_eq!(json_of(LoggedPath::Route, &line, &by_route).get("url.path"), None);
        let text = rendered(AccessFormat::Text, LoggedPath::Route, &line, &by_route);
        assert!(text.contains("\"GET  quotes HTTP/2\"") && text.contains(" origin=12.000ms"), "{text}");
    }

    #[test]
    fn a_request_that_was_not_read_has_no_method_and_no_path() {
        let mut line = AccessLine::begun(Timestamp::EPOCH, [127, 0, 0, 1].into(), Scheme::Http);
        line.status = Some(408);
        let shown = json_of(LoggedPath::Route, &line, &LineTexts::default());
        assert_eq!((shown.get("http.request.method"), shown.get("url.path")), (None, None));
        assert_eq!(shown["timestamp"], "1970-01-01T00:00:00.000Z");
        let text = rendered(AccessFormat::Text, LoggedPath::Route, &line, &LineTexts::default());
        assert!(text.starts_with("1970-01-01T00:00:00.000Z 127.0.0.1 \"\" 408 0 - client-left"), "{text}");
    }

    #[test]
    fn remembered_members_are_those_of_their_line() {
        let mut renderer = LineRenderer::new(AccessFormat::Json, LoggedPath::Path);
        let miss = AccessLine {
            facts: AnswerFacts { outcome: Some("miss"), forward: Some("uri-miss"), ..AnswerFacts::default() },
            end: AnswerEnd::ClientLeft,
            status: None,
            ..hit()
        };
        let cases =
            [(hit(), "a.test:1"), (hit(), "a.test:1"), (miss, "a.test"), (hit(), ""), (hit(), "b\"c")];
        for (line, host) in cases {
            let texts = LineTexts { host: host.as_bytes(), path: b"/a", ..LineTexts::default() };
            let mut out = Vec::new();
            renderer.put(&mut out, &line, &texts);
            let alone = rendered(AccessFormat::Json, LoggedPath::Path, &line, &texts);
            assert_eq!(String::from_utf8(out).unwrap(), alone);
        }
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (second, text) in [
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_799, "2000-02-29T23:59:59"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (1_735_689_600, "2025-01-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let mut out = Vec::new();
            put_second(&mut out, second);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn an_authority_has_a_port_only_behind_a_colon() {
        for (authority, host, port) in [
            ("a.test:80", "a.test", "80"),
            ("[::1]:8000", "[::1]", "8000"),
            ("[::1]", "[::1]", ""),
            ("a.test", "a.test", ""),
            ("a1", "a1", ""),
            ("80", "80", ""),
            (":80", "", "80"),
            ("a:080", "a:080", ""),
            ("a:123456", "a:123456", ""),
            ("", "", ""),
        ] {
            let split = host_and_port(authority.as_bytes());
            assert_eq!(split, (host.as_bytes(), port.as_bytes()), "{authority}");
        }
    }

    proptest! {
        /// A client cannot end its line, its string or its member, whatever it sends.
        #[test]
        fn no_text_escapes_from_its_string(
            texts in proptest::array::uniform6(proptest::collection::vec(any::<u8>(), 0..40)),
            full in any::<bool>(),
        ) {
            let [host, path, query, agent, request_id, trace_id] = &texts;
            let texts = LineTexts { host, path, query, agent, request_id, trace_id };
            let shown = if full { LoggedPath::Full } else { LoggedPath::Path };
            let line = rendered(AccessFormat::Json, shown, &hit(), &texts);
            let value: Value = serde_json::from_str(&line).unwrap();
            let lossy = |text: &[u8]| Value::from(String::from_utf8_lossy(text));
            prop_assert_eq!(&value["url.path"], &lossy(path));
            if !agent.is_empty() {
                prop_assert_eq!(&value["user_agent.original"], &lossy(agent));
            }
            for line in [line, rendered(AccessFormat::Text, shown, &hit(), &texts)] {
                let (last, printed) = line.as_bytes().split_last().unwrap();
                prop_assert!(*last == b'\n' && printed.iter().all(|byte| matches!(byte, b' '..=b'~')));
            }
        }
    }
}
