//! Purges by a tag, a group, a prefix, and of everything; and the effect of lost tag generations.

use std::collections::HashSet;

use cachewarp::key::{Authority, NameKey, Scheme};
use cachewarp::limits::{PREFIXES_MAX, TAG_CHANGE_COUNTERS, TAG_GENERATIONS_MAX, TAGS_MAX};
use cachewarp::store::{CacheGroup, CacheTag, PurgeScope, PurgeStrength, Tier, UrlPrefix};
use cachewarp::time::instant;

use crate::harness::Redis;
use crate::node::{NEVER_PURGED, Node, key, on_one_thread, tag, until};

fn tagged(name: &str) -> PurgeScope {
    PurgeScope::Tag(tag(name))
}

fn prefix(path: &str) -> PurgeScope {
    PurgeScope::Prefix(UrlPrefix::parse(&format!("http://api.test{path}")).unwrap())
}

/// Returns the paths that are still fresh on both nodes after a purge by the first.
async fn left(nodes: &[Node], scope: PurgeScope, strength: PurgeStrength) -> Vec<&'static str> {
    let paths = ["/a/1", "/a/2", "/b"];
    let confirmed = u32::try_from(nodes.len()).unwrap();
    for (path, tags) in paths.into_iter().zip([&["x", "y"][..], &["x"], &[]]) {
        let tags: Vec<_> = tags.iter().map(|name| tag(name)).collect();
        nodes[0].store(path, "old", &tags).await;
        for node in nodes {
            // A write does not wait until other nodes have seen it.
            until("all nodes to have the response", async || node.read(path).await.as_deref() == Some("old"))
                .await;
        }
    }
    nodes[0].purge_all(&[scope], strength, confirmed).await;
    let mut left = Vec::new();
    for path in paths {
        let found = nodes[0].read(path).await;
        for node in nodes {
            assert_eq!(node.read(path).await, found, "{path}");
        }
        left.extend(found.map(|_| path));
    }
    left
}

async fn rows(nodes: &[Node]) {
    for strength in [PurgeStrength::Hard, PurgeStrength::Soft] {
        for (scope, expected) in [
            (tagged("x"), &["/b"][..]),
            (tagged("y"), &["/a/2", "/b"]),
            (tagged("z"), &["/a/1", "/a/2", "/b"]),
            (prefix("/a"), &["/b"]),
            (prefix("/a/2"), &["/a/1", "/b"]),
            (PurgeScope::All, &[]),
        ] {
            assert_eq!(left(nodes, scope.clone(), strength).await, expected, "{scope:?} {strength:?}");
        }
    }
}

#[test]
fn each_scope_purges_its_responses_on_all_nodes() {
    on_one_thread(async {
        let redis = Redis::start();
        rows(&[Node::start(&redis).await, Node::start(&redis).await]).await;
    });
}

#[test]
fn each_scope_purges_its_responses_without_redis() {
    on_one_thread(async { rows(&[Node::alone()]).await });
}

#[test]
fn a_group_belongs_to_its_origin() {
    on_one_thread(async {
        let redis = Redis::start();
        let node = Node::start(&redis).await;
        let group = |host: &str| {
            PurgeScope::Group(
                CacheGroup::new(Scheme::Http, Authority::parse(Scheme::Http, host.as_bytes()).unwrap(), "g")
                    .unwrap(),
            )
        };
        assert_eq!(left(std::slice::from_ref(&node), group("api.test"), PurgeStrength::Hard).await.len(), 3);
    });
}

#[test]
fn after_a_purge_one_hit_reads_redis_and_later_hits_do_not() {
    on_one_thread(async {
        let redis = Redis::start();
        let node = Node::start(&redis).await;
        node.store("/a", "a", &[tag("x")]).await;
        node.purge_all(&[tagged("other")], PurgeStrength::Hard, 1).await;
        assert_eq!(node.read("/a").await.as_deref(), Some("a"));
        assert_eq!(node.tier("/a").await, Some(Tier::Memory));
        let gets = redis.calls("get");
        for _ in 0..100 {
            assert_eq!(node.read("/a").await.as_deref(), Some("a"));
        }
        assert_eq!(redis.calls("get"), gets);
    });
}

