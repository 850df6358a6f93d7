//! Heads of real clients (`tests/heads`), recorded or from documents: default freshness applies to
//! all of them except those that identify the client or have an unlisted field.

use std::fs;
use std::path::Path;

use cachewarp::request_fields::RequestFields;
use cachewarp::survey::survey;
use cachewarp::time;
use tempfile::NamedTempFile;

use crate::harness::{Answer, Client, Ended, Origin, Program, Proxy, Response};

/// Fixtures whose second request the origin answers all the same.
const NOT_ANSWERED: &[(&str, Cause)] = &[
    ("apache-httpd", Cause::Forwarded),
    ("fastly", Cause::Forwarded),
    ("kong", Cause::Forwarded),
    ("nginx-ingress", Cause::Forwarded),
    ("traefik", Cause::Forwarded),
    ("aws-alb-oidc", Cause::Field("x-amzn-oidc-data identifies the caller")),
    ("aws-cloudfront-headers", Cause::Field("an origin answers by cloudfront-viewer-city and its like")),
    ("axios-bearer", Cause::Field("authorization")),
    ("azure-api-management", Cause::Field("ocp-apim-subscription-key is a secret")),
    ("akamai", Cause::Field("an origin answers by x-akamai-edgescape")),
    ("chromium-fetch-cookie", Cause::Field("cookie")),
    ("chromium-fetch-no-cache", Cause::Directive),
    ("chromium-fetch-reload", Cause::Directive),
    ("cloudflare-access", Cause::Field("cf-access-* identifies the caller")),
    ("curl-api-key", Cause::Field("x-api-key is a credential")),
    ("curl-basic", Cause::Field("authorization")),
    ("curl-cookie", Cause::Field("cookie")),
    ("dotnet-httpclient-baggage", Cause::Field("correlation-context carries what the application likes")),
    ("firefox-fetch-cookie", Cause::Field("cookie")),
    ("firefox-fetch-no-cache", Cause::Directive),
    ("firefox-fetch-reload", Cause::Directive),
    ("gcp-api-gateway", Cause::Field("x-apigateway-api-userinfo identifies the caller")),
    ("gcp-iap", Cause::Field("x-goog-* identifies the caller")),
    ("gcp-load-balancer-geo", Cause::Field("an origin answers by x-client-geo-location")),
    ("googlebot", Cause::Field("from is the address of a person (RFC 9110 §10.1.2)")),
    ("istio-mtls", Cause::Field("x-forwarded-client-cert identifies the caller")),
    ("kong-consumer", Cause::Field("x-consumer-* identifies the caller")),
    ("oauth2-proxy", Cause::Field("x-forwarded-user identifies the caller")),
    ("otel-w3c-baggage", Cause::Field("baggage carries what the application likes")),
    ("requests-basic", Cause::Field("authorization")),
    ("sentry", Cause::Field("baggage carries what the application likes")),
    ("sentry-node", Cause::Field("baggage carries what the application likes")),
];

/// The cause why a stored response does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A field of the request prevents storing; its class is the reason.
    Field(&'static str),
    /// An `X-Forwarded-*` field other than For, Proto, Host and Port: the settings of HEADERS.md
    /// help.
    Forwarded,
    /// The request's `Cache-Control` demands the origin.
    Directive,
}

struct Fixture {
    name: String,
    /// The lines of the head, beginning with the request line.
    lines: Vec<String>,
    text: String,
}

impl Fixture {
    fn cause(&self) -> Option<Cause> {
        NOT_ANSWERED.iter().find(|(name, _)| *name == self.name).map(|(_, cause)| *cause)
    }

    fn target(&self) -> String {
        format!("/heads/{}", self.name)
    }

    /// Sends the recorded head with another target, on a new connection.
    fn send(&self, proxy: &Proxy) -> Response {
        let mut head = format!("GET {} HTTP/1.1\r\n", self.target());
        for line in self.lines.iter().skip(1) {
            head.push_str(&format!("{line}\r\n"));
        }
        let mut client = Client::connect(proxy.addr());
        client.send(head + "\r\n");
        client.response()
    }
}

