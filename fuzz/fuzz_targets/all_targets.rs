//! Every fuzz target in one binary, for CI: one build and one link take the place of one for each
//! target. The environment variable `FUZZ_TARGET` names the target.

#![no_main]

#[path = "../checks.rs"]
mod checks;

use std::sync::OnceLock;

static CHECK: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let check = CHECK.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
        let row = checks::CHECKS.iter().find(|(target, _)| *target == name);
        row.expect("FUZZ_TARGET is the name of a file in fuzz_targets/").1
    });
    check(data);
});
