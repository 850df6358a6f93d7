//! Tests: the content of an explanation, its omissions, and its maximum size.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};
use serde_json::Value;

use crate::entry::{KeyGeneration, Variants};
use crate::hop::EXPLAIN;
use crate::key::{CacheKey, KeyRules, Scheme, Target};
use crate::limits::{
    AUTHORITY_BYTES_MAX, EXPLANATION_BYTES_MAX, KEY_PREFIX_BYTES_MAX, NODE_NAME_BYTES_MAX, TARGET_BYTES_MAX,
    VARY_FIELDS_MAX,
};
use crate::policy::{
    CacheRules, NotStorable, Obligations, RulesDigest, Ruling, StoredFacts, Vary, VaryFields,
};
use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::cache_status::{CacheStatus, ForwardReason};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::explain::notes::{BackgroundRefresh, ExplainNotes, ExplainedRole, RuleQuestion};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::options::{FetchLease, Options, ProbePaths};
use crate::proxy::request::Caller;
use crate::proxy::request::{CacheRequest, InboundRequest};
use crate::proxy::rules::RuleSet;
use crate::readiness::Readiness;
use crate::request_fields::RequestFields;
use crate::secret::Secret;
use crate::store::{Namespace, Tier};
use crate::telemetry::RouteCounts;
use crate::time::Timestamp;
use crate::tls::ClientCertificate;

fn options(token: Option<&str>) -> Options {
    Options {
        requests_max: 1,
        requests_per_address_max: None,
        body_bytes_max: 1,
        answer_bytes_max: 1,
        admission_budget: 1,
        collapse_timeout: Duration::ZERO,
        fetch_lease: FetchLease::Off,
        on_write_rate: 1,
        query_body_max: 0,
        tunnel_idle_timeout: Duration::ZERO,
        explain_token: token.map(Secret::new),
        purge_allow: Vec::new(),
        probes: ProbePaths::default(),
        readiness: Readiness::default(),
    }
}

fn rules() -> CacheRules {
    CacheRules {
        fields: RequestFields::new(&[HeaderName::from_static("accept-charset")], &[], &[]),
        ..CacheRules::default()
    }
}

fn head(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(field).collect()
}

fn notes() -> ExplainNotes {
    ExplainNotes::of(&options(Some("sesame")), &head(&[("cachewarp-explain", "sesame")]))
}

fn target(host: &str, path: &str) -> Target {
    Target::parse(Scheme::Http, &path.parse().unwrap(), [host.as_bytes()].into_iter()).unwrap()
}

fn location(target: &Target, vary: &[HeaderName], request: &HeaderMap) -> CacheLocation {
    let whole = CacheKey::of(target);
    match Vary::from(vary.to_vec()) {
        Vary::Fields(fields) => variant(whole, fields, request),
        Vary::None | Vary::Star | Vary::TooMany => CacheLocation::whole(whole, KeyGeneration::NONE),
    }
}

fn variant(whole: CacheKey, fields: VaryFields, request: &HeaderMap) -> CacheLocation {
    CacheLocation::variant(
        &KeyRules::default(),
        whole,
        KeyGeneration::NONE,
        Variants { nonce: 7, expires: Timestamp::EPOCH, fields },
        request,
    )
}

fn facts(duration: Duration, obligations: Obligations) -> StoredFacts {
    StoredFacts {
        received: Timestamp::from_millis(1_500),
        initial_age: duration,
        lifetime: duration,
        stale_while_revalidate: duration,
        stale_if_error: duration,
        obligations,
        rules: RulesDigest::NONE,
    }
}

/// Returns the field that an answer gets.
fn attached(notes: &ExplainNotes) -> Option<String> {
    let mut answer =
        ProxyAnswer::new(Outcome::Miss, StatusCode::OK, HeaderMap::new(), AnswerBody::Broken(None))
            .with_status(CacheStatus::Stored { forward: ForwardReason::UriMiss });
    notes.attach(&mut answer);
    let head = answer.response.headers();
    let status = head.get("cache-status").unwrap().to_str().unwrap();
    assert_eq!(
        status.contains("; key=\""),
        notes.0.as_ref().is_some_and(|notes| notes.borrow().location.is_some())
    );
    let is_private = head.get("cache-control").is_some_and(|line| line == "private=\"cachewarp-explain\"");
    assert_eq!(is_private, head.contains_key(EXPLAIN));
    head.get(EXPLAIN).map(|field| field.to_str().unwrap().to_owned())
}