/// Returns every fixture.
fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/heads");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "head") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("# "), "{}: the first line names the client", path.display());
            let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
            found.push(Fixture {
                name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
                lines: lines.map(str::to_owned).collect(),
                text,
            });
        }
    }
    assert!(found.len() > 100, "there are fixtures");
    for (name, _) in NOT_ANSWERED {
        assert!(found.iter().any(|fixture| fixture.name == *name), "there is no fixture {name}");
    }
    found
}

#[test]
fn real_clients_get_hits_by_default_freshness() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut wrong = Vec::new();
    for fixture in fixtures() {
        origin.answer(&fixture.target(), Answer::json(r#"{"for":"all"}"#));
        let first = fixture.send(&proxy);
        // `max-age=0` accepts a response that was received within the same millisecond.
        let answered = time::now();
        while time::now() == answered {
            std::hint::spin_loop();
        }
        let second = fixture.send(&proxy);
        let answered = second.cache_status().starts_with("CacheWarp; hit");
        if answered == fixture.cause().is_some() {
            let statuses = (first.cache_status(), second.cache_status());
            wrong.push(format!("{}: {statuses:?}, expected {:?}", fixture.name, fixture.cause()));
        }
        let fetches = origin.count(&fixture.target());
        assert_eq!(fetches, if answered { 1 } else { 2 }, "{}", fixture.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documented_settings_give_hits_behind_proxies_with_other_forwarded_fields() {
    let origin = Origin::start();
    let settings = [
        ("harmless_headers", "x-forwarded-server,x-forwarded-scheme,x-forwarded-path"),
        ("key_headers", "x-forwarded-prefix"),
    ];
    let proxy = Proxy::start(&origin.url(), &settings);
    for fixture in fixtures().iter().filter(|fixture| fixture.cause() == Some(Cause::Forwarded)) {
        origin.answer(&fixture.target(), Answer::json(r#"{"for":"all"}"#));
        fixture.send(&proxy);
        let second = fixture.send(&proxy);
        assert!(
            second.cache_status().starts_with("CacheWarp; hit"),
            "{}: {}",
            fixture.name,
            second.cache_status()
        );
    }
}

#[test]
fn the_survey_matches_the_caches_behaviour_for_each_client() {
    for fixture in fixtures() {
        let fields = RequestFields::new(&["x-api-key".parse().unwrap()], &[], &[]);
        let report = survey(&fixture.name, fixture.text.as_bytes(), &fields).unwrap().to_string();
        let prevents = report.contains("Fields that prevent it");
        let expected = matches!(fixture.cause(), Some(Cause::Field(_) | Cause::Forwarded));
        assert_eq!(prevents, expected, "{}\n{report}", fixture.name);
    }
}

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn check_explains_the_fields_of_a_recorded_head() {
    let log = file("{\"headers\":{\"Accept\":\"a\",\"X-Tenant\":\"hunter2\"}}\n");
    let path = log.path().to_str().unwrap();
    let Ended { code, stdout, stderr } = Program::run(&["check", "--explain-headers", path]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        stdout.contains("x-tenant") && stdout.contains("unlisted") && !stdout.contains("hunter2"),
        "{stdout}"
    );
    let keyed = Program::run(&["check", "--explain-headers", path, "--key-headers=x-tenant"]);
    assert!(keyed.code == Some(0) && !keyed.stdout.contains("Fields that prevent it"), "{}", keyed.stdout);
    let input = fs::File::open(log.path()).unwrap().into();
    let piped = Program::start_by("exec \"$0\" \"$@\"", input, &["check", "--explain-headers", "-"]).end();
    assert_eq!(piped.code, Some(0));
    assert!(piped.stdout.contains("1 request with GET or HEAD in standard input"), "{}", piped.stdout);
}

#[test]
fn check_refuses_invalid_heads() {
    let bad = file("GET /a HTTP/1.1\nHost: a\nhunter2\n");
    let empty = file("");
    for (path, words) in [
        (bad.path(), "line 3: neither a request line nor `Name: value`"),
        (empty.path(), "no request head found"),
        (Path::new("no-such-file"), "no-such-file: No such file"),
    ] {
        let ended = Program::run(&["check", "--explain-headers", path.to_str().unwrap()]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.contains(words) && !ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}
