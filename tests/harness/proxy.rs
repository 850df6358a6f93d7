//! CacheWarp itself, in this process, on its own threads.

use std::net::SocketAddr;
use std::{io, thread};

use cachewarp::app::{self, RunningProxy};
use cachewarp::config::{self, CliCommand, ConfigSources, FileChecks, Settings};

use super::client::{self, Client, Response};
use super::until;

/// A proxy on free ports. Dropping it stops it, and fails the test if a worker died.
pub(crate) struct Proxy(Option<RunningProxy>);

/// The default settings of a scenario: no shared resources, and one worker, so that events have one
/// order.
const SETTINGS: [(&str, &str); 5] = [
    ("listen_addr", "127.0.0.1:0"),
    ("admin_addr", "127.0.0.1:0"),
    ("redis_url", "off"),
    ("worker_threads", "1"),
    ("drain_timeout", "1s"),
];

impl Proxy {
    /// Starts a proxy in front of an origin, without Redis.
    pub(crate) fn start(origin_url: &str, settings: &[(&str, &str)]) -> Self {
        let mut flags = vec![("origin_url", origin_url)];
        flags.extend(SETTINGS.iter().filter(|(name, _)| settings.iter().all(|(given, _)| given != name)));
        flags.extend(settings);
        Self(Some(app::start(read(&flags)).unwrap()))
    }

    /// Starts a proxy with Redis, and waits until every connection of its pool is up. On a busy
    /// machine, Redis may take longer than the default time-out; a lookup would then be a miss.
    pub(crate) fn start_with_redis(origin_url: &str, redis_url: &str, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("redis_url", redis_url), ("redis_pool_size", "4"), ("redis_timeout", "10s")];
        all.retain(|(name, _)| settings.iter().all(|(given, _)| given != name));
        all.extend(settings);
        let proxy = Self::start(origin_url, &all);
        proxy.await_redis();
        proxy
    }

    /// Waits until every connection of the pool is up.
    pub(crate) fn await_redis(&self) {
        until("the pool to be up", || {
            self.metric(r#"cachewarp_redis_connections{state="up"}"#) > 0.0
                && self.metric(r#"cachewarp_redis_connections{state="connecting"}"#) == 0.0
                && self.metric(r#"cachewarp_redis_connections{state="disconnected"}"#) == 0.0
        });
    }

    /// Returns the address for clients.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.running().addr()
    }

    /// Returns the address for operators.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.running().admin_addr().unwrap()
    }

    /// Opens a connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr())
    }

    /// Sends one `GET` on its own connection.
    pub(crate) fn get(&self, target: &str) -> Response {
        client::get(self.addr(), target)
    }

    /// Sends one `GET` with fields on its own connection.
    pub(crate) fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.connect().request("GET", target, fields)
    }

    /// Returns the current value of a series in `/metrics`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = client::get(self.admin_addr(), "/metrics");
        let line = page.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {}", page.text())).parse().unwrap()
    }

    /// Waits until a series has reached a value.
    pub(crate) fn await_metric(&self, series: &str, value: f64) {
        until(&format!("{series} to reach {value}"), || self.metric(series) >= value);
    }

    /// Waits until this many client connections have sent bytes. With one worker and no Redis, each
    /// of their requests has then reached the point where it waits.
    pub(crate) fn await_askers(&self, count: usize) {
        self.await_metric(r#"cachewarp_client_connections_total{protocol="http1"}"#, count as f64);
    }

    fn running(&self) -> &RunningProxy {
        self.0.as_ref().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let well = self.0.take().is_none_or(RunningProxy::stop);
        assert!(well || thread::panicking(), "a worker died");
    }
}

/// Resolves these flags, without environment or files.
fn read(settings: &[(&str, &str)]) -> Settings {
    let flags = settings.iter().map(|(name, value)| format!("--{}={value}", name.replace('_', "-")));
    let surroundings = ConfigSources {
        args: std::iter::once("cachewarp".to_owned()).chain(flags).map(Into::into).collect(),
        environment: Vec::new(),
        dotenv: Err(io::ErrorKind::NotFound.into()),
        cores: 1,
        files: FileChecks::Opened,
    };
    let order = config::read(surroundings).unwrap_or_else(|faults| panic!("{faults}"));
    let CliCommand::Serve(settings) = order.command else { panic!("{order:?}") };
    *settings
}
