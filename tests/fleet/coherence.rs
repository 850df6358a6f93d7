//! One key, several memories: whatever changes in Redis is seen by all, and what a purge has ended does not come back.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use cachewarp::store::{Overtaken, Scope, Strength, Tier};

use crate::harness::{Answer, Origin, Redis, Value};
use crate::node::{NEVER_PURGED, Node, key, on_one_thread, tag, until};
use crate::process::Process;

fn url(path: &str) -> Scope {
    Scope::Url(key(path))
}

/// Two nodes that both have `/a` in memory.
async fn warm(redis: &Redis) -> [Node; 2] {
    let nodes = [Node::start(redis).await, Node::start(redis).await];
    nodes[0].store("/a", "old", &[]).await;
    for node in &nodes {
        until("memory to have it", async || node.tier("/a").await == Some(Tier::Memory)).await;
    }
    nodes
}

#[test]
fn after_a_purge_no_node_has_it() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = warm(&redis).await;
        one.purge_all(&[url("/a"), url("/b")], Strength::Hard, 2).await;
        assert_eq!((one.read("/a").await, other.read("/a").await), (None, None));
        one.purge_all(&[url("/a")], Strength::Hard, 2).await;
        other.store("/a", "new", &[]).await;
        assert_eq!(one.read("/a").await.as_deref(), Some("new"));
    });
}

#[test]
fn a_hit_in_memory_asks_nobody() {
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
fn an_answer_that_comes_late_takes_nothing_out_of_memory_that_came_meanwhile() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = Node::start_workers(&redis).await;
        // Now the purge clock is known, and a look is one question.
        assert_eq!(other.read("/b").await, None);
        for trace in ["nothing", "what a purge has left"] {
            let gets = redis.calls("get");
            let mut late = pin!(other.look("/a"));
            assert!(poll_fn(|cx| Poll::Ready(late.as_mut().poll(cx).is_pending())).await);
            until("Redis to be asked", async || redis.calls("get") > gets).await;
            one.store("/a", "new", &[]).await;
            assert!(one.at_hand("/a").is_some());
            assert!(late.await.found.is_none(), "it was asked before");
            assert!(one.at_hand("/a").is_some(), "where there was {trace}");
            one.purge_all(&[url("/a")], Strength::Hard, 1).await;
        }
    });
}

#[test]
fn whoever_begins_a_fetch_when_the_clock_begins_is_joined() {
    on_one_thread(async {
        let redis = Redis::start();
        let node = Node::start(&redis).await;
        let begun = node.claim("/a").await.beginning();
        let gets = redis.calls("get");
        let value = redis.command(&["GET", "t:clock"]);
        redis.command(&["SET", "t:clock", &value.text()]);
        until("the clock to be read again", async || redis.calls("get") > gets + 1).await;
        until("it to be known that it stands where it stood", async || begun.is_current()).await;
        node.purge_all(&[Scope::Tag(tag("other"))], Strength::Hard, 1).await;
        node.read("/a").await;
        assert!(!begun.is_current());
    });
}

#[test]
fn whatever_anybody_does_to_the_key_is_seen() {
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
fn what_was_read_over_a_lost_connection_is_asked_about() {
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
        for strength in [Strength::Hard, Strength::Soft] {
            let [one, other] = warm(&redis).await;
            let before = [one.claim("/a").await, one.claim("/a").await, other.claim("/a").await];
            one.purge_all(&[url("/a")], strength, 2).await;
            assert!(before.iter().all(cachewarp::store::Claim::is_overtaken));
            assert_eq!(one.put("/a", "old", &[], &before[0]).await, Err(Overtaken));
            // A node that heard nothing of it, and that saw it as it was before.
            let deaf = other.store.claim(&key("/a"), NEVER_PURGED);
            assert_eq!(other.put("/a", "old", &[], &deaf).await, Err(Overtaken));
            other.store("/a", "new", &[]).await;
            let deaf = other.store.claim(&key("/a"), NEVER_PURGED);
            assert_eq!(other.put("/a", "old", &[], &deaf).await, Err(Overtaken), "over what is newer");
            assert_eq!(one.read("/a").await.as_deref(), Some("new"));
            redis.command(&["FLUSHALL"]);
        }
    });
}

#[test]
fn a_soft_purge_leaves_something_to_ask_about() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = warm(&redis).await;
        one.purge_all(&[url("/a")], Strength::Soft, 2).await;
        for node in [&one, &other] {
            assert_eq!(node.read("/a").await, None, "fresh no more");
            assert!(node.look("/a").await.found.is_some(), "and still there");
        }
        other.store("/a", "new", &[]).await;
        // It is no purge, so nobody waits until the other has heard of it.
        until("the news to have come", async || one.read("/a").await.as_deref() == Some("new")).await;
    });
}

