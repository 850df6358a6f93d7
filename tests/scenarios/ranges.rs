//! Range requests (RFC 9110 §14): CacheWarp cuts parts from the whole body, stored or still
//! arriving, and forwards a range only if the whole is not available.

use std::io::ErrorKind;

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Response, until};

/// Valid JSON whose bytes are all different.
const BODY: &str = "1234567890";
const TAG: (&str, &str) = ("ETag", "\"a\"");
const FRESH: (&str, &str) = ("Cache-Control", "max-age=100");
/// An hour before [`ONE`], which makes it a strong validator.
const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
const ONE: &str = "Sun, 06 Nov 1994 13:00:00 GMT";

const STORED: &str = "CacheWarp; fwd=uri-miss; stored";

/// A `Range`, and the resulting status, `Content-Range` and body.
const RANGES: [(&str, u16, Option<&str>, &str); 15] = [
    ("bytes=0-3", 206, Some("bytes 0-3/10"), "1234"),
    ("bytes=3-3", 206, Some("bytes 3-3/10"), "4"),
    ("bytes=7-", 206, Some("bytes 7-9/10"), "890"),
    ("bytes=7-99", 206, Some("bytes 7-9/10"), "890"),
    ("bytes=-2", 206, Some("bytes 8-9/10"), "90"),
    ("bytes=-99", 206, Some("bytes 0-9/10"), BODY),
    ("bytes=12-, 2-4", 206, Some("bytes 2-4/10"), "345"),
    ("bytes=10-", 416, Some("bytes */10"), ""),
    ("bytes=10-12, 99-", 416, Some("bytes */10"), ""),
    ("bytes=-0", 416, Some("bytes */10"), ""),
    ("bytes=4-2", 200, None, BODY),
    ("bytes=x", 200, None, BODY),
    ("lines=0-1", 200, None, BODY),
    ("bytes=0-4, 2-6", 200, None, BODY),
    ("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,0-0,1-1,2-2,3-3,4-4,5-5,6-6", 200, None, BODY),
];

fn whole(fields: &[(&str, &str)]) -> Answer {
    Answer::json_with(&[&[FRESH, TAG], fields].concat(), BODY)
}

fn assert_is(response: &Response, status: u16, content_range: Option<&str>, body: &str, case: &str) {
    assert_eq!((response.status, response.text()), (status, body), "{case}");
    assert_eq!(response.field("content-range"), content_range, "{case}");
    assert_eq!(response.field("content-length"), Some(body.len().to_string().as_str()), "{case}");
}

#[test]
fn a_range_of_a_stored_response_is_served() {
    let origin = Origin::start();
    origin.answer(
        "/a",
        whole(&[("CDN-Cache-Control", "max-age=60"), ("Expires", "Sun, 06 Nov 2044 12:01:00 GMT")]),
    );
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    let mut client = proxy.connect();
    for (range, status, content_range, body) in RANGES {
        let response = client.request("GET", "/a", &[("Range", range)]);
        assert_is(&response, status, content_range, body, range);
        assert!(response.cache_status().starts_with("CacheWarp; hit"), "{}", response.cache_status());
        assert_eq!(response.field("content-type").is_some(), status != 416);
        // The lifetime of the whole does not apply to the refusal of one request.
        let (control, targeted) = (response.field("cache-control"), response.field("cdn-cache-control"));
        let want =
            if status == 416 { (Some("no-store"), None) } else { (Some("max-age=100"), Some("max-age=60")) };
        assert_eq!((control, targeted), want, "{range}");
        assert_eq!(response.field("expires").is_some(), status != 416);
        // RFC 9110 §14.2: a `HEAD` has no range.
        let head = client.request("HEAD", "/a", &[("Range", range)]);
        assert_eq!((head.status, head.field("content-length")), (200, Some("10")), "{range}");
    }
    // Two `Range` fields are not a list of ranges.
    assert_eq!(client.request("GET", "/a", &[("Range", "bytes=0-1"), ("Range", "bytes=3-4")]).status, 200);
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_range_of_a_fetched_response_is_served_and_the_whole_is_stored() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, (range, status, content_range, body)) in RANGES.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, whole(&[]));
        let response = proxy.get_with(&path, &[("Range", range)]);
        assert_is(&response, status, content_range, body, range);
        assert_eq!(response.cache_status(), STORED, "{range}");
        assert_eq!(origin.seen(&path)[0].field("range"), None);
        until("the response to be stored", || {
            proxy.metric("cachewarp_memory_entries") == (number + 1) as f64
        });
        let plain = proxy.get(&path);
        assert!(plain.cache_status().starts_with("CacheWarp; hit"), "{}", plain.cache_status());
        assert_eq!((plain.status, plain.text(), origin.count(&path)), (200, BODY, 1));
    }
}

