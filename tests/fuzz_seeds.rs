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

/// Declares a test for each target.
macro_rules! targets {
    ($($name:ident)+) => {
        const TESTED: &[&str] = &[$(stringify!($name),)+];
        $(
            #[test]
            fn $name() {
                run(stringify!($name), checks::$name);
            }
        )+
    };
}

targets! {
    answer_framing
    body
    cache_control
    cluster_map
    credential
    dates
    differential
    entry_decode
    entry_unpack
    fleet_words
    framing
    handshake
    json
    key_file
    location
    metrics_accept
    origin_response
    outbound
    pipeline
    proxy_header
    purge
    query_form
    range
    recorded_heads
    redirect
    resp_decode
    route_match
    routes_file
    sentinel
    stream
    tags
    target
    targeted
    traceparent
    vary
    warm_list
}

#[test]
fn every_target_is_in_each_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let mut targets = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} has no binary");
        if name != "all_targets" {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("checks::{name}(data)")), "{name} runs another check:\n{text}");
            targets.push(name);
        }
    }
    targets.sort_unstable();
    assert_eq!(targets, TESTED);
    let checks: Vec<_> = checks::CHECKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(targets, checks);
}
