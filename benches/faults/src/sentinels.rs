//! A master with two replicas, and three sentinels that watch it.

use std::fs;
use std::path::PathBuf;

use crate::Failure;
use crate::process::{Process, free, redis, redis_command, until};

/// The name of the master at the sentinels.
const NAME: &str = "bench";

/// The replicas and sentinels. Dropping the group stops them.
pub(crate) struct Sentinels {
    ports: Vec<u16>,
    _replicas: Vec<Process>,
    _sentinels: Vec<Process>,
    folder: PathBuf,
}

impl Sentinels {
    /// Starts replicas with the data of the master at this port, and sentinels that know each
    /// other.
    pub(crate) fn start(master: u16) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("cachewarp-faults-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mut all = Self { ports: Vec::new(), _replicas: Vec::new(), _sentinels: Vec::new(), folder };
        // The master sends its data at once, without waiting for further replicas.
        redis_command(master, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"])?;
        let of = master.to_string();
        for _ in 0..2 {
            let port = free()?.port();
            // The replica stores its master's data in this file.
            let (folder, file) = (all.folder.display().to_string(), format!("{port}.rdb"));
            let own = ["--replicaof", "127.0.0.1", &of, "--dir", &folder, "--dbfilename", &file];
            all._replicas.push(redis(port, &own)?);
            until("a replica", || {
                redis_command(port, &["INFO", "replication"])
                    .is_ok_and(|reply| reply.contains("master_link_status:up"))
            })?;
        }
        for _ in 0..3 {
            let sentinel = all.start_sentinel(master)?;
            all._sentinels.push(sentinel);
        }
        for port in &all.ports {
            until("the sentinels to know each other", || {
                let reply = redis_command(*port, &["SENTINEL", "MASTER", NAME]).unwrap_or_default();
                let lines: Vec<_> = reply.lines().collect();
                let is = |name, value| lines.windows(2).any(|pair| pair == [name, value]);
                is("num-slaves", "2") && is("num-other-sentinels", "2")
            })?;
        }
        Ok(all)
    }

    fn start_sentinel(&mut self, master: u16) -> Result<Process, Failure> {
        let port = free()?.port();
        let file = self.folder.join(format!("{port}.conf"));
        let settings = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 3000\n",
            self.folder.display()
        );
        fs::write(&file, settings)?;
        self.ports.push(port);
        Process::start("redis-server", &[file.display().to_string(), "--sentinel".into()])
    }

    /// Returns the URL by which a client finds the master.
    pub(crate) fn url(&self) -> String {
        let places: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/{NAME}", places.join(","))
    }

    /// Waits until the sentinels have promoted another server.
    pub(crate) fn await_another_than(&self, old: u16) -> Result<(), Failure> {
        let old = old.to_string();
        let first = self.ports.first().copied().unwrap_or_default();
        until("another master", || {
            let reply =
                redis_command(first, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).unwrap_or_default();
            reply.lines().nth(1).is_some_and(|port| port != old)
        })
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        // If the removal fails, a few kilobytes stay in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