/// Returns the parts of a `multipart/byteranges`: their `Content-Range` and bytes.
fn parts(response: &Response) -> Vec<(String, String)> {
    let content_type = response.field("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").expect(content_type);
    let text = response.text();
    let inside = text.strip_suffix(&format!("\r\n--{boundary}--\r\n")).expect(text);
    let delimiter = format!("--{boundary}\r\n");
    let pieces = inside.split(&delimiter).skip(1);
    let part = |piece: &str| {
        let (head, body) = piece.split_once("\r\n\r\n").expect(piece);
        assert!(head.contains("Content-Type: application/json"), "{head}");
        let range = head.split("Content-Range: ").nth(1).expect(head);
        (range.to_owned(), body.trim_end_matches("\r\n").to_owned())
    };
    pieces.map(part).collect()
}

#[test]
fn several_ranges_are_served_in_the_requested_order() {
    let origin = Origin::start();
    origin.answer("/a", whole(&[]));
    origin.answer("/b", whole(&[]));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    // First from a fetch, then from the store.
    for (target, status) in [("/a", "CacheWarp; hit"), ("/b", STORED)] {
        let response = proxy.get_with(target, &[("Range", "bytes=-2, 0-1, 4-5,99-")]);
        assert!(response.cache_status().starts_with(status), "{}", response.cache_status());
        assert_eq!((response.status, response.field("content-range")), (206, None));
        let want = [("bytes 8-9/10", "90"), ("bytes 0-1/10", "12"), ("bytes 4-5/10", "56")];
        let got = parts(&response);
        assert_eq!(got, want.map(|(range, body)| (range.to_owned(), body.to_owned())));
    }
    assert!(proxy.get("/b").cache_status().starts_with("CacheWarp; hit"));
}

#[test]
fn if_range_serves_a_range_only_of_the_clients_version() {
    let rows = [
        ("\"a\"", 206),
        ("W/\"a\"", 200),
        ("\"x\"", 200),
        ("*", 200),
        (NOON, 206),
        (ONE, 200),
        ("Sat, 05 Nov 1994 12:00:00 GMT", 200),
        ("nonsense", 200),
    ];
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let dates = [("Last-Modified", NOON), ("Date", ONE), ("Expires", "Sun, 06 Nov 2094 12:00:00 GMT")];
    origin.answer(
        "/stored",
        Answer::json_with(&[&dates[..], &[TAG, ("Cache-Control", "max-age=9999999999")]].concat(), BODY),
    );
    origin.answer("/uncacheable", Answer::json_with(&[TAG, ("Cache-Control", "no-store")], BODY));
    for round in ["fetched", "stored"] {
        for (number, (if_range, status)) in rows.into_iter().enumerate() {
            let target =
                if round == "fetched" { format!("/stored?{number}") } else { "/stored?0".to_owned() };
            let response = proxy.get_with(&target, &[("Range", "bytes=0-3"), ("If-Range", if_range)]);
            assert_eq!(response.status, status, "{round}: {if_range}: {}", response.cache_status());
            assert_eq!(response.text(), if status == 206 { "1234" } else { BODY });
        }
    }
    // The origin that answers the request also evaluates `If-Range`, once the proxy knows that it
    // cannot store the response.
    for _ in 0..2 {
        proxy.get_with("/uncacheable", &[("Range", "bytes=0-3"), ("If-Range", "\"a\"")]);
    }
    let asked = origin.seen("/uncacheable").pop().unwrap();
    assert_eq!((asked.field("range"), asked.field("if-range")), (Some("bytes=0-3"), Some("\"a\"")));
}

