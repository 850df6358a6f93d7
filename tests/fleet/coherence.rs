//! One key in several memories: every node sees every change in Redis, and a purged response never
//! returns.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use cachewarp::store::{PurgeScope, PurgeStrength, PutRefusal, Tier};

use crate::harness::{Answer, Origin, Redis, Value};
use crate::node::{NEVER_PURGED, Node, key, on_one_thread, tag, until};
use crate::process::Process;

fn url(path: &str) -> PurgeScope {
    PurgeScope::Url(key(path))
}

/// Starts two nodes that both have `/a` in memory.
async fn warm(redis: &Redis) -> [Node; 2] {
    let nodes = [Node::start(redis).await, Node::start(redis).await];
    nodes[0].store("/a", "old", &[]).await;
    for node in &nodes {
        until("memory to hold the entry", async || node.tier("/a").await == Some(Tier::Memory)).await;
    }
    nodes
}

#[test]
fn a_purge_removes_a_response_from_every_node() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = warm(&redis).await;
        one.purge_all(&[url("/a"), url("/b")], PurgeStrength::Hard, 2).await;
        assert_eq!((one.read("/a").await, other.read("/a").await), (None, None));
        one.purge_all(&[url("/a")], PurgeStrength::Hard, 2).await;
        other.store("/a", "new", &[]).await;
        assert_eq!(one.read("/a").await.as_deref(), Some("new"));
    });
}

#[test]
fn a_hit_in_memory_sends_no_command() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, _] = warm(&redis).await;
        let gets = redis.calls("get");
        for _ in 0..100 {
            assert_eq!(one.read("/a").await.as_deref(), Some("old"));
        }
        assert_eq!(redis.calls("get"), gets);
    });
}

#[test]
fn a_late_reply_does_not_remove_a_newer_entry_from_memory() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = Node::start_workers(&redis).await;
        // The purge log is known now, so a lookup sends one command.
        assert_eq!(other.read("/b").await, None);
        for trace in ["nothing", "a tombstone"] {
            let gets = redis.calls("get");
            let mut late = pin!(other.look("/a"));
            assert!(poll_fn(|cx| Poll::Ready(late.as_mut().poll(cx).is_pending())).await);
            until("the command to reach Redis", async || redis.calls("get") > gets).await;
            one.store("/a", "new", &[]).await;
            assert!(one.at_hand("/a").is_some());
            assert!(late.await.found.is_none(), "Redis was read before the write");
            assert!(one.at_hand("/a").is_some(), "after {trace} in Redis");
            one.purge_all(&[url("/a")], PurgeStrength::Hard, 1).await;
        }
    });
}

#[test]
fn a_fetch_that_creates_the_purge_log_can_be_joined() {
    on_one_thread(async {
        let redis = Redis::start();
        let node = Node::start(&redis).await;
        let begun = node.permit("/a").await.fetch_start();
        let gets = redis.calls("get");
        let value = redis.command(&["GET", "t:clock"]);
        redis.command(&["SET", "t:clock", &value.text()]);
        until("the purge log to be read again", async || redis.calls("get") > gets + 1).await;
        until("the unchanged purge log to be known", async || begun.is_current()).await;
        node.purge_all(&[PurgeScope::Tag(tag("other"))], PurgeStrength::Hard, 1).await;
        node.read("/a").await;
        assert!(!begun.is_current());
    });
}

#[test]
fn every_node_sees_any_change_of_the_key() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = warm(&redis).await;
        let name = redis.keys().remove(0);
        let seen = async |what: &str| {
            until(what, async || one.read("/a").await.is_none() && other.read("/a").await.is_none()).await
        };
        assert_eq!(redis.command(&["DEL", &name]), Value::Integer(1));
        seen("a deletion by hand").await;
        other.store("/a", "new", &[]).await;
        until("another's write", async || one.read("/a").await.as_deref() == Some("new")).await;
        redis.command(&["FLUSHALL"]);
        seen("an emptied server").await;
        one.store("/a", "newer", &[]).await;
        redis.command(&["SET", &name, "x"]);
        seen("an overwrite by hand").await;
    });
}

#[test]
fn an_entry_read_over_a_lost_connection_is_read_again() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = warm(&redis).await;
        redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        redis.command(&["FLUSHALL"]);
        for node in [&one, &other] {
            until("the loss to be noticed", async || {
                node.metric(r#"cachewarp_redis_reconnects_total"#) > 0.0
            })
            .await;
            assert_eq!(node.read("/a").await, None);
        }
    });
}

#[test]
fn no_fetch_that_began_before_a_purge_stores_after_it() {
    on_one_thread(async {
        let redis = Redis::start();
        for strength in [PurgeStrength::Hard, PurgeStrength::Soft] {
            let [one, other] = warm(&redis).await;
            let before = [one.permit("/a").await, one.permit("/a").await, other.permit("/a").await];
            one.purge_all(&[url("/a")], strength, 2).await;
            assert!(before.iter().all(cachewarp::store::StorePermit::is_superseded));
            assert_eq!(one.put("/a", "old", &[], &before[0]).await, Err(PutRefusal::Superseded));
            // The permit of a node that missed the purge and knows an older state of the key.
            let late = other.store.permit(&key("/a"), NEVER_PURGED);
            assert_eq!(other.put("/a", "old", &[], &late).await, Err(PutRefusal::Superseded));
            other.store("/a", "new", &[]).await;
            let late = other.store.permit(&key("/a"), NEVER_PURGED);
            assert_eq!(
                other.put("/a", "old", &[], &late).await,
                Err(PutRefusal::Superseded),
                "over a newer response"
            );
            assert_eq!(one.read("/a").await.as_deref(), Some("new"));
            redis.command(&["FLUSHALL"]);
        }
    });
}

