//! What can fail: each fault has a beginning and an end, in one table.

use std::sync::atomic::Ordering;

use crate::Failure;
use crate::world::World;

/// The part of the world that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Redis,
    Origin,
    Node,
}

/// A fault.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// What fails; nothing in fair weather.
    pub(crate) part: Option<Part>,
    /// Whether Redis has lost what it had.
    pub(crate) after: After,
    pub(crate) begin: fn(&mut World) -> Result<(), Failure>,
    pub(crate) end: fn(&mut World) -> Result<(), Failure>,
}

/// What is left in the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// What was there.
    Warm,
    /// Less: the next fault is not about that.
    Cold,
}

/// Nothing fails: shows what the others are held against, and how much the machine itself varies.
pub(crate) const FAIR_WEATHER: Fault =
    Fault { name: "fair weather", part: None, after: After::Warm, begin: |_| Ok(()), end: |_| Ok(()) };

/// In a world with one Redis.
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

/// In a world with sentinels.
pub(crate) const FAIL_OVER: Fault = Fault {
    name: "Redis' master killed (Sentinel)",
    part: Some(Part::Redis),
    after: After::Warm,
    begin: World::kill_master,
    end: World::await_fail_over,
};