/// Returns a response with its head and half of its body, and the rest behind a gate.
fn in_two(gate: &Gate) -> Answer {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n";
    Answer::raw(head).send(BODY.split_at(5).0).pass(gate).send(BODY.split_at(5).1)
}

#[test]
fn a_range_is_sent_as_soon_as_its_bytes_arrive() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", in_two(&gate));
    let proxy = Proxy::start(&origin.url(), &[]);
    // The first part is complete while the origin still holds back the rest.
    let first = proxy.get_with("/a", &[("Range", "bytes=1-3")]);
    assert_is(&first, 206, Some("bytes 1-3/10"), "234", "the leader");
    assert_eq!(first.cache_status(), STORED);
    let second = proxy.get_with("/a", &[("Range", "bytes=0-0")]);
    assert_is(&second, 206, Some("bytes 0-0/10"), "1", "a follower");
    assert_eq!(second.cache_status(), "CacheWarp; fwd=uri-miss; collapsed");
    let mut later = ["bytes=4-6", "bytes=-1", "bytes=0-1,8-9"].map(|range| {
        let mut client = proxy.connect();
        client.send_head("GET", "/a", &[("Range", range)]);
        client
    });
    let head = later[0].head();
    assert_eq!(later[0].bytes(1), b"5", "the client gets the bytes that have arrived");
    gate.open();
    assert_eq!((head.field("content-range"), later[0].bytes(2)), (Some("bytes 4-6/10"), b"67".to_vec()));
    assert_eq!(later[1].response().text(), "0");
    assert_eq!(parts(&later[2].response()).len(), 2);
    assert_eq!(proxy.get("/a").text(), BODY);
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_range_beyond_the_cut_of_a_body_is_cut_too() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let cut = |gate: &Gate| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n";
        Answer::raw(head).send(BODY.split_at(5).0).pass(gate).close()
    };
    origin.answer("/a", cut(&gate));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients: [Client; 2] = ["bytes=3-7", "bytes=0-1,7-8"].map(|range| {
        let mut client = proxy.connect();
        client.send_head("GET", "/a", &[("Range", range)]);
        client
    });
    let head = clients[0].head();
    assert_eq!(proxy.get_with("/a", &[("Range", "bytes=0-4")]).text(), "12345", "before the cut");
    gate.open();
    let (body, end) = clients[0].body_of("GET", &head);
    assert_eq!((body.as_slice(), end.unwrap_err().kind()), (&b"45"[..], ErrorKind::UnexpectedEof));
    // Several parts need the whole body. It was cut, so there is no response that could pass for
    // one.
    let rest = clients[1].rest();
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1 206"), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(proxy.metric("cachewarp_memory_entries"), 0.0);
}

#[test]
fn a_body_of_unknown_length_is_sent_whole() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    origin.answer("/a", Answer::raw(chunked).pass(&gate).send(format!("a\r\n{BODY}\r\n0\r\n\r\n")));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("GET", "/a", &[("Range", "bytes=0-3")]);
    let head = client.head();
    gate.open();
    assert_eq!((head.word(1), head.field("cache-status")), ("200", Some(STORED)));
    assert_eq!(client.body_of("GET", &head).0, BODY.as_bytes());
    assert_eq!(
        proxy.get_with("/a", &[("Range", "bytes=0-3")]).text(),
        "1234",
        "the length is known once the body is stored"
    );
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_range_of_a_validated_response_is_served() {
    let origin = Origin::start();
    let stale = [("Cache-Control", "max-age=60"), ("Age", "60"), TAG];
    origin.answer("/a", Answer::json_with(&stale, BODY));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.answer("/a", Answer::not_modified(&[FRESH]));
    let part = proxy.get_with("/a", &[("Range", "bytes=2-3")]);
    assert_is(&part, 206, Some("bytes 2-3/10"), "34", "validated");
    assert_eq!(part.cache_status(), "CacheWarp; fwd=stale; fwd-status=304; stored");
    assert!(proxy.get_with("/a", &[("Range", "bytes=2-3")]).cache_status().starts_with("CacheWarp; hit"));
    assert_eq!(origin.seen("/a")[1].field("range"), None);
}

