//! TLS between clients and the proxy: handshakes, certificates, and the requests behind them.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};

use crate::harness::{Answer, Authority, Client, Gate, Origin, Proxy, Redis, TlsClient, until};

/// A proxy that speaks TLS for `localhost`.
struct TlsStage {
    authority: Authority,
    origin: Origin,
    proxy: Proxy,
}

impl TlsStage {
    fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(Authority::new(), settings)
    }

    fn start_with(authority: Authority, settings: &[(&str, &str)]) -> Self {
        let origin = Origin::start();
        origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
        origin.answer("/public", Answer::json_with(&[("Cache-Control", "public, max-age=60")], "{}"));
        let [certificate, key] = authority.issue("localhost");
        let mut all = vec![("tls_cert_file", certificate.as_str()), ("tls_key_file", key.as_str())];
        all.extend(settings);
        let proxy = Proxy::start(&origin.url(), &all);
        Self { authority, origin, proxy }
    }

    fn client(&self) -> Arc<ClientConfig> {
        self.authority.client(None, &["http/1.1"])
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> TlsClient {
        TlsClient::connect(self.proxy.addr(), config).unwrap()
    }

    fn handshakes(&self, result: &str) -> f64 {
        self.proxy.metric(&format!("cachewarp_tls_handshakes_total{{result=\"{result}\"}}"))
    }
}

#[test]
fn a_request_over_tls_has_the_scheme_https() {
    let stage = TlsStage::start(&[]);
    let mut client = stage.connect(&stage.client());
    assert_eq!(client.session().protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let first = client.get("/a", &[("X-Forwarded-Proto", "http")]).unwrap();
    assert_eq!((first.status, first.cache_status()), (200, "CacheWarp; fwd=uri-miss; stored"));
    let hit = client.get("/a", &[]).unwrap();
    assert!(hit.cache_status().starts_with("CacheWarp; hit"), "{}", hit.cache_status());
    let seen = stage.origin.seen("/a");
    assert_eq!((seen.len(), seen[0].field("x-forwarded-proto")), (1, Some("https")));

    let older = stage.authority.client_of(&[&rustls::version::TLS12], None, &[]);
    let mut older = stage.connect(&older);
    assert_eq!(older.session().protocol_version(), Some(ProtocolVersion::TLSv1_2));
    assert!(older.get("/a", &[]).unwrap().cache_status().starts_with("CacheWarp; hit"));
    for version in ["tls12", "tls13"] {
        let series = format!("cachewarp_tls_connections_total{{version=\"{version}\"}}");
        assert_eq!(stage.proxy.metric(&series), 1.0);
    }
}

#[test]
fn a_client_that_closes_its_sending_side_of_tls_is_answered() {
    let stage = TlsStage::start(&[]);
    let gate = Gate::new();
    let fields = [("Cache-Control", "no-store")];
    stage.origin.answer("/slow", Answer::json_with(&fields, "{}").pass(&gate));
    let config = stage.client();
    for path in ["/a", "/a", "/slow"] {
        let mut client = stage.connect(&config);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).unwrap();
        client.finish().unwrap();
        if path == "/slow" {
            gate.await_arrivals(1);
            gate.open();
        }
        let answer = client.response().unwrap();
        assert_eq!((answer.status, answer.text()), (200, "{}"), "{path}");
    }
    let open = || stage.proxy.metric("cachewarp_client_connections_open");
    until("every connection to be closed", || open() == 0.0);
}

#[test]
fn alpn_decides_the_protocol() {
    let stage = TlsStage::start(&[]);
    let both = stage.authority.client(None, &["h2", "http/1.1"]);
    let mut client = stage.connect(&both);
    assert_eq!(client.session().alpn_protocol(), Some(&b"h2"[..]));
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    assert_eq!(client.bytes(4).unwrap()[3], 4, "the server's first frame is SETTINGS");

    // A client that negotiated one protocol and speaks the other gets no response.
    let mut mixed = stage.connect(&both);
    assert!(mixed.get("/a", &[]).is_err());
    let mut mixed = stage.connect(&stage.client());
    mixed.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    assert!(mixed.response().is_err());

    assert!(TlsClient::connect(stage.proxy.addr(), &stage.authority.client(None, &["smtp"])).is_err());
    until("the failure to be counted", || stage.handshakes("incompatible") == 1.0);
    assert_eq!(stage.origin.count("/a"), 0);
}

#[test]
fn framing_is_checked_inside_tls() {
    let stage = TlsStage::start(&[]);
    let mut client = stage.connect(&stage.client());
    let ambiguous =
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    client.send(ambiguous).unwrap();
    assert_eq!(client.response().unwrap().status, 400);
    assert_eq!(stage.proxy.metric("cachewarp_client_refusals_total{reason=\"ambiguous-framing\"}"), 1.0);
    assert_eq!(stage.origin.count("/a"), 0);
}

#[test]
fn each_protocol_is_refused_on_the_port_of_the_other() {
    let stage = TlsStage::start(&[]);
    let mut plain = Client::connect(stage.proxy.addr());
    let refused = plain.get("/a");
    assert_eq!((refused.status, refused.text()), (400, "this port requires https"));
    until("the refusal to be counted", || stage.handshakes("plain-http") == 1.0);

    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let error = TlsClient::connect(proxy.addr(), &stage.client()).err().map(|error| error.to_string());
    assert!(error.as_deref().is_some_and(|error| error.contains("HandshakeFailure")), "{error:?}");
    assert_eq!(proxy.metric("cachewarp_client_refusals_total{reason=\"tls\"}"), 1.0);
}