#[test]
fn only_the_token_gets_an_explanation() {
    for (set, sent, explained) in [
        (Some("sesame"), Some("sesame"), true),
        (Some("sesame"), Some("Sesame"), false),
        (Some("sesame"), Some(""), false),
        (Some("sesame"), None, false),
        (None, Some("sesame"), false),
        (None, Some(""), false),
        (None, None, false),
    ] {
        let sent: Vec<_> = sent.map(|token| ("cachewarp-explain", token)).into_iter().collect();
        let notes = ExplainNotes::of(&options(set), &head(&sent));
        notes.note(|_| assert!(explained, "{set:?} {sent:?}"));
        assert_eq!(attached(&notes).is_some(), explained, "{set:?} {sent:?}");
    }
}

#[test]
fn every_note_is_written() {
    let notes = notes();
    let request = head(&[
        ("accept-encoding", "GZIP, br;q=0.5"),
        ("accept-charset", "hunter2"),
        ("authorization", "Bearer hunter2"),
        ("x-user", "hunter2"),
    ]);
    let target = target("Api.test:80", "/a\"b?c");
    let vary = ["accept-encoding", "accept-charset", "authorization", "x-none", "x-user"]
        .map(HeaderName::from_static);
    let location = location(&target, &vary, &request);
    let facts = facts(Duration::from_millis(2_500), Obligations::SHARED | Obligations::NO_CACHE);
    notes.note(|explanation| {
        explanation.route("cached");
        explanation.target(&target, CacheKey::of(&target), &Namespace::named("cachewarp:", "api"));
        explanation.location(&location, &request, &rules());
        explanation.found(Tier::Redis, &facts, Timestamp::from_millis(2_000));
        explanation.goes_forward(ExplainedRole::Leader, ForwardReason::Stale);
        explanation.refresh(BackgroundRefresh::UnderWay);
        explanation.failed(Failure::HeadTimeout);
        explanation.rule(RuleQuestion::Collapse, Ruling::no(NotStorable::Private));
        explanation.storable(&Ok(facts));
    });
    let digest = |value: &[u8]| blake3::hash(value).to_hex().chars().take(16).collect::<String>();
    let (key, variant, secret, bearer) =
        (CacheKey::of(&target), location.key, digest(b"hunter2"), digest(b"Bearer hunter2"));
    let dated = |age: &str, stale_for: &str, keep_for: &str| {
        format!(
            r#"{{"received":1.500,"initial_age":2.500,"age":{age},"lifetime":2.500,"ttl":0.000,"stale_for":{stale_for},"stale_while_revalidate":2.500,"stale_if_error":2.500,"keep_for":{keep_for},"obligations":["shared","no-cache"]}}"#
        )
    };
    let want = format!(
        r#"{{"route":"cached","outcome":"miss","key":{{"scheme":"http","authority":"api.test","target":"/a\"b?c","namespace":"cachewarp:api:","name":"{key:?}"}},"variant":{{"name":"{variant:?}","fields":{{"accept-charset":{{"digest":"{secret}"}},"accept-encoding":"br;q=0.500,gzip","authorization":{{"digest":"{bearer}"}},"x-none":null,"x-user":{{"digest":"{secret}"}}}}}},"found":"redis","stored":{stored},"fetched":{fetched},"forward":"stale","role":"leader","refresh":"under-way","failure":"origin-head-timeout","rules":[{{"rule":"collapse","says":"no","because":"private","clause":"RFC 9111 \u00a75.2.2.7"}},{{"rule":"store","says":"yes","because":"storable","clause":"RFC 9111 \u00a73"}}]}}"#,
        stored = dated("3.000", "0.500", "0.000"),
        fetched = dated("2.500", "0.000", "0.000"),
    );
    assert_eq!(attached(&notes).unwrap(), want);
}

