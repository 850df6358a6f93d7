//! Every seed of every fuzz target on a stable toolchain: an input that the fuzzer once found stays
//! tested.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../fuzz/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

fn run(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let seed = fs::read(entry.unwrap().path()).unwrap();
        check(&seed);
        // The simplest mutations of the seed: each prefix, and each byte changed.
        for at in 0..seed.len().min(256) {
            check(&seed[..at]);
            let mut changed = seed.clone();
            changed[at] = changed[at].wrapping_add(1);
            check(&changed);
        }
        seeds += 1;
    }
    assert!(seeds >= 3, "{} has {seeds} seeds", folder.display());
}

#[test]
fn entry_decode() {
    run("entry_decode", checks::entry_decode);
}

#[test]
fn resp_decode() {
    run("resp_decode", checks::resp_decode);
}

#[test]
fn pipeline() {
    run("pipeline", checks::pipeline);
}

#[test]
fn cache_control() {
    run("cache_control", checks::cache_control);
}

#[test]
fn json() {
    run("json", checks::json);
}

#[test]
fn purge() {
    run("purge", checks::purge);
}

#[test]
fn range() {
    run("range", checks::range);
}

#[test]
fn vary() {
    run("vary", checks::vary);
}

#[test]
fn targeted() {
    run("targeted", checks::targeted);
}

#[test]
fn dates() {
    run("dates", checks::dates);
}

#[test]
fn location() {
    run("location", checks::location);
}

#[test]
fn differential() {
    run("differential", checks::differential);
}

#[test]
fn redirect() {
    run("redirect", checks::redirect);
}

#[test]
fn cluster_map() {
    run("cluster_map", checks::cluster_map);
}

#[test]
fn sentinel() {
    run("sentinel", checks::sentinel);
}

#[test]
fn warm_list() {
    run("warm_list", checks::warm_list);
}

#[test]
fn fleet_words() {
    run("fleet_words", checks::fleet_words);
}

#[test]
fn framing() {
    run("framing", checks::framing);
}

#[test]
fn answer_framing() {
    run("answer_framing", checks::answer_framing);
}

#[test]
fn body() {
    run("body", checks::body);
}

#[test]
fn target() {
    run("target", checks::target);
}

#[test]
fn credential() {
    run("credential", checks::credential);
}

#[test]
fn outbound() {
    run("outbound", checks::outbound);
}

#[test]
fn tags() {
    run("tags", checks::tags);
}

#[test]
fn handshake() {
    run("handshake", checks::handshake);
}

#[test]
fn recorded_heads() {
    run("recorded_heads", checks::recorded_heads);
}

#[test]
fn metrics_accept() {
    run("metrics_accept", checks::metrics_accept);
}
