//! Another client of Redis brings back an older state after a purge: sealed entries, the generation
//! of a tag, and a purge log without its purges.

use crate::admin::purge;
use crate::harness::{Answer, Origin, Redis, until};
use crate::sealed::{KeyFile, LINES, is_hit, start};

/// Copies all values.
const COPY: &str = "for _, name in ipairs(redis.call('KEYS', 'cachewarp:*')) do \
        redis.call('COPY', name, 'copy:' .. name, 'REPLACE') \
    end";
/// Puts the copies of entries, lists and tag generations back.
const REPLAY: &str = "local count = 0 \
    for _, copy in ipairs(redis.call('KEYS', 'copy:*')) do \
        if string.find(copy, ':' .. string.rep('%x', 32) .. '$') then \
            redis.call('COPY', copy, string.sub(copy, 6), 'REPLACE') \
            count = count + 1 \
        end \
    end \
    return count";
/// Removes the purges by prefix from the purge log, and counts one more.
const EMPTY_LOG: &str = "for _, name in ipairs(redis.call('KEYS', 'cachewarp:*:clock')) do \
        local epoch, count = string.match(redis.call('GET', name), '^1 (%x+) (%d+) ') \
        redis.call('SET', name, '1 ' .. epoch .. ' ' .. count + 1 .. ' 0 0\\n') \
    end";

#[test]
fn an_entry_that_is_brought_back_after_its_purge_is_a_miss() {
    let (origin, redis, keys) = (Origin::start(), Redis::start(), KeyFile::of(&LINES));
    let plain = [("Cache-Control", "max-age=600"), ("Cache-Tag", "t")];
    let varying = [&plain[..], &[("Vary", "Accept-Language")]].concat();
    origin.answer("/plain", Answer::json_with(&plain, "{}"));
    origin.answer("/varying", Answer::json_with(&varying, "{}"));
    for path in ["/plain", "/varying"] {
        let url = format!(r#"{{"url":"http://test{path}"}}"#);
        // The purge of a tag or a prefix is known to the node that purged, and to those that have
        // read it from Redis. Each node gets a fleet of its own: the other one would store anew.
        for (order, knowing) in
            [(&*url, 0), (&*url, 1), (r#"{"tag":"t"}"#, 0), (r#"{"prefix":"http://test/"}"#, 0)]
        {
            redis.command(&["FLUSHALL"]);
            let nodes = [0, 1].map(|_| start(&origin, &redis, Some(&keys), &[]));
            for node in &nodes {
                until("the response to be stored", || is_hit(node, path));
            }
            until("the nodes to confirm", || purge(&nodes[0], r#"{"tag":"other"}"#).status == 200);
            redis.command(&["EVAL", COPY, "0"]);
            assert_eq!(purge(&nodes[0], order).status, 200, "{order}");
            assert!(redis.command(&["EVAL", REPLAY, "0"]).number() >= 2, "{order}");
            if order.contains("prefix") {
                redis.command(&["EVAL", EMPTY_LOG, "0"]);
            }
            let (node, asked) = (&nodes[knowing], origin.count(path));
            assert!(!is_hit(node, path), "{order}");
            assert_eq!(origin.count(path), asked + 1, "{order}");
            // The node stores and serves what it fetches.
            until("the response to be stored", || is_hit(node, path));
        }
    }
}