#[test]
fn the_size_of_an_explanation_is_bounded() {
    let notes = notes();
    let long = "é".repeat(2000);
    let names: Vec<_> = (0..VARY_FIELDS_MAX - 4)
        .map(|number| HeaderName::from_bytes(format!("{number:x}-{}", "n".repeat(500)).as_bytes()).unwrap())
        .chain(
            ["accept", "accept-charset", "accept-encoding", "accept-language"].map(HeaderName::from_static),
        )
        .collect();
    let value = HeaderValue::from_bytes(long.as_bytes()).unwrap();
    let request: HeaderMap = names.iter().map(|name| (name.clone(), value.clone())).collect();
    let target = target(&"a".repeat(AUTHORITY_BYTES_MAX), &format!("/{}", "\"".repeat(TARGET_BYTES_MAX - 1)));
    let namespace = Namespace::named(&"\"".repeat(KEY_PREFIX_BYTES_MAX), &"a".repeat(NODE_NAME_BYTES_MAX));
    let location = location(&target, &names, &request);
    let facts = facts(Duration::MAX, Obligations::from_bits(u16::MAX));
    notes.note(|explanation| {
        explanation.route("refused");
        explanation.target(&target, CacheKey::of(&target), &namespace);
        explanation.location(&location, &request, &rules());
        explanation.found(Tier::Memory, &facts, Timestamp::from_millis(u64::MAX));
        explanation.goes_forward(ExplainedRole::Follower, ForwardReason::VaryMiss);
        explanation.refresh(BackgroundRefresh::UnderWay);
        explanation.failed(Failure::Overloaded);
        explanation.storable(&Ok(facts));
        for _ in 0..50 {
            explanation.rule(RuleQuestion::StaleOnError, Ruling::no(NotStorable::CredentialHeader));
        }
    });
    let field = attached(&notes).unwrap();
    assert!(
        field.len() > EXPLANATION_BYTES_MAX / 2 && field.len() <= EXPLANATION_BYTES_MAX,
        "{}",
        field.len()
    );
    assert!(serde_json::from_str::<Value>(&field).is_ok());
}

#[test]
fn a_rule_stays_within_its_size_limit() {
    use crate::label::{Label, RuleLabel};
    use crate::limits::EXPLAINED_RULE_BYTES_MAX;
    for ruling in NotStorable::ALL.iter().map(|reason| Ruling::no(*reason)) {
        let notes = notes();
        notes.note(|explanation| explanation.rule(RuleQuestion::Collapse, ruling));
        let field = attached(&notes).unwrap();
        let (_, rules) = field.split_once("\"rules\":[").unwrap();
        assert!(rules.len() < EXPLAINED_RULE_BYTES_MAX, "{rules}");
        assert!(rules.contains(ruling.because));
    }
    assert!(NotStorable::ALL.iter().all(|reason| !reason.clause().is_empty()));
}

#[test]
fn background_refreshes_are_not_noted() {
    let caller = Caller {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scheme: Scheme::Http,
        certificate: ClientCertificate::None,
        version: Version::HTTP_11,
    };
    let rule_set =
        Rc::new(RuleSet::new(rules(), &options(None), None, 0, &mut RouteCounts::default().worker()));
    let inbound = InboundRequest::new(
        Method::GET,
        target("a", "/"),
        head(&[("cachewarp-explain", "sesame")]),
        caller,
        notes(),
        (Rc::clone(rule_set.settings()), rule_set),
    );
    let request = CacheRequest::new(inbound);
    let now = Timestamp::from_millis(2_000);
    let facts = facts(Duration::from_secs(9), Obligations::default());
    request.for_refresh(None).reuse(&facts, now);
    request.reuse(&facts, now);
    let explanation: Value = serde_json::from_str(&attached(&request.inbound.notes).unwrap()).unwrap();
    assert_eq!(explanation["rules"].as_array().map(Vec::len), Some(1));
}