#[test]
fn a_soft_purge_leaves_a_response_to_revalidate() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = warm(&redis).await;
        one.purge_all(&[url("/a")], PurgeStrength::Soft, 2).await;
        for node in [&one, &other] {
            assert_eq!(node.read("/a").await, None, "no longer fresh");
            assert!(node.look("/a").await.found.is_some(), "but still stored");
        }
        other.store("/a", "new", &[]).await;
        // A write is no purge, so it does not wait until the other node has seen it.
        until("the invalidation to arrive", async || one.read("/a").await.as_deref() == Some("new")).await;
    });
}

#[test]
fn a_node_without_redis_purges_its_memory() {
    on_one_thread(async {
        let node = Node::alone();
        for strength in [PurgeStrength::Hard, PurgeStrength::Soft] {
            node.store("/a", "old", &[]).await;
            let before = node.permit("/a").await;
            node.purge_all(&[url("/a")], strength, 1).await;
            assert_eq!(node.read("/a").await, None);
            assert_eq!(node.put("/a", "old", &[], &before).await, Err(PutRefusal::Superseded));
            node.store("/a", "new", &[]).await;
            assert_eq!(node.read("/a").await.as_deref(), Some("new"));
        }
    });
}

#[test]
fn a_purge_without_redis_is_not_confirmed() {
    on_one_thread(async {
        let mut redis = Redis::start();
        let [one, _] = warm(&redis).await;
        redis.kill();
        until("the loss to be noticed", async || one.purge(&[url("/a")], PurgeStrength::Hard).await.is_err())
            .await;
        assert_eq!(one.read("/a").await, None);
    });
}

/// Tests that a `Cache-Group-Invalidation` (RFC 9875 §3) on one node reaches another.
#[test]
fn a_group_invalidation_reaches_every_node() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let fields = [("Cache-Control", "max-age=600"), ("Cache-Groups", r#""g""#)];
    origin.answer("/a", Answer::json_with(&fields, "1"));
    origin.answer("/change", Answer::new(200, &[("Cache-Group-Invalidation", r#""g""#)], ""));
    let nodes = Process::fleet(2, &origin, &redis, &[]);
    let is_stored = |node: &Process| {
        node.connect().request("GET", "/a", &[("Cache-Control", "only-if-cached")]).status == 200
    };
    for node in &nodes {
        node.connect().get("/a");
        crate::harness::until("the response to be stored", || is_stored(node));
    }
    let changed = nodes[0].connect().request("POST", "/change", &[("Content-Length", "0")]);
    assert_eq!(changed.status, 200);
    assert!(!is_stored(&nodes[0]), "the node that made the change sees it");
    crate::harness::until("the other node to see the change", || !is_stored(&nodes[1]));
}

#[test]
fn workers_of_one_process_share_one_memory() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = Node::start_workers(&redis).await;
        let elsewhere = Node::start(&redis).await;
        one.store("/a", "old", &[tag("x")]).await;
        until("memory to hold the entry", async || one.tier("/a").await == Some(Tier::Memory)).await;
        let gets = redis.calls("get");
        assert_eq!(other.read("/a").await.as_deref(), Some("old"));
        assert_eq!(redis.calls("get"), gets, "read by one, trusted by the other");
        // The worker that read the entry receives the invalidation for both workers.
        for scope in [url("/a"), PurgeScope::Tag(tag("x")), PurgeScope::All] {
            elsewhere.purge_all(&[scope], PurgeStrength::Hard, 2).await;
            assert_eq!((one.read("/a").await, other.read("/a").await), (None, None));
            other.store("/a", "new", &[tag("x")]).await;
            until("memory to hold the entry", async || one.tier("/a").await == Some(Tier::Memory)).await;
        }
        // Each worker stores and purges for both.
        let before = other.permit("/a").await;
        one.purge_all(&[url("/a")], PurgeStrength::Hard, 2).await;
        assert!(before.is_superseded());
        assert_eq!(other.read("/a").await, None);
    });
}

#[test]
fn an_entry_read_by_a_closed_worker_is_read_again() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = Node::start_workers(&redis).await;
        one.store("/a", "old", &[]).await;
        until("memory to hold the entry", async || other.tier("/a").await == Some(Tier::Memory)).await;
        one.store.close().await;
        let name = redis.keys().remove(0);
        redis.command(&["DEL", &name]);
        assert_eq!(other.read("/a").await, None, "no invalidation would have arrived");
    });
}

/// Tests that a node's metrics report for how long it served a changed resource.
#[test]
fn metrics_report_staleness() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let version = |text| Answer::json_with(&[("Cache-Control", "max-age=600")], text);
    origin.answer("/a", version("0"));
    let nodes = Process::fleet(2, &origin, &redis, &[]);
    let metric = |what: &str, change: &str| {
        nodes[1].metric(&format!("cachewarp_staleness_seconds_{what}{{change=\"{change}\"}}"))
    };
    assert!(metric("count", "purge") >= 1.0, "each confirmation is counted");
    let in_memory = |node: &Process| {
        let response = node.connect().get("/a");
        response.cache_status().ends_with("detail=memory") && response.text() == "0"
    };
    for node in &nodes {
        crate::harness::until("memory to hold the entry", || in_memory(node));
    }
    origin.answer("/a", version("1"));
    nodes[0].connect().request("GET", "/a", &[("Cache-Control", "no-cache")]);
    crate::harness::until("the other node to have the new response", || {
        nodes[1].connect().get("/a").text() == "1"
    });
    assert_eq!(metric("count", "write"), 1.0);
    let sum = metric("sum", "write") + metric("sum", "purge");
    assert!(sum < crate::harness::PATIENCE.as_secs_f64(), "{sum}");
}
