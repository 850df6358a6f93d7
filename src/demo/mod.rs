//! `cachewarp demo`: a first try of CacheWarp, with nothing else installed.
//!
//! The command starts a sample JSON API on a free loopback port and CacheWarp in front of it, and
//! prints commands with their expected effects. It runs the real proxy with the real settings; only
//! the origin is a sample, and Redis is used only if `redis_url` is set.

mod api;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::task::LocalSet;
use tracing::error;

use crate::app::{self, ProcessControl, RunningProxy, ShutdownSignals, StartError};
use crate::config::{DEMO_TOKEN, Settings};
use crate::key::{Authority, OriginBase, Scheme};
use crate::routes::RouteTable;
use crate::server::{self, Shutdown, WorkerListener};
use crate::store::Namespace;
use crate::telemetry::Registry;
use api::SampleApi;

/// The routes of the demo, if the settings name no file: a read, and the write that changes it.
const ROUTES: &[u8] = br#"
[[route]]
name = "rates"
path = "/rates/{pair}"
cache_control = "max-age=600"

[[route]]
name = "rate-update"
path = "/rates/{pair}"
methods = ["POST"]
on_write = { purge = ["rates"], wait = true }
"#;

/// A sample API and a proxy in front of it, both serving.
pub struct RunningDemo {
    proxy: RunningProxy,
    api_addr: SocketAddr,
    /// The flag of `cachewarp explain` for the demo's own token.
    token_flag: &'static str,
    api: thread::JoinHandle<()>,
    shutdown: Shutdown,
}

/// Starts the API and the proxy. If the settings' ports are taken, it uses free ones.
pub fn start(settings: Settings) -> Result<RunningDemo, StartError> {
    let shutdown = Shutdown::new();
    let (api_addr, api) = start_api(shutdown.clone())?;
    let settings = in_front_of(api_addr, settings);
    let token = settings.proxy.explain_token.as_ref();
    // An operator's own token is a secret, and `explain` reads it from the settings.
    let is_own = token.is_some_and(|token| token.is(DEMO_TOKEN.as_bytes()));
    let token_flag = if is_own { " --token demo" } else { "" };
    let proxy = match app::start(settings.clone()) {
        Err(StartError::Listen(_)) => app::start(with_free_ports(settings))?,
        other => other?,
    };
    Ok(RunningDemo { proxy, api_addr, token_flag, api, shutdown })
}

fn in_front_of(api: SocketAddr, mut settings: Settings) -> Settings {
    let Ok(authority) = Authority::parse(Scheme::Http, api.to_string().as_bytes()) else { return settings };
    for worker in &mut settings.workers {
        // The printed commands request plain HTTP.
        worker.server.tls = None;
        worker.origin.scheme = Scheme::Http;
        worker.origin.base_path = String::new();
        worker.origin.authority = authority.clone();
    }
    // Not the namespace of the API that the settings name.
    let origin = OriginBase { scheme: Scheme::Http, authority, path: String::new() };
    if settings.routes.is_none() {
        settings.routes = RouteTable::parse(ROUTES).ok().map(Arc::new);
    }
    settings.store.namespace = Namespace::of_origin(settings.store.namespace.as_str(), &origin);
    settings
}

fn with_free_ports(mut settings: Settings) -> Settings {
    for worker in &mut settings.workers {
        worker.server.addr.set_port(0);
    }
    if let Some(admin) = &mut settings.admin {
        admin.addr.set_port(0);
    }
    settings
}

/// Starts the API on its own thread, as a real origin has its own machine.
fn start_api(shutdown: Shutdown) -> Result<(SocketAddr, thread::JoinHandle<()>), StartError> {
    let options = server::Options {
        when_full: server::WhenFull::Wait,
        tls: None,
        proxied: None,
        request_ids: None,
        addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        socket: None,
        sharing: server::AddressSharing::Alone,
        backlog: 128,
        connections_max: 1024,
        connections_per_address_max: None,
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(120),
        body_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(2),
    };
    let listener = WorkerListener::bind(&options, 1)?.pop().ok_or(StartError::WorkerLost)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let api = thread::Builder::new().name("sample-api".to_owned()).spawn(move || {
        let serve = async {
            server::serve(listener, &options, SampleApi::new(), shutdown, &Registry::new(), None, None).await
        };
        if let Err(error) = LocalSet::new().block_on(&runtime, serve) {
            error!(%error, "sample API failed");
        }
    })?;
    Ok((addr, api))
}

impl RunningDemo {
    /// Returns the address of the proxy.
    pub fn addr(&self) -> SocketAddr {
        self.proxy.addr()
    }

    /// Returns the address of the sample API.
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Returns the lines to try, with the effect of each, for the program of this name.
    pub fn guide(&self, program: &str) -> String {
        let proxy = self.addr();
        let api = self.api_addr;
        let token = self.token_flag;
        let (metrics, operators) = match self.proxy.admin_listener() {
            Some(admin) => (
                match admin.socket() {
                    Some(path) => {
                        format!("\n  Metrics: curl --unix-socket {} http://localhost/metrics", path.display())
                    }
                    None => format!("\n  Metrics: http://{admin}/metrics"),
                },
                format!(
                    "\
\n  {program} purge --admin-addr {admin} --url http://{proxy}/quotes/EURUSD
      Removes the stored response: the next request fetches, and \"served\" changes.

  {program} top --admin-addr {admin}
      Rates, hit ratios and latencies, second by second.
"
                ),
            ),
            None => (String::new(), String::new()),
        };
        format!(
            "\
  CacheWarp listens on http://{proxy}, in front of a sample API on http://{api}.{metrics}

  Try each line twice, and read Cache-Status:

  curl -i http://{proxy}/slow
      The first request waits a second for the API (fwd=uri-miss; stored); the second is an immediate hit.

  curl -i http://{proxy}/quotes/EURUSD
      The API sends no caching fields: fresh for cache_default_ttl. Until then \"served\" does not change.

  curl -i -H 'Authorization: Bearer alice' http://{proxy}/accounts/42
      A response to a request with a credential is not stored (detail=authorization): \"served\" counts up.

  curl -i http://{proxy}/rates/EURUSD
      A route keeps this path for ten minutes; the API states nothing.

  curl -i -X POST http://{proxy}/rates/EURUSD
      A write. Its route purges the stored rate before the answer: the next GET has the new one.

  {program} explain{token} http://{proxy}/quotes/EURUSD
      The rules that decide about the request, each with its clause.
{operators}
  There are also /private and /broken (invalid JSON). Ctrl-C stops the demo.
"
        )
    }

    /// Serves until SIGTERM or SIGINT; hands any other signal to `ignore` by its name. Returns
    /// `false` if a worker died.
    pub fn serve_until(self, signals: ShutdownSignals, ignore: impl Fn(&str)) -> bool {
        let well = self.proxy.serve_until(signals, &ProcessControl::default(), ignore);
        self.shutdown.begin();
        self.api.join().is_ok() && well
    }
}