#[test]
fn a_session_resumes_at_every_worker() {
    let stage = TlsStage::start(&[("worker_threads", "4")]);
    let config = stage.client();
    for number in 0..24 {
        let mut client = stage.connect(&config);
        assert_eq!(client.get("/a", &[]).unwrap().status, 200);
        let kind = if number == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
        assert_eq!(client.session().handshake_kind(), Some(kind), "{number}");
    }
    assert_eq!((stage.handshakes("full"), stage.handshakes("resumed")), (1.0, 23.0));
}

#[test]
fn an_unfinished_handshake_has_a_deadline_and_counts_for_its_address() {
    let settings = [("tls_handshake_timeout", "300ms"), ("max_connections_per_address", "2")];
    let stage = TlsStage::start(&settings);
    let silent: Vec<_> = (0..2).map(|_| TcpStream::connect(stage.proxy.addr()).unwrap()).collect();
    until("both to be accepted", || stage.proxy.metric("cachewarp_client_connections_open") == 2.0);
    assert_eq!(Client::connect(stage.proxy.addr()).rest(), b"", "a third connection is closed at once");
    until("the deadline", || stage.handshakes("timed-out") == 2.0);
    for stream in silent {
        let mut client = Client::over(stream);
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(stage.connect(&stage.client()).get("/a", &[]).unwrap().status, 200);
}

#[test]
fn a_required_certificate_admits_its_client_alone() {
    let authority = Authority::new();
    let (ca_file, own) = (authority.ca_file(), authority.issue("client"));
    let settings = [("tls_client_auth", "require"), ("tls_client_ca_file", ca_file.as_str())];
    let stage = TlsStage::start_with(authority, &settings);
    let known = stage.authority.client(Some(&own), &["http/1.1"]);
    assert_eq!(stage.connect(&known).get("/a", &[]).unwrap().status, 200);

    let other = Authority::new();
    let foreign = stage.authority.client(Some(&other.issue("client")), &["http/1.1"]);
    for config in [foreign, stage.client()] {
        let answer =
            TlsClient::connect(stage.proxy.addr(), &config).and_then(|mut client| client.get("/a", &[]));
        assert!(answer.is_err(), "{answer:?}");
    }
    until("the failures to be counted", || {
        stage.handshakes("no-client-certificate") == 1.0
            && stage.handshakes("client-certificate-invalid") == 1.0
    });
    assert_eq!(stage.origin.count("/a"), 1);
}

#[test]
fn nodes_that_differ_in_the_meaning_of_client_certificates_share_no_entry() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let node = |is_credential| {
        let settings = [
            ("tls_client_credential", is_credential),
            ("cache_memory_size", "0"),
            ("explain_token", "t"),
            ("redis_timeout", "5s"),
        ];
        Proxy::start_with_redis(&origin.url(), &redis.url(), &settings)
    };
    let [ignoring, counting, too] = ["false", "true", "true"].map(node);
    let is_hit = |node: &Proxy| node.get("/a").cache_status().starts_with("CacheWarp; hit");
    assert!(!is_hit(&ignoring));
    until("the node to use its own entry", || is_hit(&ignoring));
    let other = counting.get_with("/a", &[("CacheWarp-Explain", "t")]);
    let explained = other.field("cachewarp-explain").unwrap();
    assert!(explained.contains("other-rules") && explained.contains("\"miss\""), "{explained}");
    until("nodes with equal settings to share the entry", || is_hit(&counting) && is_hit(&too));
}

#[test]
fn a_client_certificate_is_a_credential() {
    for (is_credential, shared) in [("true", false), ("false", true)] {
        let authority = Authority::new();
        let (ca_file, own) = (authority.ca_file(), authority.issue("client"));
        let settings = [
            ("tls_client_auth", "request"),
            ("tls_client_ca_file", ca_file.as_str()),
            ("tls_client_credential", is_credential),
        ];
        let stage = TlsStage::start_with(authority, &settings);
        let known = stage.authority.client(Some(&own), &["http/1.1"]);
        let (mut known, mut anonymous) = (stage.connect(&known), stage.connect(&stage.client()));
        let first = known.get("/a", &[("Client-Cert", ":AAAA:"), ("X-Forwarded-Client-Cert", "a")]).unwrap();
        let second = known.get("/a", &[]).unwrap();
        let other = anonymous.get("/a", &[]).unwrap();
        let again = known.get("/a", &[]).unwrap();
        for seen in stage.origin.seen("/a") {
            assert_eq!((seen.field("client-cert"), seen.field("x-forwarded-client-cert")), (None, None));
        }
        assert!(first.cache_status().contains("detail=credential-header"), "{}", first.cache_status());
        let hits = [second, other, again].map(|answer| answer.cache_status().starts_with("CacheWarp; hit"));
        assert_eq!(hits, if shared { [false, true, true] } else { [false, false, false] });
        // The origin allows it explicitly.
        assert_eq!(known.get("/public", &[]).unwrap().cache_status(), "CacheWarp; fwd=uri-miss; stored");
        for client in [&mut known, &mut anonymous] {
            assert!(client.get("/public", &[]).unwrap().cache_status().starts_with("CacheWarp; hit"));
        }
    }
}
