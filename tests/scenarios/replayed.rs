//! Another client of Redis brings back an older state after a purge: sealed entries, the generation
//! of a tag, and a purge log without its purges.

use crate::admin::purge;
use crate::harness::{Answer, Origin, Proxy, Redis, until};
use crate::sealed::{KeyFile, LINES, is_hit, start};

/// Copies all values.
const COPY: &str = "for _, name in ipairs(redis.call('KEYS', 'cachewarp:*')) do \
        redis.call('COPY', name, 'copy:' .. name, 'REPLACE') \
    end";
/// Puts the copies of changed entries, lists and tag generations back. Redis pushes a change of
/// these only.
const REPLAY: &str = "local count = 0 \
    for _, copy in ipairs(redis.call('KEYS', 'copy:*')) do \
        local name = string.sub(copy, 6) \
        if string.find(copy, ':' .. string.rep('%x', 32) .. '$') and \
            redis.call('GET', copy) ~= redis.call('GET', name) \
        then \
            redis.call('COPY', copy, name, 'REPLACE') \
            count = count + 1 \
        end \
    end \
    return count";
/// Not a purge, but a request that invalidates the response.
const WRITE: &str = "POST";
/// Removes the purges by prefix from the purge log, and counts one more.
const EMPTY_LOG: &str = "for _, name in ipairs(redis.call('KEYS', 'cachewarp:*:clock')) do \
        local epoch, count = string.match(redis.call('GET', name), '^1 (%x+) (%d+) ') \
        redis.call('SET', name, '1 ' .. epoch .. ' ' .. count + 1 .. ' 0 0\\n') \
    end";

fn is_english_hit(proxy: &Proxy, path: &str) -> bool {
    let response = proxy.connect().request("GET", path, &[("Accept-Language", "en")]);
    response.cache_status().contains("hit")
}

#[test]
fn an_entry_that_is_brought_back_after_its_purge_is_a_miss() {
    let (origin, redis, keys) = (Origin::start(), Redis::start(), KeyFile::of(&LINES));
    let plain = [("Cache-Control", "max-age=600"), ("Cache-Tag", "t")];
    let varying = [&plain[..], &[("Vary", "Accept-Language")]].concat();
    origin.answer("/plain", Answer::json_with(&plain, "{}"));
    origin.answer("/varying", Answer::json_with(&varying, "{}"));
    let cases = ["/plain", "/varying"].iter().flat_map(|path| ["0", "1MiB"].map(|memory| (*path, memory)));
    for (path, memory) in cases {
        let url = format!(r#"{{"url":"http://test{path}"}}"#);
        // The purge of a tag or a prefix is known to the node that purged, and to those that have
        // read it from Redis. Each node gets a fleet of its own: the other one would store anew.
        for (order, knowing) in
            [(&*url, 0), (&*url, 1), (WRITE, 0), (r#"{"tag":"t"}"#, 0), (r#"{"prefix":"http://test/"}"#, 0)]
        {
            redis.command(&["FLUSHALL"]);
            let nodes = [0, 1].map(|_| start(&origin, &redis, Some(&keys), &[("cache_memory_size", memory)]));
            for node in &nodes {
                until("the response to be stored", || is_hit(node, path));
                until("another variant to be stored", || is_english_hit(node, path));
            }
            until("the nodes to confirm", || purge(&nodes[0], r#"{"tag":"other"}"#).status == 200);
            // A hit compares the entry with the purges so far, and the next hits rely on that.
            assert!(nodes.iter().all(|node| is_hit(node, path)));
            redis.command(&["EVAL", COPY, "0"]);
            let done = if order == WRITE {
                nodes[0].connect().request("POST", path, &[])
            } else {
                purge(&nodes[0], order)
            };
            assert_eq!(done.status, 200, "{order}");
            let changed = redis.command(&["EVAL", REPLAY, "0"]).number();
            if order.contains("prefix") {
                redis.command(&["EVAL", EMPTY_LOG, "0"]);
            } else {
                assert!(changed >= 1, "{path} {memory} {order}");
            }
            let (node, asked) = (&nodes[knowing], origin.count(path));
            if path == "/varying" {
                // Memory gets the list that was brought back, and still has the other variant.
                let fields = [("Accept-Language", "en"), ("Cache-Control", "only-if-cached")];
                let lookups = || node.metric("cachewarp_store_lookups_total{result=\"memory\"}");
                until("memory to have the list", || {
                    let before = lookups();
                    let status = node.connect().request("GET", path, &fields).status;
                    assert_eq!(status, 504, "{memory} {order}");
                    memory == "0" || lookups() > before
                });
            }
            assert!(!is_hit(node, path), "{path} {memory} {order}");
            assert_eq!(origin.count(path), asked + 1, "{order}");
            // The node stores and serves what it fetches.
            until("the response to be stored", || is_hit(node, path));
        }
    }
}