/// A node stores entries with more tags than it has counters and generations in its tables. The
/// purge of another tag causes no command for any of them.
#[test]
fn the_purge_of_one_tag_reads_nothing_for_entries_without_it() {
    const ENTRIES: usize = 70_000 / TAGS_MAX + 1;
    const { assert!(ENTRIES * TAGS_MAX > TAG_GENERATIONS_MAX && ENTRIES * TAGS_MAX > TAG_CHANGE_COUNTERS) };
    on_one_thread(async {
        let redis = Redis::start();
        let node = Node::start_with_memory(&redis, 64 << 20).await;
        let path = |number: usize| format!("/{number}");
        let name_key = NameKey::default();
        let counter = |name: &str| tag(name).digest(&name_key).0 % TAG_CHANGE_COUNTERS as u128;
        // No lookup comes before: Redis would push to its connection that the key has changed.
        let store = async |path: &str, tags: &[CacheTag]| {
            let permit = node.store.permit(&key(path), NEVER_PURGED);
            node.put(path, "old", tags, &permit).await.unwrap();
        };
        let mut counters = HashSet::new();
        for number in 0..ENTRIES {
            let names: Vec<_> = (0..TAGS_MAX).map(|of| format!("{number}-{of}")).collect();
            counters.extend(names.iter().map(|name| counter(name)));
            let tags: Vec<_> = names.iter().map(|name| tag(name)).collect();
            store(&path(number), &tags).await;
        }
        store("/untagged", &[]).await;
        // Tags that share a counter with another one cause a check too many.
        let unrelated = |prefix: &str| {
            let names = (0..1_000).map(|number| format!("{prefix}{number}"));
            names.into_iter().find(|name| !counters.contains(&counter(name))).unwrap()
        };
        for name in ["x", "y"].map(unrelated) {
            node.purge_all(&[tagged(&name)], PurgeStrength::Hard, 1).await;
            // This lookup sends nothing; the node reads the purge log by itself.
            for path in (0..ENTRIES).map(path).chain(["/untagged".to_owned()]) {
                until("memory to serve without Redis", async || node.at_hand(&path).is_some()).await;
            }
        }
        node.purge_all(&[tagged("7-3")], PurgeStrength::Hard, 1).await;
        assert_eq!(node.read("/7").await, None);
        assert_eq!(node.read("/8").await.as_deref(), Some("old"));
    });
}

