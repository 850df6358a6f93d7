//! Tests of the choice between addresses, and of their ejection.

use super::*;
use crate::limits::{
    ORIGIN_ADDRESS_FAILURES, ORIGIN_EJECTION_MAX, ORIGIN_EJECTION_MIN, ORIGIN_EJECTION_REMEMBERED,
};
use crate::origin::address::AddressUse;

const SECOND: Duration = Duration::from_secs(1);

fn answer(text: &str) -> Vec<SocketAddr> {
    text.split(' ').map(|text| text.parse().unwrap()).collect()
}

/// Returns a book that knows these addresses since `now`.
fn book(text: &str, now: Instant) -> AddressBook {
    let mut book = AddressBook::default();
    book.record_answer(&answer(text), now);
    book
}

/// Returns the known address with this text.
fn known(book: &AddressBook, text: &str) -> Arc<OriginAddress> {
    let of = |known: &&KnownAddress| known.address.socket_addr() == text.parse().unwrap();
    Arc::clone(&book.known.iter().find(of).unwrap().address)
}

/// Returns the addresses of many choices, without repetition, in order.
fn choices(book: &AddressBook, avoided: Option<&Arc<OriginAddress>>) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    let mut chosen: Vec<String> = (0..200)
        .map(|_| book.choose(avoided, |_| false, |below| random.usize(..below)).unwrap())
        .map(|address| address.socket_addr().to_string())
        .collect();
    chosen.sort();
    chosen.dedup();
    chosen.join(" ")
}

/// Ejects an address, and returns the pause.
fn eject(book: &mut AddressBook, address: &Arc<OriginAddress>, now: Instant) -> Option<Duration> {
    (0..ORIGIN_ADDRESS_FAILURES).find_map(|_| book.record_failure(address, None, now, 1.0))
}

#[test]
fn all_addresses_of_the_first_family_are_used_and_the_less_loaded_more() {
    let now = Instant::now();
    let both = book("1.1.1.1:1 1.1.1.2:1 [::1]:1", now);
    assert_eq!(choices(&both, None), "1.1.1.1:1 1.1.1.2:1");
    assert_eq!(choices(&both, Some(&known(&both, "1.1.1.1:1"))), "1.1.1.2:1");
    let _busy = AddressUse::begin(known(&both, "1.1.1.2:1"));
    assert_eq!(choices(&both, None), "1.1.1.1:1", "the less loaded of both");
    let three = book("1.1.1.1:1 1.1.1.2:1 1.1.1.3:1", now);
    let _busy = AddressUse::begin(known(&three, "1.1.1.2:1"));
    assert_eq!(choices(&three, None), "1.1.1.1:1 1.1.1.3:1");
    assert_eq!(choices(&book("[::1]:1 1.1.1.1:1", now), None), "[::1]:1");
    let one = book("1.1.1.1:1", now);
    assert_eq!(choices(&one, Some(&known(&one, "1.1.1.1:1"))), "1.1.1.1:1", "there is no other");
}

#[test]
fn the_other_family_is_used_when_the_first_is_ejected() {
    let now = Instant::now();
    let mut book = book("[::1]:1 1.1.1.1:1", now);
    let ipv6 = known(&book, "[::1]:1");
    assert_eq!(eject(&mut book, &ipv6, now), Some(ORIGIN_EJECTION_MIN));
    assert_eq!(choices(&book, None), "1.1.1.1:1");
}

#[test]
fn an_address_is_ejected_after_consecutive_failures_and_returns_on_trial() {
    let now = Instant::now();
    let mut book = book("1.1.1.1:1 1.1.1.2:1", now);
    let (bad, good) = (known(&book, "1.1.1.1:1"), known(&book, "1.1.1.2:1"));
    for _ in 1..ORIGIN_ADDRESS_FAILURES {
        assert_eq!(book.record_failure(&bad, None, now, 1.0), None);
    }
    book.record_response(&bad, now);
    assert!(!bad.is_suspect(), "a response ends the count");
    let idle = AddressUse::begin(Arc::clone(&bad));
    idle.set_idle();
    assert_eq!(eject(&mut book, &bad, now), Some(ORIGIN_EJECTION_MIN));
    assert!(!idle.is_current(), "its idle connections are given up");
    assert_eq!(choices(&book, None), "1.1.1.2:1");
    assert_eq!((book.count(AddressState::InUse), book.count(AddressState::Ejected)), (1, 1));
    assert_eq!(eject(&mut book, &good, now), None, "the last one stays");
    assert_eq!(choices(&book, None), "1.1.1.2:1");

    assert!(book.take_probe(now + ORIGIN_EJECTION_MIN - Duration::from_millis(1)).is_none());
    let later = now + ORIGIN_EJECTION_MIN;
    assert!(Arc::ptr_eq(&book.take_probe(later).unwrap(), &bad));
    assert!(book.take_probe(later).is_none(), "one probe at a time");
    assert_eq!(book.record_response(&bad, later), None, "of a request before the ejection");
    book.record_connected(&bad);
    assert_eq!(choices(&book, None), "1.1.1.1:1 1.1.1.2:1");
    let trial = AddressUse::begin(Arc::clone(&bad));
    assert_eq!(choices(&book, None), "1.1.1.2:1", "one request at a time while on trial");
    assert_eq!(book.record_response(&bad, later + SECOND), Some(2 * SECOND));
    drop(trial);
    assert_eq!(choices(&book, None), "1.1.1.1:1 1.1.1.2:1");
    assert_eq!((book.count(AddressState::InUse), book.count(AddressState::Ejected)), (2, 0));
}

