//! Runs of two nodes with given events.
//!
//! Without RESP3, Redis pushes nothing, and a purge is confirmed once `cache_memory_ttl` has passed
//! since its write: a test for each way in which an older answer could outlive that time.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::fleet::{Fleet, FleetOptions, PurgeCheck};
use super::node::FleetTopology;
use super::origin::key;
use super::requests::FleetLeases;
use crate::redis::tests::model::on_paused_clock;
use crate::redis::tests::network::TravelDelay;
use crate::store::{PurgeScope, PurgeStrength};

const LIFETIME: Duration = Duration::from_secs(600);

async fn pass(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

fn delay(usual: Range<u64>) -> TravelDelay {
    TravelDelay { usual, tail: (0.0, 0..1) }
}

/// Sends a request for the first or second resource to a node; the origin takes this time to
/// answer, after it has read its state.
fn request(fleet: &Rc<Fleet>, node: usize, resource: usize, takes: u64) {
    fleet.request((node, 0), resource, [Duration::ZERO, Duration::from_millis(takes)], LIFETIME);
}

/// Purges the first resource at the first node; `check` it at once when the purge is confirmed.
fn purge(fleet: &Rc<Fleet>, check: PurgeCheck) {
    fleet.purge((0, 0), vec![PurgeScope::Url(key(0))], PurgeStrength::Hard, check);
}

/// The options of two nodes without RESP3.
fn options() -> FleetOptions {
    FleetOptions {
        seed: 1,
        nodes: 2,
        workers: 1,
        connections: 1,
        memory_ttl: Duration::from_secs(1),
        memory_alone_max: Duration::from_secs(300),
        clocks: vec![0, 0],
        leases: FleetLeases::Off,
        has_resp3: false,
        topology: FleetTopology::Single,
        delay: delay(1..2),
        is_calm: true,
        planted: None,
    }
}

/// Runs two nodes, and checks every answer.
fn check(options: FleetOptions, events: impl AsyncFnOnce(&Rc<Fleet>)) {
    on_paused_clock(async {
        let fleet = Fleet::start(options);
        pass(100).await;
        events(&fleet).await;
        fleet.settle().await;
        let counts = fleet.history.counts.get();
        assert_eq!(counts.confirmed, 1, "{}", fleet.history.text());
        assert_eq!(fleet.history.failure(), None);
        fleet.end();
    });
}

#[test]
fn a_reply_under_way_during_a_purge_counts_from_the_start_of_its_read() {
    check(options(), async |fleet| {
        request(fleet, 0, 0, 0);
        pass(2_000).await;
        request(fleet, 1, 1, 0);
        pass(500).await;
        // The read arrives before the purge, and its reply takes longer than the purge.
        fleet.network.set_delay(delay(2..3));
        request(fleet, 1, 0, 0);
        pass(1).await;
        fleet.network.set_delay(delay(30..31));
        pass(2).await;
        fleet.network.set_delay(delay(0..1));
        purge(fleet, PurgeCheck::AtOnce);
    });
}

#[test]
fn a_request_after_a_purge_joins_no_fetch_from_before_it() {
    check(options(), async |fleet| {
        request(fleet, 1, 0, 3_000);
        pass(100).await;
        purge(fleet, PurgeCheck::AtOnce);
    });
}

#[test]
fn a_request_whose_lookup_was_late_joins_no_old_fetch() {
    check(options(), async |fleet| {
        request(fleet, 1, 0, 3_000);
        pass(100).await;
        purge(fleet, PurgeCheck::Later);
        pass(1_100).await;
        fleet.network.set_delay(delay(200..201));
        request(fleet, 1, 0, 0);
    });
}

#[test]
fn an_answer_on_its_way_to_redis_counts_from_the_start_of_its_fetch() {
    check(options(), async |fleet| {
        request(fleet, 1, 0, 3_000);
        pass(100).await;
        purge(fleet, PurgeCheck::Later);
        pass(2_800).await;
        // The purge log is known.
        request(fleet, 1, 1, 0);
        pass(90).await;
        fleet.network.set_delay(delay(20..21));
        pass(20).await;
        request(fleet, 1, 0, 0);
    });
}

#[test]
fn memory_does_not_answer_alone_after_one_late_reply() {
    check(options(), async |fleet| {
        request(fleet, 1, 0, 0);
        pass(2_000).await;
        purge(fleet, PurgeCheck::Later);
        pass(900).await;
        request(fleet, 1, 1, 0);
        pass(200).await;
        fleet.network.set_delay(delay(200..201));
        request(fleet, 1, 0, 0);
    });
}