#[test]
fn a_node_without_redis_purges_its_memory() {
    on_one_thread(async {
        let node = Node::alone();
        for strength in [Strength::Hard, Strength::Soft] {
            node.store("/a", "old", &[]).await;
            let before = node.claim("/a").await;
            node.purge_all(&[url("/a")], strength, 1).await;
            assert_eq!(node.read("/a").await, None);
            assert_eq!(node.put("/a", "old", &[], &before).await, Err(Overtaken));
            node.store("/a", "new", &[]).await;
            assert_eq!(node.read("/a").await.as_deref(), Some("new"));
        }
    });
}

#[test]
fn a_purge_that_nobody_can_be_asked_about_is_not_confirmed() {
    on_one_thread(async {
        let mut redis = Redis::start();
        let [one, _] = warm(&redis).await;
        redis.kill();
        until("the loss to be noticed", async || one.purge(&[url("/a")], Strength::Hard).await.is_err())
            .await;
        assert_eq!(one.read("/a").await, None);
    });
}

/// `Cache-Group-Invalidation` (RFC 9875 §3) on one node, and what another serves.
#[test]
fn an_origins_change_of_a_group_is_seen_by_all_nodes() {
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
        crate::harness::until("it to be stored", || is_stored(node));
    }
    let changed = nodes[0].connect().request("POST", "/change", &[("Content-Length", "0")]);
    assert_eq!(changed.status, 200);
    assert!(!is_stored(&nodes[0]), "who has made a change sees it");
    crate::harness::until("the other node to hear of it", || !is_stored(&nodes[1]));
}

#[test]
fn workers_of_one_process_share_one_memory() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = Node::start_workers(&redis).await;
        let elsewhere = Node::start(&redis).await;
        one.store("/a", "old", &[tag("x")]).await;
        until("memory to have it", async || one.tier("/a").await == Some(Tier::Memory)).await;
        let gets = redis.calls("get");
        assert_eq!(other.read("/a").await.as_deref(), Some("old"));
        assert_eq!(redis.calls("get"), gets, "read by one, trusted by the other");
        // News come to the worker that read it, and are for both.
        for scope in [url("/a"), Scope::Tag(tag("x")), Scope::All] {
            elsewhere.purge_all(&[scope], Strength::Hard, 2).await;
            assert_eq!((one.read("/a").await, other.read("/a").await), (None, None));
            other.store("/a", "new", &[tag("x")]).await;
            until("memory to have it", async || one.tier("/a").await == Some(Tier::Memory)).await;
        }
        // Either of them stores and purges for both.
        let before = other.claim("/a").await;
        one.purge_all(&[url("/a")], Strength::Hard, 2).await;
        assert!(before.is_overtaken());
        assert_eq!(other.read("/a").await, None);
    });
}

#[test]
fn what_a_lost_worker_read_is_asked_about_by_the_others() {
    on_one_thread(async {
        let redis = Redis::start();
        let [one, other] = Node::start_workers(&redis).await;
        one.store("/a", "old", &[]).await;
        until("memory to have it", async || other.tier("/a").await == Some(Tier::Memory)).await;
        one.store.close().await;
        let name = redis.keys().remove(0);
        redis.command(&["DEL", &name]);
        assert_eq!(other.read("/a").await, None, "nobody would have told");
    });
}

/// For how long a node served what had been changed, as its own metrics tell it.
#[test]
fn staleness_is_told() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let version = |text| Answer::json_with(&[("Cache-Control", "max-age=600")], text);
    origin.answer("/a", version("0"));
    let nodes = Process::fleet(2, &origin, &redis, &[]);
    let told = |what: &str, change: &str| {
        nodes[1].metric(&format!("cachewarp_staleness_seconds_{what}{{change=\"{change}\"}}"))
    };
    assert!(told("count", "purge") >= 1.0, "each sync is told");
    let in_memory = |node: &Process| {
        let response = node.connect().get("/a");
        response.cache_status().ends_with("detail=memory") && response.text() == "0"
    };
    for node in &nodes {
        crate::harness::until("memory to have it", || in_memory(node));
    }
    origin.answer("/a", version("1"));
    nodes[0].connect().request("GET", "/a", &[("Cache-Control", "no-cache")]);
    crate::harness::until("the other node to have the new", || nodes[1].connect().get("/a").text() == "1");
    assert_eq!(told("count", "write"), 1.0);
    let sum = told("sum", "write") + told("sum", "purge");
    assert!(sum < crate::harness::PATIENCE.as_secs_f64(), "{sum}");
}
