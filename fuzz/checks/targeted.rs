//! Targeted cache control: a valid targeted field replaces `Cache-Control`.

use std::time::Duration;

use cachewarp::policy::{
    DirectiveScope, DirectiveSeconds, DirectiveSource, Directives, storable, strip_addressed,
};
use cachewarp::time::Timestamp;
use http::{HeaderMap, Method};

use super::heads::{NOON_MILLIS, exchange, facts, head, lines, rules, target};

const OURS: &str = "cachewarp-cache-control";
const CDN: &str = "cdn-cache-control";
const ALL: &str = "cache-control";

/// The lines of a targeted field.
///
/// Checks that a readable field replaces all others, and that an unreadable one counts as absent;
/// that a simple reading finds the same plain members; that CacheWarp's own field can be removed;
/// and that no text causes a panic.
pub(crate) fn targeted(data: &[u8]) {
    let with = |name: &'static str, others: &[(&'static str, &[u8])]| -> HeaderMap {
        head(others.iter().copied().chain(lines(data).map(|line| (name, line))))
    };
    let nothing = Directives { source: DirectiveSource::Targeted, ..Directives::default() };
    let alone = Directives::of(&with(CDN, &[]));
    let strict = Directives::of(&with(CDN, &[(ALL, b"no-store, private, max-age=1")]));
    let loose = Directives::of(&with(CDN, &[(ALL, b"public, max-age=99")]));
    match alone.source {
        // A field without a known directive may be a mistake: prohibitions beside it hold.
        DirectiveSource::Targeted if alone == nothing => {
            let prohibited = Directives { no_store: true, private: DirectiveScope::Whole, ..nothing };
            assert_eq!((strict, loose), (prohibited, nothing));
        }
        DirectiveSource::Targeted => {
            assert_eq!((strict, loose), (alone, alone), "Cache-Control has an effect")
        }
        DirectiveSource::CacheControl => {
            assert_eq!(alone, Directives::default());
            assert_eq!(strict, Directives::parse([&b"no-store, private, max-age=1"[..]]));
            assert_eq!(loose, Directives::parse([&b"public, max-age=99"[..]]));
        }
    }
    let ours = Directives::of(&with(OURS, &[(CDN, b"max-age=7")]));
    match alone.source {
        DirectiveSource::Targeted => {
            assert_eq!(ours, alone, "CacheWarp's own field comes first, with the same meaning")
        }
        DirectiveSource::CacheControl => assert_eq!(ours, Directives::of(&head([(CDN, &b"max-age=7"[..])]))),
    }
    if alone.source == DirectiveSource::Targeted {
        hold_plain_members(&with(CDN, &[]), &alone);
    }

    let mut response = with(OURS, &[]);
    let request = facts(&Method::GET, &HeaderMap::new());
    let now = Timestamp::from_millis(NOON_MILLIS);
    if let Ok(stored) =
        storable(&exchange(&request, &target("/a"), &response, now, now), &rules(Duration::ZERO))
    {
        assert!(
            (!alone.no_store || alone.must_understand) && alone.private != DirectiveScope::Whole,
            "{alone:?}: {stored:?}"
        );
    }
    strip_addressed(&mut response);
    assert!(response.is_empty());
}

/// Compares the plain members of a text without quotes, brackets and colons, in which commas only
/// separate members.
fn hold_plain_members(response: &HeaderMap, read: &Directives) {
    let lines: Option<Vec<&str>> = response.get_all(CDN).iter().map(|line| line.to_str().ok()).collect();
    let Some(text) = lines.map(|lines| lines.join(",")) else { return };
    if text.contains(['"', '(', ')', ':']) {
        return;
    }
    let last = |name: &str| {
        let members = text.split(',').map(|member| member.trim_matches([' ', '\t']));
        let value = |member: &str| {
            let mut parts = member.split(';').next()?.trim_end_matches(' ').splitn(2, '=');
            (parts.next() == Some(name)).then(|| parts.next().map(str::to_owned))
        };
        members.rev().find_map(value)
    };
    let on = |name: &str| last(name).is_some_and(|value| value.as_deref() != Some("?0"));
    assert_eq!(read.no_store, on("no-store"), "no-store in {text:?}");
    assert_eq!(read.must_revalidate, on("must-revalidate"), "must-revalidate in {text:?}");
    assert_eq!(read.private == DirectiveScope::Nothing, !on("private"), "private in {text:?}");
    assert_eq!(read.no_cache == DirectiveScope::Nothing, !on("no-cache"), "no-cache in {text:?}");
    let granted = last("public").is_some_and(|value| matches!(value.as_deref(), None | Some("?1")));
    assert_eq!(read.public, granted, "public in {text:?}");
    match last("max-age") {
        None => assert_eq!(read.max_age, DirectiveSeconds::Absent, "max-age in {text:?}"),
        Some(value) => {
            let seconds = value.and_then(|value| value.parse::<u64>().ok());
            assert_eq!(
                matches!(read.max_age, DirectiveSeconds::Seconds(_)),
                seconds.is_some(),
                "max-age in {text:?}"
            );
        }
    }
}