#[test]
fn after_a_purge_memory_serves_again_without_a_request() {
    on_one_thread(async {
        let redis = Redis::start();
        let (one, other) = (Node::start(&redis).await, Node::start(&redis).await);
        one.store("/a", "a", &[tag("x")]).await;
        // The generation of the tag is known from here on.
        other.purge_all(&[tagged("other")], PurgeStrength::Hard, 2).await;
        assert_eq!(one.read("/a").await.as_deref(), Some("a"));
        for _ in 0..20 {
            other.purge_all(&[tagged("other")], PurgeStrength::Hard, 2).await;
            until("the purge log to be read", async || one.at_hand("/a").is_some()).await;
        }
        other.purge_all(&[tagged("x")], PurgeStrength::Hard, 2).await;
        for _ in 0..100 {
            assert!(one.at_hand("/a").is_none());
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_lost_tag_generation_or_purge_log_causes_a_miss() {
    on_one_thread(async {
        let redis = Redis::start();
        let (one, other) = (Node::start(&redis).await, Node::start(&redis).await);
        for lost in ["tag:", "clock"] {
            for node in [&one, &other] {
                node.store("/a", "old", &[tag("x")]).await;
            }
            // A tag's generation is read only for entries older than the last purge of any scope.
            one.purge_all(&[tagged("other")], PurgeStrength::Hard, 2).await;
            assert_eq!(other.read("/a").await.as_deref(), Some("old"));
            let names = redis.command(&["KEYS", &format!("t:{lost}*")]);
            let crate::harness::Value::Array(names) = names else { panic!("{names:?}") };
            for name in names {
                redis.command(&["DEL", &name.text()]);
            }
            for node in [&one, &other] {
                until("a miss", async || node.read("/a").await.is_none()).await;
            }
        }
    });
}

#[test]
fn a_response_fetched_before_a_purge_is_not_served_after_it() {
    on_one_thread(async {
        let redis = Redis::start();
        let (one, other) = (Node::start(&redis).await, Node::start(&redis).await);
        for scope in [tagged("x"), prefix("/a"), PurgeScope::All] {
            let permit = other.permit("/a").await;
            one.purge_all(std::slice::from_ref(&scope), PurgeStrength::Hard, 2).await;
            // The entry may be stored: it records the generation of its fetch.
            let _ = other.put("/a", "old", &[tag("x")], &permit).await;
            assert_eq!((one.read("/a").await, other.read("/a").await), (None, None), "{scope:?}");
            assert!(!permit.fetch_start().is_current(), "no request may join it");
        }
    });
}

#[test]
fn a_full_list_of_prefixes_gets_coarser_ones() {
    on_one_thread(async {
        let redis = Redis::start();
        let node = Node::start(&redis).await;
        for path in ["/11/a", "/22/a", "/more", "/x"] {
            node.store(path, "old", &[]).await;
        }
        for number in 0..PREFIXES_MAX {
            node.purge_all(&[prefix(&format!("/{number:02}"))], PurgeStrength::Soft, 1).await;
        }
        let purged = node.purge(&[prefix("/more")], PurgeStrength::Hard).await.unwrap();
        let [PurgeScope::Prefix(coarser)] = &purged.coarser[..] else { panic!("{purged:?}") };
        assert_eq!(coarser.to_string().len(), "http://api.test/1".len(), "two neighbours share a digit");
        for path in ["/11/a", "/22/a", "/more"] {
            assert_eq!(node.read(path).await, None, "{path}");
        }
        assert_eq!(node.read("/x").await.as_deref(), Some("old"));
        // A purge that contains others replaces them, so that there is room again.
        node.purge_all(&[prefix("/")], PurgeStrength::Hard, 1).await;
        assert_eq!(node.read("/x").await, None);
        node.purge_all(&[prefix("/room")], PurgeStrength::Hard, 1).await;
    });
}

#[test]
fn every_key_has_an_expiry() {
    on_one_thread(async {
        let redis = Redis::start();
        let node = Node::start(&redis).await;
        let tags: Vec<_> = (0..TAGS_MAX).map(|number| tag(&number.to_string())).collect();
        node.store("/a", "a", &tags).await;
        node.purge_all(&[tagged("1"), tagged("other"), prefix("/x")], PurgeStrength::Hard, 1).await;
        node.purge_all(&[PurgeScope::Url(key("/b"))], PurgeStrength::Hard, 1).await;
        let script = "local lasting = 0 \
            for _, name in ipairs(redis.call('KEYS', '*')) do \
                if redis.call('PTTL', name) < 0 then lasting = lasting + 1 end \
            end \
            return lasting";
        assert_eq!(redis.command(&["EVAL", script, "0"]).number(), 0);
        assert!(redis.command(&["DBSIZE"]).number() > i64::try_from(TAGS_MAX).unwrap());
    });
}

/// Stores until Redis has evicted `evicted` keys.
async fn crowd(redis: &Redis, node: &Node, evicted: i64) {
    let statistic = |section: &str, name: &str| {
        let text = redis.command(&["INFO", section]).text();
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
        line.unwrap().parse::<i64>().unwrap()
    };
    let room = statistic("memory", "used_memory") + (1 << 20);
    redis.command(&["CONFIG", "SET", "maxmemory", &room.to_string()]);
    let before = statistic("stats", "evicted_keys");
    // Redis has the entries compressed, so that the body has no repetitions.
    let mut rng = fastrand::Rng::with_seed(1);
    let body: String = (0..16 << 10).map(|_| rng.alphanumeric()).collect();
    let mut number = 0;
    while statistic("stats", "evicted_keys") - before < evicted {
        node.store(&format!("/crowd/{number}"), &body, &[tag(&format!("crowd-{number}"))]).await;
        number += 1;
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
}

#[test]
fn eviction_never_brings_back_a_purged_response() {
    on_one_thread(async {
        for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl"] {
            let redis = Redis::start_with(&["--maxmemory-policy", policy]);
            let nodes = [Node::start(&redis).await, Node::start(&redis).await];
            for scope in [tagged("x"), prefix("/a"), PurgeScope::All] {
                // A fetch that began before the purge and ends after it, when the records of the
                // purge may be evicted.
                let late = nodes[1].permit("/a").await;
                nodes[0].store("/a", "old", &[tag("x")]).await;
                nodes[0].purge_all(std::slice::from_ref(&scope), PurgeStrength::Hard, 2).await;
                let _ = nodes[1].put("/a", "old", &[tag("x")], &late).await;
                for _ in 0..3 {
                    crowd(&redis, &nodes[0], 50).await;
                    for node in &nodes {
                        assert_eq!(node.read("/a").await, None, "{policy} {scope:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn an_lru_redis_keeps_the_purge_log() {
    on_one_thread(async {
        let redis = Redis::start_with(&["--maxmemory-policy", "allkeys-lru"]);
        let node = Node::start(&redis).await;
        node.store("/a", "a", &[]).await;
        let clock = || redis.command(&["GET", "t:clock"]).text();
        let idle = || redis.command(&["OBJECT", "IDLETIME", "t:clock"]).number();
        let epoch = clock();
        until("the purge log to be idle for a while", async || idle() >= 3).await;
        let begun = instant();
        node.store("/b", "b", &[]).await;
        // Both sides have whole seconds.
        let (idle, took) = (u64::try_from(idle()).unwrap(), instant().duration_since(begun).as_secs());
        assert!(idle <= took + 1, "storing reads the purge log: idle for {idle} s");
        assert_eq!(clock(), epoch);
    });
}
