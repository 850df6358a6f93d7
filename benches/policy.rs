//! Costs of the policy: each hit pays for `reuse` and for reading the request, each fetch for
//! `storable`.

use std::hint::black_box;
use std::time::Duration;

use cachewarp::key::Target;
use cachewarp::policy::{
    CacheRules, ContentTypes, Exchange, RequestFacts, StorableStatuses, reuse, storable, stored_fields,
};
use cachewarp::request_fields::RequestFields;
use cachewarp::time::Timestamp;
use criterion::{Criterion, criterion_group, criterion_main};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

const CURL: &[(&str, &str)] =
    &[("host", "api.example.com"), ("user-agent", "curl/8.14.1"), ("accept", "*/*")];

const BROWSER: &[(&str, &str)] = &[
    ("host", "api.example.com"),
    ("connection", "keep-alive"),
    ("sec-ch-ua", "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"),
    ("accept", "application/json, text/plain, */*"),
    ("origin", "https://www.example.com"),
    ("sec-fetch-site", "same-site"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
    ("referer", "https://www.example.com/"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
];

const RESPONSE: &[(&str, &str)] = &[
    ("content-type", "application/json; charset=utf-8"),
    ("cache-control", "public, max-age=60, stale-while-revalidate=30"),
    ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ("vary", "accept-encoding"),
    ("content-length", "1100"),
    ("server", "example"),
];

fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn rules() -> CacheRules {
    CacheRules {
        default_ttl: Duration::from_secs(30),
        content_types: ContentTypes::Listed(vec!["application/json".into(), "+json".into()]),
        statuses: StorableStatuses::Listed(vec![StatusCode::OK]),
        fields: RequestFields::new(&[HeaderName::from_static("x-api-key")], &[], &[]),
        ..CacheRules::default()
    }
}

fn policy(criterion: &mut Criterion) {
    let rules = rules();
    let received = Timestamp::from_millis(784_111_777_100);
    let response = head(RESPONSE);
    let request = RequestFacts::read(&Method::GET, &head(BROWSER), &rules);
    let Ok(target) = Target::of_url("http://api.example.com/v1/items?page=2") else { return };
    let exchange = Exchange {
        request: &request,
        target: &target,
        status: StatusCode::OK,
        response: &response,
        requested: received,
        received,
    };
    let Ok(stored) = storable(&exchange, &rules) else { return };
    let now = received.plus(Duration::from_secs(5));

    let reload = [BROWSER, &[("cache-control", "max-age=0"), ("pragma", "no-cache")]].concat();
    for (name, fields) in [("curl", CURL), ("browser", BROWSER), ("reload", &reload)] {
        let headers = head(fields);
        criterion.bench_function(&format!("policy/read+reuse/{name}"), |bencher| {
            bencher.iter(|| {
                let request = RequestFacts::read(black_box(&Method::GET), black_box(&headers), &rules);
                reuse(black_box(&stored), &request, black_box(now))
            });
        });
    }
    criterion.bench_function("policy/reuse", |bencher| {
        bencher.iter(|| reuse(black_box(&stored), black_box(&request), black_box(now)));
    });
    criterion.bench_function("policy/storable", |bencher| {
        bencher.iter(|| storable(black_box(&exchange), &rules));
    });
    criterion.bench_function("policy/stored_fields", |bencher| {
        bencher.iter(|| stored_fields(black_box(&response), received, &rules));
    });
}

criterion_group!(benches, policy);
criterion_main!(benches);
