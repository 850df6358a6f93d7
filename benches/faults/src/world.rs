//! The deployment under test, and the actions that make it fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::Failure;
use crate::origin::{self, Mood};
use crate::probe;
use crate::process::{Process, free, redis, redis_command, until};
use crate::relay;
use crate::sentinels::Sentinels;

/// Two nodes on one address, one Redis behind a relay or several behind sentinels, and an origin.
pub(crate) struct World {
    /// The address for clients.
    pub(crate) address: SocketAddr,
    pub(crate) nodes: Vec<Node>,
    pub(crate) redis: Process,
    redis_port: u16,
    sentinels: Option<Sentinels>,
    pub(crate) redis_delay: Arc<AtomicU64>,
    pub(crate) mood: Arc<Mood>,
    program: String,
    /// The settings of every node.
    settings: Vec<String>,
}

/// A node, and its admin listener.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) admin: SocketAddr,
}

/// The path to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A relay with an adjustable delay.
    Relay,
    /// Sentinels.
    Sentinels,
}

impl World {
    /// Starts all servers, and waits until the nodes serve.
    pub(crate) fn open(program: &str, reach: Reach) -> Result<Self, Failure> {
        let (at_redis, at_relay, at_origin, address) = (free()?, free()?, free()?, free()?);
        let (redis_delay, mood) = (Arc::<AtomicU64>::default(), Arc::<Mood>::default());
        relay::start(at_relay, at_redis, Arc::clone(&redis_delay));
        origin::start(at_origin, Arc::clone(&mood));
        let redis_port = at_redis.port();
        let redis = redis(redis_port, &[])?;
        until("Redis", || redis_command(redis_port, &["PING"]).is_ok_and(|reply| reply.contains("PONG")))?;
        let sentinels = match reach {
            Reach::Relay => None,
            Reach::Sentinels => Some(Sentinels::start(redis_port)?),
        };
        let redis_url = sentinels.as_ref().map_or_else(|| format!("redis://{at_relay}"), Sentinels::url);
        let settings = vec![
            format!("--listen-addr={address}"),
            "--listen-reuse-port=true".to_owned(),
            format!("--origin-url=http://{at_origin}"),
            format!("--redis-url={redis_url}"),
            "--worker-threads=1".to_owned(),
            "--cache-memory-size=8MiB".to_owned(),
            "--cache-max-body=64KiB".to_owned(),
            "--log-level=error".to_owned(),
        ];
        let program = program.to_owned();
        let mut world = Self {
            address,
            nodes: Vec::new(),
            redis,
            redis_port,
            sentinels,
            redis_delay,
            mood,
            program,
            settings,
        };
        for _ in 0..2 {
            let node = world.start_node()?;
            world.nodes.push(node);
        }
        Ok(world)
    }

    fn start_node(&self) -> Result<Node, Failure> {
        let admin = free()?;
        let mut settings = self.settings.clone();
        settings.push(format!("--admin-addr={admin}"));
        let process = Process::start(&self.program, &settings)?;
        until("a node to serve", || probe::get(admin, "/health").is_ok_and(|answer| answer.status == 200))?;
        Ok(Node { process, admin })
    }

    /// Stops the first node as its supervisor would, and starts its successor once it has ended.
    pub(crate) fn restart_node(&mut self) -> Result<(), Failure> {
        if let Some(first) = self.nodes.first_mut() {
            first.process.signal("TERM")?;
            first.process.await_end()?;
        }
        let successor = self.start_node()?;
        if let Some(first) = self.nodes.first_mut() {
            *first = successor;
        }
        Ok(())
    }

    /// Starts Redis at its former address.
    pub(crate) fn start_redis(&mut self) -> Result<(), Failure> {
        self.redis = redis(self.redis_port, &[])?;
        Ok(())
    }

    /// Sets the `maxmemory` of Redis; `0` for none.
    pub(crate) fn limit_redis(&mut self, bytes: &str) -> Result<(), Failure> {
        redis_command(self.redis_port, &["CONFIG", "SET", "maxmemory", bytes]).map(drop)
    }

    /// Kills the master that the sentinels watch.
    pub(crate) fn kill_master(&mut self) -> Result<(), Failure> {
        self.redis.kill()
    }

    /// Waits until the sentinels have promoted another master.
    pub(crate) fn await_fail_over(&mut self) -> Result<(), Failure> {
        match &self.sentinels {
            Some(sentinels) => sentinels.await_another_than(self.redis_port),
            None => Err("there are no sentinels".into()),
        }
    }

    /// Returns the sum of one metric over all nodes.
    pub(crate) fn metric(&self, name: &str) -> Result<f64, Failure> {
        self.nodes.iter().map(|node| probe::metric(node.admin, name)).sum()
    }
}
