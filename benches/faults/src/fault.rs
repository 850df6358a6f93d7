//! The table of faults, each with a beginning and an end.

use std::sync::atomic::Ordering;

use crate::Failure;
use crate::world::World;

/// The part of the deployment that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Redis,
    Origin,
    Node,
}

/// A fault, with the actions that begin and end it.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// The failing part; `None` without a fault.
    pub(crate) part: Option<Part>,
    /// The state of the caches after the fault.
    pub(crate) after: After,
    pub(crate) begin: fn(&mut World) -> Result<(), Failure>,
    pub(crate) end: fn(&mut World) -> Result<(), Failure>,
}

/// The state of the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The caches keep their entries.
    Warm,
    /// Entries are lost, so the caches are warmed before the next fault.
    Cold,
}

/// The baseline without a fault: the comparison for all others, and a measure of the machine's own
/// variation.
pub(crate) const NO_FAULT: Fault =
    Fault { name: "no fault", part: None, after: After::Warm, begin: |_| Ok(()), end: |_| Ok(()) };

/// The faults of a deployment with one Redis.
pub(crate) const FAULTS: [Fault; 9] = [
    Fault {
        name: "Redis killed, restarted",
        part: Some(Part::Redis),
        after: After::Cold,
        begin: |world| world.redis.kill(),
        end: World::start_redis,
    },
    Fault {
        name: "Redis stopped (SIGSTOP)",
        part: Some(Part::Redis),
        after: After::Warm,
        begin: |world| world.redis.signal("STOP"),
        end: |world| world.redis.signal("CONT"),
    },
    Fault {
        name: "Redis 200 ms away",
        part: Some(Part::Redis),
        after: After::Warm,
        begin: |world| {
            world.redis_delay.store(200, Ordering::Relaxed);
            Ok(())
        },
        end: |world| {
            world.redis_delay.store(0, Ordering::Relaxed);
            Ok(())
        },
    },
    Fault {
        name: "Redis out of memory",
        part: Some(Part::Redis),
        after: After::Cold,
        begin: |world| world.limit_redis("1"),
        end: |world| world.limit_redis("0"),
    },
    Fault {
        name: "origin takes 2 s",
        part: Some(Part::Origin),
        after: After::Warm,
        begin: |world| {
            world.mood.delay.store(2_000, Ordering::Relaxed);
            Ok(())
        },
        end: |world| {
            world.mood.delay.store(0, Ordering::Relaxed);
            Ok(())
        },
    },
    Fault {
        name: "origin: half are 500",
        part: Some(Part::Origin),
        after: After::Warm,
        begin: |world| {
            world.mood.errors.store(50, Ordering::Relaxed);
            Ok(())
        },
        end: |world| {
            world.mood.errors.store(0, Ordering::Relaxed);
            Ok(())
        },
    },
    Fault {
        name: "origin refuses",
        part: Some(Part::Origin),
        after: After::Warm,
        begin: |world| {
            world.mood.gone.store(true, Ordering::Relaxed);
            Ok(())
        },
        end: |world| {
            world.mood.gone.store(false, Ordering::Relaxed);
            Ok(())
        },
    },
    Fault {
        name: "origin restarted",
        part: Some(Part::Origin),
        after: After::Warm,
        begin: |world| {
            world.mood.restarts.fetch_add(1, Ordering::Relaxed);
            Ok(())
        },
        end: |_| Ok(()),
    },
    Fault {
        name: "a node restarted (SIGTERM)",
        part: Some(Part::Node),
        after: After::Warm,
        begin: World::restart_node,
        end: |_| Ok(()),
    },
];

/// The fault of a deployment with sentinels.
pub(crate) const FAIL_OVER: Fault = Fault {
    name: "Redis' master killed (Sentinel)",
    part: Some(Part::Redis),
    after: After::Warm,
    begin: World::kill_master,
    end: World::await_fail_over,
};