#[test]
fn a_range_of_an_unstorable_response_comes_from_the_origin() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("cache_max_body", "8")]);
    for (path, cache_control) in [("/private", "private"), ("/too-large", "max-age=60")] {
        origin.script(path, move |exchange| match exchange.request.field("range") {
            Some(_) => {
                let fields = [("Content-Range", "bytes 2-4/10"), ("Cache-Control", cache_control)];
                Answer::new(206, &fields, "345").give(exchange)
            }
            None => Answer::json_with(&[("Cache-Control", cache_control)], BODY).give(exchange),
        });
        for asked_of_the_origin in [1, 2] {
            let part = proxy.get_with(path, &[("Range", "bytes=2-4")]);
            assert_is(&part, 206, Some("bytes 2-4/10"), "345", path);
            assert!(part.cache_status().starts_with("CacheWarp; fwd=uri-miss; detail="));
            // The first request is for the whole. Then the proxy knows that the response is not
            // storable, and sends the range.
            assert_eq!(origin.count(path), asked_of_the_origin, "{path}");
        }
        let seen = origin.seen(path);
        let ranges: Vec<_> = seen.iter().map(|request| request.field("range")).collect();
        assert_eq!(ranges, [None, Some("bytes=2-4")]);
        assert_eq!(proxy.get(path).text(), BODY);
    }
    assert_eq!(proxy.metric("cachewarp_memory_entries"), 0.0);
}

/// Each request has a key of its own, so the proxy knows nothing about any of them.
#[test]
fn the_origin_is_asked_once_for_a_range_of_an_unknown_key() {
    const LARGE: usize = 400 << 10;
    let origin = Origin::start();
    let large: String = (0..LARGE / 10).map(|number| format!("{number:09},")).collect();
    let body = large.clone();
    origin.script("/large", move |exchange| {
        Answer::json_with(&[("Cache-Control", "no-store")], &body).give(exchange)
    });
    origin.script("/a", |exchange| Answer::json_with(&[("Cache-Control", "no-store")], BODY).give(exchange));
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, (range, status, content_range, body)) in RANGES.into_iter().enumerate() {
        let part = proxy.get_with(&format!("/a?{number}"), &[("Range", range)]);
        assert_is(&part, status, content_range, body, range);
    }
    assert_eq!(origin.count("/a"), RANGES.len());
    let total = large.len();
    for (number, (range, status, content_range, body)) in [
        ("bytes=1000-1019", 206, Some(format!("bytes 1000-1019/{total}")), large.get(1000..1020).unwrap()),
        (
            "bytes=200000-",
            206,
            Some(format!("bytes 200000-{}/{total}", total - 1)),
            large.get(200_000..).unwrap(),
        ),
        // It would have to be read up to the range.
        ("bytes=300000-300009", 200, None, large.as_str()),
        ("bytes=0-1,5-6", 200, None, large.as_str()),
    ]
    .into_iter()
    .enumerate()
    {
        let part = proxy.get_with(&format!("/large?{number}"), &[("Range", range)]);
        assert_is(&part, status, content_range.as_deref(), body, range);
        assert_eq!(origin.count("/large"), number + 1, "{range}");
    }
}

#[test]
fn a_range_comes_from_the_requested_variant() {
    let origin = Origin::start();
    origin.script("/a", |exchange| {
        let english = exchange.request.field("accept-language") == Some("en");
        let body = if english { "[1,1,1]" } else { "[2,2,2]" };
        Answer::json_with(&[FRESH, ("Vary", "Accept-Language")], body).give(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        for (language, body) in [("en", "1,1"), ("de", "2,2")] {
            let part = proxy.get_with("/a", &[("Accept-Language", language), ("Range", "bytes=1-3")]);
            assert_eq!((part.status, part.text()), (206, body));
        }
    }
}
