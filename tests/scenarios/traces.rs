//! Spans of sampled requests at a collector that decodes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::admin::PATIENT;
use crate::harness::{Answer, Gate, Origin, Proxy, Redis, until};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// The fields by which origins repeat the context of a request.
const REPEATED: [&str; 5] = ["traceparent", "tracestate", "traceresponse", "server-timing", "x-trace-id"];
const SPANS_SENT: &str = "cachewarp_trace_spans_sent_total";

/// A span as the collector reads it.
#[derive(Clone, Debug, Default)]
struct SeenSpan {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    took: u64,
    failed: bool,
    attributes: BTreeMap<String, String>,
    /// Trace and span of each link.
    links: Vec<(String, String)>,
}

/// A field of a message in the encoding of Protocol Buffers: its number, and its value.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Returns the fields of a message, or `None` if it is malformed.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            0 => Wire::Number(varint(&mut message)?),
            1 => {
                let (number, rest) = message.split_first_chunk()?;
                message = rest;
                Wire::Number(u64::from_le_bytes(*number))
            }
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                Wire::Bytes(bytes)
            }
            _ => return None,
        };
        fields.push((tag >> 3, value));
    }
    Some(fields)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Returns the bytes of each field with this number.
fn all<'a>(message: &'a [u8], number: u64) -> Option<Vec<&'a [u8]>> {
    let of = |(field, value): (u64, Wire<'a>)| match value {
        Wire::Bytes(bytes) if field == number => Some(bytes),
        Wire::Bytes(_) | Wire::Number(_) => None,
    };
    Some(fields(message)?.into_iter().filter_map(of).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn span(message: &[u8]) -> Option<SeenSpan> {
    let (mut span, mut begun) = (SeenSpan::default(), 0);
    for (number, value) in fields(message)? {
        match (number, value) {
            (1, Wire::Bytes(id)) => span.trace = hex(id),
            (2, Wire::Bytes(id)) => span.id = hex(id),
            (4, Wire::Bytes(id)) => span.parent = hex(id),
            (5, Wire::Bytes(name)) => span.name = text(name),
            (6, Wire::Number(kind)) => span.kind = kind,
            (7, Wire::Number(at)) => begun = at,
            (8, Wire::Number(at)) => span.took = at.checked_sub(begun)?,
            (9, Wire::Bytes(attribute)) => {
                let (key, value) = (all(attribute, 1)?, all(attribute, 2)?);
                let value = match fields(value.first()?)?.pop()? {
                    (1, Wire::Bytes(value)) => text(value),
                    (3, Wire::Number(value)) => value.to_string(),
                    _ => return None,
                };
                span.attributes.insert(text(key.first()?), value);
            }
            (13, Wire::Bytes(link)) => {
                let (trace, id) = (all(link, 1)?, all(link, 2)?);
                span.links.push((hex(trace.first()?), hex(id.first()?)));
            }
            (15, Wire::Bytes(status)) => span.failed = !status.is_empty(),
            _ => return None,
        }
    }
    Some(span)
}

/// Returns the spans of a message.
fn spans(request: &[u8]) -> Option<Vec<SeenSpan>> {
    let mut seen = Vec::new();
    for resource in all(request, 1)? {
        for scope in all(resource, 2)? {
            for message in all(scope, 2)? {
                seen.push(span(message)?);
            }
        }
    }
    Some(seen)
}

/// A collector.
struct Collector {
    server: Origin,
    seen: Arc<Mutex<Vec<SeenSpan>>>,
}

impl Collector {
    fn start() -> Self {
        let (server, seen) = (Origin::start(), Arc::<Mutex<Vec<SeenSpan>>>::default());
        let kept = Arc::clone(&seen);
        server.script("/v1/traces", move |exchange| {
            let message = exchange.body()?;
            let read = spans(&message).unwrap_or_else(|| panic!("malformed: {message:?}"));
            kept.lock().unwrap().extend(read);
            Answer::new(200, &[], "").give(exchange)
        });
        Self { server, seen }
    }

    /// Waits for as many spans as this, and returns them by name.
    fn await_spans(&self, count: usize) -> BTreeMap<String, SeenSpan> {
        until("the spans to arrive", || self.seen.lock().unwrap().len() >= count);
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        assert_eq!(seen.len(), count, "{seen:?}");
        seen.into_iter().map(|span| (span.name.clone(), span)).collect()
    }
}

fn context(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

#[test]
fn a_sampled_request_has_its_spans_at_the_collector() {
    let (origin, redis, collector) = (Origin::start(), Redis::start(), Collector::start());
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let url = collector.server.url();
    let settings = [&PATIENT[..], &[("otlp_endpoint", url.as_str()), ("trace_sample", "0")]].concat();
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    let context = context("01");
    let answer = proxy.get_with("/a", &[("traceparent", &context), ("tracestate", "a=1")]);
    assert_eq!(answer.status, 200);
    let spans = collector.await_spans(5);
    let names: Vec<_> = spans.keys().map(String::as_str).collect();
    assert_eq!(names, ["fetch", "lookup", "redis", "request", "store"]);
    let request = &spans["request"];
    assert_eq!((request.parent.as_str(), request.kind), (PARENT, 2));
    assert_eq!(request.attributes["http.request.method"], "GET");
    assert_eq!(request.attributes["http.response.status_code"], "200");
    assert_eq!(request.attributes["cachewarp.outcome"], "miss");
    for span in spans.values() {
        assert_eq!(span.trace, TRACE);
        assert!(!span.failed && span.took > 0 && span.id.len() == 16, "{span:?}");
        assert!(span.name == "request" || span.parent == request.id, "{span:?}");
    }
    // The origin continues the span of the fetch, and gets no text of the client on a shared fetch.
    let fetched = &origin.seen("/a")[0];
    let sent = format!("00-{TRACE}-{}-01", spans["fetch"].id);
    assert_eq!((fetched.field("traceparent"), fetched.field("tracestate")), (Some(sent.as_str()), None));

    // A hit in memory is one span.
    proxy.get_with("/a", &[("traceparent", &context)]);
    assert_eq!(collector.await_spans(1)["request"].attributes["cachewarp.outcome"], "hit-memory");
    proxy.await_metric(SPANS_SENT, 6.0);
}

#[test]
fn the_context_decides_and_without_one_the_ratio() {
    let (origin, collector) = (Origin::start(), Collector::start());
    origin.answer("/a", Answer::new(500, &[], "broken"));
    let url = collector.server.url();
    let all = Proxy::start(&origin.url(), &[("otlp_endpoint", &url), ("trace_sample", "100%")]);
    let unsampled = context("00");
    all.get_with("/health", &[("traceparent", &unsampled)]);
    let zero = format!("00-{}-{PARENT}-01", "0".repeat(32));
    let sampled = context("01");
    for malformed in [&[""][..], &["00-xyz"], &[zero.as_str()], &[sampled.as_str(), sampled.as_str()]] {
        let fields: Vec<_> = malformed.iter().map(|text| ("traceparent", *text)).collect();
        all.get_with("/health", &fields);
        let own = &collector.await_spans(1)["request"];
        assert!(own.parent.is_empty() && own.trace.len() == 32 && own.trace != TRACE, "{own:?}");
    }
    // A span has no text that a client chooses.
    all.connect().request("M".repeat(300).as_str(), "/health", &[]);
    assert_eq!(collector.await_spans(2)["request"].attributes["http.request.method"], "_OTHER");
    // A passed request carries the tracestate of its client behind the new parent.
    let fields = [("traceparent", context("01")), ("tracestate", "a=1".to_owned())];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    all.connect().request("POST", "/a", &[&fields[..], &[("Content-Length", "0")]].concat());
    let spans = collector.await_spans(2);
    assert!(spans["request"].failed);
    assert_eq!(spans["fetch"].attributes["http.response.status_code"], "500");
    let passed = &origin.seen("/a")[0];
    assert_eq!(passed.field("tracestate"), Some("a=1"));
    assert!(passed.field("traceparent").is_some_and(|parent| parent.contains(&spans["fetch"].id)));
    // A new trace does not continue the state of another one.
    let restarted = [("traceparent", zero.as_str()), ("tracestate", "a=1"), ("Content-Length", "0")];
    all.connect().request("POST", "/a", &restarted);
    let spans = collector.await_spans(2);
    let passed = &origin.seen("/a")[1];
    assert_eq!(passed.field("tracestate"), None);
    assert!(passed.field("traceparent").is_some_and(|parent| parent.contains(&spans["fetch"].id)));
    // An unsampled context passes unchanged.
    all.connect().request("POST", "/a", &[("traceparent", &unsampled), ("Content-Length", "0")]);
    assert_eq!(origin.seen("/a")[2].field("traceparent"), Some(unsampled.as_str()));

    let none = Proxy::start(&origin.url(), &[("otlp_endpoint", &url), ("trace_sample", "0")]);
    none.get("/health");
    // The next sampled request shows that the one before sent nothing.
    none.get_with("/health", &[("traceparent", &context("01"))]);
    assert_eq!(collector.await_spans(1)["request"].parent, PARENT);
}

#[test]
fn no_client_gets_the_trace_of_another() {
    let (origin, collector, gate) = (Origin::start(), Collector::start(), Gate::new());
    let held = gate.clone();
    origin.script("/a", move |exchange| {
        held.pass();
        let stated = exchange.request.field("traceparent").unwrap_or("none").to_owned();
        let repeated = REPEATED.map(|name| (name, stated.as_str()));
        let fields = [&repeated[..], &[("Cache-Control", "max-age=60")]].concat();
        Answer::json_with(&fields, "{}").give(exchange)
    });
    let url = collector.server.url();
    let proxy = Proxy::start(&origin.url(), &[("otlp_endpoint", &url), ("trace_sample", "0")]);
    let (first, other) = (context("01"), format!("00-{}-{}-01", "1".repeat(32), "2".repeat(16)));
    let mut leader = proxy.connect();
    leader.send(head(&first));
    gate.await_arrivals(1);
    let mut follower = proxy.connect();
    follower.send(head(&other));
    proxy.await_askers(2);
    gate.open();
    assert_eq!(leader.response().field("traceresponse").map(|text| text.contains(TRACE)), Some(true));
    let collapsed = follower.response();
    assert!(collapsed.cache_status().ends_with("collapsed"), "{collapsed:?}");
    let mut later = proxy.connect();
    later.send(head(&context("00")));
    let hit = later.response();
    assert!(hit.cache_status().contains("hit"), "{hit:?}");
    for answer in [collapsed, hit] {
        for name in REPEATED {
            assert_eq!(answer.field(name), None, "{answer:?}");
        }
    }
    let seen = origin.seen("/a");
    assert_eq!(seen.len(), 1);
    assert!(seen[0].field("traceparent").is_some_and(|parent| parent.contains(TRACE)));
    assert_eq!(seen[0].field("tracestate"), None);
    // The end of the process sends the last spans. The follower's request links to the fetch.
    drop(proxy);
    let spans = std::mem::take(&mut *collector.seen.lock().unwrap());
    let fetch = spans.iter().find(|span| span.name == "fetch").unwrap();
    let linked: Vec<_> = spans.iter().filter(|span| !span.links.is_empty()).collect();
    let [waiter] = linked[..] else { panic!("{spans:?}") };
    assert_eq!((waiter.name.as_str(), waiter.trace.as_str()), ("request", "1".repeat(32).as_str()));
    assert_eq!(waiter.links, [(TRACE.to_owned(), fetch.id.clone())]);
    assert_eq!(fetch.trace, TRACE);
}

/// Returns the head of a request with a context.
fn head(context: &str) -> String {
    format!("GET /a HTTP/1.1\r\nHost: a.test\r\ntraceparent: {context}\r\ntracestate: a=1\r\n\r\n")
}

#[test]
fn a_context_in_the_cache_key_reaches_the_origin_unchanged() {
    let (origin, collector) = (Origin::start(), Collector::start());
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let url = collector.server.url();
    let settings = [("otlp_endpoint", url.as_str()), ("key_headers", "traceparent")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let sampled = context("01");
    proxy.get_with("/a", &[("traceparent", &sampled)]);
    collector.await_spans(4);
    assert_eq!(origin.seen("/a")[0].field("traceparent"), Some(sampled.as_str()));
}

#[test]
fn a_collector_that_takes_nothing_costs_spans_and_nothing_else() {
    let (origin, collector) = (Origin::start(), Origin::start());
    let url = collector.url();
    let settings = [("otlp_endpoint", url.as_str()), ("trace_sample", "100%")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let refused = r#"cachewarp_trace_spans_lost_total{reason="refused"}"#;
    for (number, status) in [413, 429, 503].into_iter().enumerate() {
        collector.answer("/v1/traces", Answer::new(status, &[("Retry-After", "60")], "no"));
        assert_eq!(proxy.get("/health").status, 200);
        proxy.await_metric(refused, (number + 1) as f64);
    }
    // A collector that closes early, or answers with other bytes than HTTP.
    let unreachable = r#"cachewarp_trace_spans_lost_total{reason="unreachable"}"#;
    for (number, answer) in ["", "HTTP/1.1 20", "\0garbage\r\n\r\n"].into_iter().enumerate() {
        collector.answer("/v1/traces", Answer::raw(answer).close());
        assert_eq!(proxy.get("/health").status, 200);
        proxy.await_metric(unreachable, (number + 1) as f64);
    }
    // A collector that does not answer holds one message, and the next requests go on.
    let gate = Gate::new();
    let held = gate.clone();
    collector.script("/v1/traces", move |exchange| {
        exchange.body()?;
        held.pass();
        Answer::new(200, &[], "").give(exchange)
    });
    assert_eq!(proxy.get("/health").status, 200);
    gate.await_arrivals(1);
    assert_eq!(proxy.get("/health").status, 200);
    gate.open();
    proxy.await_metric(SPANS_SENT, 2.0);
    drop(collector);
    assert_eq!(proxy.get("/health").status, 200);
    proxy.await_metric(unreachable, 4.0);
}
