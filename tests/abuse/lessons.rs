//! Known failures of other servers, and the tests that cover them here.

use std::collections::BTreeSet;
use std::path::Path;

use crate::case::Case;

/// Lessons that one request or answer can show. Each has at least one case.
const IN_CASES: &[&str] = &[
    "CVE-2021-32714",
    "CVE-2021-32715",
    "CVE-2022-23959",
    "CVE-2022-45059",
    "CVE-2023-44487",
    "CVE-2024-23326",
    "CVE-2024-31309",
    "CVE-2024-35161",
    "CVE-2024-35296",
    "CVE-2024-56202",
    "CVE-2025-31699",
    "CVE-2025-4366",
    "CVE-2025-8671",
    "CVE-2026-111816",
    "CVE-2026-24033",
    "CVE-2026-2833",
    "CVE-2026-2835",
    "CVE-2026-2836",
    "CVE-2026-33555",
    "CVE-2026-40396",
    "CVE-2026-42926",
    "CVE-2026-58150",
    "VSV00015",
    "VSV00016",
    "VSV00018",
    "hyper#4124",
    "0.CL",
    "base-path-traversal",
    "cache-key-injection",
    "deception",
    "fat-get",
    "headers-that-replace",
    "host-confusion",
    "origin-errors",
    "parameter-cloaking",
    "response-splitting",
    "smuggling",
    "vary",
];

/// Lessons that need a longer scenario, and the file that tests each.
const ELSEWHERE: &[(&str, &str)] = &[
    ("authenticated answers shared (Klarna 2021, RFC 9111 §3.5)", "tests/scenarios/privacy.rs"),
    ("absent cache headers taken for permission (Railway 2026)", "src/policy/tests/storable.rs"),
    ("a foreign reply on a shared connection (CVE-2023-28858, CVE-2023-28859)", "src/resp/pipeline/tests.rs"),
    ("the answer of a collapsed fetch with another key", "tests/leak/main.rs"),
    ("collisions of keys and of variants (haproxy#987, haproxy#988, apisix#13831)", "src/key.rs"),
    ("secrets in the names of keys (souin#295)", "src/key.rs"),
    ("unbounded growth by queries", "tests/scenarios/caching_flow.rs"),
    ("the admin plane on the data port", "tests/scenarios/operators.rs"),
    ("a background refresh with the request's own state (CVE-2026-60005)", "tests/scenarios/staleness.rs"),
];

/// Checks that each lesson has a case, and that each case has a known lesson.
pub(crate) fn hold(cases: &[Case]) {
    let known: BTreeSet<_> = IN_CASES.iter().copied().collect();
    let held: BTreeSet<_> = cases.iter().flat_map(|case| case.says("lesson").unwrap().split(", ")).collect();
    let missing: Vec<_> = known.difference(&held).collect();
    let unknown: Vec<_> = held.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "lessons without a case: {missing:?}; unknown lessons: {unknown:?}"
    );
    for (lesson, file) in ELSEWHERE {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "{lesson}: {file} does not exist");
    }
}
