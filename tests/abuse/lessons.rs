//! What has gone wrong elsewhere, and where it is held here that it does not go wrong.

use std::collections::BTreeSet;
use std::path::Path;

use crate::case::Case;

/// Lessons that a request or an answer can show: each has a case at least.
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

/// Lessons that only a longer story can show, and where it is told.
const ELSEWHERE: &[(&str, &str)] = &[
    ("authenticated answers shared (Klarna 2021, RFC 9111 §3.5)", "tests/scenarios/privacy.rs"),
    ("absent cache headers taken for permission (Railway 2026)", "src/policy/tests/storable.rs"),
    ("another's reply on a shared connection (CVE-2023-28858, CVE-2023-28859)", "src/resp/pipeline/tests.rs"),
    ("an answer of another's collapsed fetch", "tests/leak/main.rs"),
    ("collisions of keys and of variants (haproxy#987, haproxy#988, apisix#13831)", "src/key.rs"),
    ("secrets in the names of keys (souin#295)", "src/key.rs"),
    ("unbounded growth by queries", "tests/scenarios/caching_flow.rs"),
    ("the admin plane on the data port", "tests/scenarios/operators.rs"),
    ("a background refresh with the request's own state (CVE-2026-60005)", "tests/scenarios/staleness.rs"),
];

/// Each lesson has its case, and each case its lesson.
pub(crate) fn hold(cases: &[Case]) {
    let known: BTreeSet<_> = IN_CASES.iter().copied().collect();
    let held: BTreeSet<_> = cases.iter().flat_map(|case| case.says("lesson").unwrap().split(", ")).collect();
    let missing: Vec<_> = known.difference(&held).collect();
    let unknown: Vec<_> = held.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without a case: {missing:?}; not a lesson: {unknown:?}"
    );
    for (lesson, file) in ELSEWHERE {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "{lesson}: {file} has gone");
    }
}