#[test]
fn the_pause_doubles_with_each_failure_and_is_forgotten_in_time() {
    let mut now = Instant::now();
    let mut book = book("1.1.1.1:1 1.1.1.2:1", now);
    let bad = known(&book, "1.1.1.1:1");
    eject(&mut book, &bad, now);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        book.record_failed_probe(&bad, now, 1.0);
        pauses.push(book.find(&bad).unwrap().pause.as_secs());
    }
    assert_eq!(pauses, [2, 4, 8, 16, 30, 30]);
    book.record_connected(&bad);
    assert_eq!(book.record_failure(&bad, None, now, 1.0), None, "a failed trial ejects at once");
    assert_eq!(choices(&book, None), "1.1.1.2:1");
    book.record_connected(&bad);
    assert!(book.record_response(&bad, now).is_some());
    assert_eq!(eject(&mut book, &bad, now), Some(ORIGIN_EJECTION_MAX), "a relapse");
    book.record_connected(&bad);
    book.record_response(&bad, now);
    now += ORIGIN_EJECTION_REMEMBERED;
    assert_eq!(eject(&mut book, &bad, now), Some(ORIGIN_EJECTION_MIN));
    book.record_failed_probe(&bad, now, 1.0);
    assert_eq!(book.find(&bad).unwrap().pause, 2 * ORIGIN_EJECTION_MIN);
}

#[test]
fn failures_of_one_resource_count_once() {
    let now = Instant::now();
    let mut book = book("1.1.1.1:1 1.1.1.2:1", now);
    let address = known(&book, "1.1.1.1:1");
    let signs = crate::origin::signs::OverloadSigns::new(now);
    for _ in 0..100 {
        assert_eq!(book.record_failure(&address, Some(signs.resource("/one")), now, 1.0), None);
    }
    assert_eq!(book.record_failure(&address, Some(signs.resource("/two")), now, 1.0), None);
    assert!(book.record_failure(&address, Some(signs.resource("/three")), now, 1.0).is_some());
}

#[test]
fn a_dial_tries_the_chosen_then_the_others_in_alternating_families_then_the_ejected() {
    let now = Instant::now();
    let mut book = book("[::1]:1 [::2]:1 [::3]:1 1.1.1.1:1 1.1.1.2:1", now);
    let ejected = known(&book, "[::2]:1");
    eject(&mut book, &ejected, now);
    let _busy = AddressUse::begin(known(&book, "1.1.1.1:1"));
    let attempts = book.attempts(&known(&book, "[::1]:1"));
    let attempts: Vec<_> = attempts.iter().map(|address| address.socket_addr()).collect();
    assert_eq!(attempts, answer("[::1]:1 1.1.1.2:1 [::3]:1 1.1.1.1:1 [::2]:1"));
    let many: Vec<SocketAddr> = (1..=100).map(|port| ([1, 1, 1, 1], port).into()).collect();
    book.record_answer(&many, now);
    assert_eq!(book.listed().len(), ORIGIN_ADDRESSES_MAX);
    assert_eq!(book.attempts(&known(&book, "1.1.1.1:1")).len(), ORIGIN_ADDRESS_ATTEMPTS_MAX);
}

#[test]
fn an_address_that_the_name_left_gets_no_new_connection_and_is_forgotten() {
    let now = Instant::now();
    let mut book = book("1.1.1.1:1 1.1.1.2:1", now);
    let (old, kept) = (known(&book, "1.1.1.1:1"), known(&book, "1.1.1.2:1"));
    let idle = AddressUse::begin(Arc::clone(&old));
    book.record_answer(&answer("1.1.1.2:1 1.1.1.3:1"), now);
    assert!(Arc::ptr_eq(&kept, &known(&book, "1.1.1.2:1")), "a kept address keeps its load and state");
    assert_eq!(choices(&book, None), "1.1.1.2:1 1.1.1.3:1");
    idle.set_idle();
    let of_idle = book.choose(Some(&kept), |address| Arc::ptr_eq(address, &old), |_| 0).unwrap();
    assert!(Arc::ptr_eq(&of_idle, &old) || of_idle.socket_addr() == "1.1.1.3:1".parse().unwrap());
    book.record_answer(&answer("1.1.1.2:1"), now + ORIGIN_ADDRESS_KEPT - SECOND);
    assert!(idle.is_current());
    book.record_answer(&answer("1.1.1.2:1"), now + ORIGIN_ADDRESS_KEPT);
    assert!(!idle.is_current());
    assert!(book.known.iter().all(|known| !Arc::ptr_eq(&known.address, &old)));
}

#[test]
fn resolutions_are_bounded_in_rate_and_age() {
    let now = Instant::now();
    let mut book = AddressBook::default();
    assert!(book.is_outdated(now) && !book.begin_refresh(now), "the first dial resolves");
    book.record_answer(&answer("1.1.1.1:1"), now);
    assert!(!book.begin_refresh(now + ORIGIN_RESOLVE_INTERVAL - Duration::from_millis(1)));
    assert!(!book.is_outdated(now + ORIGIN_RESOLVED_FRESH - Duration::from_millis(1)));
    let due = now + ORIGIN_RESOLVE_INTERVAL;
    assert!(book.begin_refresh(due) && !book.begin_refresh(due), "one at a time");
    let old = now + ORIGIN_RESOLVED_FRESH;
    assert!(book.is_outdated(old));
    assert!(book.record_unresolved(old) && !book.record_unresolved(old), "one line in the log");
    assert!(!book.is_outdated(old), "the known addresses are used");
    assert!(book.is_outdated(old + ORIGIN_RESOLVE_INTERVAL));
    assert!(book.record_answer(&answer("1.1.1.1:1"), old) && !book.record_answer(&answer("1.1.1.1:1"), old));
}
