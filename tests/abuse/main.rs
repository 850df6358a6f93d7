//! The abuse corpus: requests and answers that two parsers could read in two ways, one file a case.
//!
//! `README.md` in this folder describes the format of a case, and how to add one. The test sends
//! the cases of `client/` to CacheWarp, with an origin behind it that records every byte; the
//! origin sends those of `origin/`; those of `http2/` are frames. Each case is refused, or
//! forwarded in one unambiguous form (byte for byte); it affects no other request on its
//! connection; and the next request on CacheWarp's connections to the origin gets its own answer.
//!
//! With `UPDATE_GOLDEN=1`, the test writes the forwarded bytes into the files, to be read before
//! they are committed. It never writes a fate.

#![cfg(test)]

mod answers;
mod case;
#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the scenarios use the rest of it")]
mod harness;
mod http2;
mod lessons;
mod origin;
mod paths;
mod requests;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use case::Case;

/// Cases that run at the same time: they mostly wait for sockets.
const AT_A_TIME: usize = 4;
/// The corpus only grows.
const CASES_MIN: usize = 150;

#[test]
fn requests_are_refused_or_have_one_meaning() {
    try_all("client", requests::hold);
}

#[test]
fn answers_are_refused_or_have_one_meaning() {
    try_all("origin", answers::hold);
}

#[test]
fn frames_are_refused_or_have_one_meaning() {
    try_all("http2", http2::hold);
}

#[test]
fn every_lesson_of_the_field_has_a_case() {
    let cases: Vec<Case> = ["client", "origin", "http2"].into_iter().flat_map(Case::all).collect();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    lessons::hold(&cases);
}

/// Runs every case of a folder, and reports all that fail.
fn try_all(folder: &str, hold: fn(&mut Case)) {
    let cases = Mutex::new(Case::all(folder));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(mut case) = cases.lock().unwrap().pop() else { return };
                    let held = catch_unwind(AssertUnwindSafe(|| hold(&mut case)));
                    if let Err(panic) = held {
                        let message = panic
                            .downcast_ref::<String>()
                            .cloned()
                            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                        failures.lock().unwrap().push(format!(
                            "{}: {}",
                            case.name,
                            message.unwrap_or_default()
                        ));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "{} cases failed\n\n{}", failures.len(), failures.join("\n\n"));
}
