//! Resolved settings: the options of each module, from the text of the settings.
//!
//! The resolver notes an invalid value and goes on with its default, so that one report has all
//! errors. After any error no settings are returned, so that default is never used.
//!
//! Limits of the whole process are split over the workers here. No worker needs to know the number
//! of workers.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use ipnet::IpNet;

use crate::client_address::TrustedProxies;
use crate::config::reporting::error::ConfigError;
use crate::config::reporting::located::LocatedError;
use crate::config::reporting::warnings::ConfigWarning;
use crate::config::resolve::resolver::{FileChecks, Resolver};
use crate::config::resolve::values;
use crate::config::resolve::workers::{WorkerSettings, WorkerShare};
use crate::config::sources::raw::RawSettings;
use crate::config::table::Name;
use crate::config::urls;
use crate::key::NameKey;
use crate::limits::{
    ADMIN_CONNECTIONS_MAX, ADMIN_CONNECTIONS_PER_ADDRESS_MAX, ADMIN_READ_TIMEOUT, BACKLOG_MAX,
    CONNECTIONS_MAX, CONNECTIONS_USUAL, MEMORY_BYTES_MAX, ON_WRITE_RATE_MAX, QUERY_BODY_BYTES_MAX,
    TIMEOUT_MAX, TIMEOUT_MIN, WARM_KEYS_MAX, WORKERS_MAX, entry_bytes_max,
};
use crate::origin::{AddressShare, HostField, LinkRewrite, ViaName};
use crate::proxy::FetchLease;
use crate::readiness::Readiness;
use crate::request_id::RequestIdOptions;
use crate::routes::RouteTable;
use crate::secret::SharedSecret;
use crate::store::CompressionPolicy;
use crate::telemetry::access::{AccessFormat, AccessLogOptions, LoggedPath};
use crate::telemetry::log;
use crate::telemetry::trace::TraceOptions;
use crate::{admin, origin, policy, proxy, purge_stream, redis, server, store};

/// The options of every module, for the composition root.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address for clients, one for all workers.
    pub listen_addr: SocketAddr,
    /// The settings of each worker, with its part of the process' limits; at least one.
    pub workers: Vec<WorkerSettings>,
    /// The listener for operators, if there is one. One worker runs it, so it is not split.
    pub admin: Option<server::Options>,
    /// The rights of operators.
    pub operators: admin::Options,
    /// The rules for storing and reuse.
    pub rules: policy::CacheRules,
    /// The rules for paths, if there is a routes file.
    pub routes: Option<Arc<RouteTable>>,
    /// The tiers. All workers share the memory tier.
    pub store: store::Options,
    /// The options of the proxy.
    pub proxy: proxy::Options,
    /// The time between the signal and the drain.
    pub drain_delay: Duration,
    /// The time for which a start waits for the first connection to Redis.
    pub redis_start_timeout: Duration,
    /// The stream of purges, if the nodes read one.
    pub purge_stream: Option<purge_stream::Options>,
    /// The options of the log.
    pub log: log::Options,
    /// The options of the access log.
    pub access_log: AccessLogOptions,
    /// The options of traces.
    pub traces: TraceOptions,
}

impl Settings {
    /// Returns the maximum number of open connections to clients, operators, Redis and the origin.
    /// Several Redis servers may add some.
    pub fn connections_max(&self) -> usize {
        let of_worker = |worker: &WorkerSettings| {
            let redis = worker.redis.as_ref().map_or(0, |redis| redis.server.connections);
            worker.server.connections_max + worker.origin.connections_max + redis
        };
        let operators = self.admin.as_ref().map_or(0, |admin| admin.connections_max);
        self.workers.iter().map(of_worker).sum::<usize>() + operators
    }

    /// Lowers the connections to clients and to the origin until all connections fit into this
    /// many. Redis and operators keep theirs, and the origin at least a half of the rest, so that a
    /// process full of clients still reaches them. Returns a warning, unless only the default of
    /// `max_connections` is lowered, and not far.
    pub fn fit(&mut self, connections: usize) -> Option<ConfigWarning> {
        let sum = |of: fn(&WorkerSettings) -> usize| self.workers.iter().map(of).sum::<usize>();
        let clients = sum(|worker| worker.server.connections_max);
        let origin = sum(|worker| worker.origin.connections_max);
        let others = self.connections_max() - clients - origin;
        let room = connections.saturating_sub(others);
        if clients + origin <= room {
            return None;
        }
        let to_origin = origin.min(room / 2);
        let of_clients = clients.min(room - to_origin);
        let workers = self.workers.len();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let share = WorkerShare { workers, index };
            worker.server.connections_max = share.of(of_clients);
            worker.origin.connections_max = share.of(to_origin);
        }
        let is_default = Name::MaxConnections.setting().default.parse() == Ok(clients);
        let is_usual = is_default && to_origin == origin && of_clients >= CONNECTIONS_USUAL;
        (!is_usual).then_some(ConfigWarning::FewerDescriptors { clients: of_clients, origin: to_origin })
    }
}

/// The result of resolving the raw settings.
pub(in crate::config) struct ResolvedSettings {
    /// The settings, or every error.
    pub(in crate::config) settings: Result<Settings, Vec<LocatedError>>,
    pub(in crate::config) warnings: Vec<ConfigWarning>,
}

/// Resolves the raw settings on a machine with `cores` cores.
pub(in crate::config) fn resolve(raw: &RawSettings, cores: usize, files: FileChecks) -> ResolvedSettings {
    let mut resolver = Resolver::of(raw, files);
    let settings = resolver.settings(cores);
    let Resolver { errors, warnings, .. } = resolver;
    let settings = settings.filter(|_| errors.is_empty()).ok_or(errors);
    ResolvedSettings { settings, warnings }
}

/// The limits of a time that zero disables.
const FROM_ZERO: RangeInclusive<Duration> = Duration::ZERO..=TIMEOUT_MAX;
/// The values of `fetch_lease`.
const FETCH_LEASES: [(&str, FetchLease); 3] =
    [("off", FetchLease::Off), ("on", FetchLease::On), ("adaptive", FetchLease::Adaptive)];
/// The values of `entry_compression`.
const COMPRESSIONS: [(&str, CompressionPolicy); 2] =
    [("zstd", CompressionPolicy::Zstd), ("off", CompressionPolicy::Off)];
/// The limits of a time-out that cannot be disabled.
const TIMEOUT: RangeInclusive<Duration> = TIMEOUT_MIN..=TIMEOUT_MAX;

/// The methods return `None` only if a default in the table is invalid, which a test rules out.
impl Resolver<'_> {
    fn settings(&mut self, cores: usize) -> Option<Settings> {
        let trusted_proxies = self.take(Name::TrustedProxies, values::networks)?;
        let request_ids = self.request_ids(&trusted_proxies)?;
        let id_header = request_ids.as_ref().map(|ids| ids.header.clone());
        let proxied = self.proxied(&trusted_proxies)?;
        let server = self.server(proxied, request_ids)?;
        let admin = self.admin(&server)?;
        let readiness = Readiness::default();
        let operators = self.operators(admin.as_ref(), readiness.clone())?;
        let workers = self.take(Name::WorkerThreads, |text| match text {
            "auto" => Ok(cores.clamp(1, WORKERS_MAX)),
            number => values::number(number, 1..=WORKERS_MAX),
        })?;
        let requests_per_address_max = self.bound(Name::MaxRequestsPerAddress)?;
        let origin = self.origin(requests_per_address_max, trusted_proxies, id_header.clone())?;
        self.check_addresses(&server, admin.as_ref(), &origin);
        let redis = self.redis()?;
        self.check_files(&server, &origin, redis.as_ref());
        let traces = self.traces()?;
        let name_key = self.name_key()?;
        let rules = self.rules(id_header.as_ref(), &traces, name_key.clone())?;
        let routes = self.routes()?;
        self.check_request_id_of_routes(id_header.as_ref(), routes.as_deref());
        let body_bytes_max = RouteTable::largest_body(routes.as_deref(), rules.body_bytes_max);
        let value_bytes_max = entry_bytes_max(body_bytes_max);
        let redis = redis.map(|deployment| redis::Deployment {
            server: redis::Options { value_bytes_max, ..deployment.server },
            ..deployment
        });
        let namespace = self.namespace(&origin, redis.as_ref())?;
        let purge_stream = self.purge_stream(redis.as_ref())?;
        let settings = Settings {
            listen_addr: server.addr,
            admin,
            operators,
            store: self.store(body_bytes_max, namespace, name_key)?,
            rules,
            routes,
            proxy: self.proxy(requests_per_address_max, readiness)?,
            drain_delay: self.duration(Name::DrainDelay, FROM_ZERO)?,
            redis_start_timeout: self.duration(Name::RedisStartTimeout, FROM_ZERO)?,
            purge_stream,
            log: self.log()?,
            access_log: self.access_log()?,
            traces,
            workers: (0..workers)
                .map(|index| WorkerShare { workers, index }.worker(&server, redis.as_ref(), &origin))
                .collect(),
        };
        self.check_shares(
            workers,
            [
                (Name::MaxConnections, server.connections_max),
                (Name::OriginMaxConnections, origin.connections_max),
                (Name::RedisPoolSize, redis.map_or(usize::MAX, |redis| redis.server.connections)),
            ],
        );
        Some(settings)
    }

    fn server(
        &mut self,
        proxied: Option<TrustedProxies>,
        request_ids: Option<RequestIdOptions>,
    ) -> Option<server::Options> {
        let (addr, socket) = self.take(Name::ListenAddr, values::listen_address)?;
        let tls = self.listener_tls()?;
        if socket.is_some() && tls.is_some() {
            self.note(Name::TlsCertFile, ConfigError::TlsOnSocket);
        }
        Some(server::Options {
            addr,
            socket,
            sharing: self.take(Name::ListenReusePort, |text| {
                values::switch(text, server::AddressSharing::Handover, server::AddressSharing::Alone)
            })?,
            backlog: u32::try_from(self.number(Name::ListenBacklog, 1..=BACKLOG_MAX)?).ok()?,
            connections_max: self.number(Name::MaxConnections, 1..=CONNECTIONS_MAX)?,
            connections_per_address_max: self.bound(Name::MaxConnectionsPerAddress)?,
            when_full: server::WhenFull::Wait,
            tls,
            proxied,
            request_ids,
            head_timeout: self.duration(Name::ClientHeadTimeout, TIMEOUT)?,
            body_timeout: self.duration(Name::ClientBodyTimeout, TIMEOUT)?,
            idle_timeout: self.duration(Name::ClientIdleTimeout, TIMEOUT)?,
            drain_timeout: self.duration(Name::DrainTimeout, FROM_ZERO)?,
        })
    }

    /// Reads a limit that zero disables.
    fn bound(&mut self, name: Name) -> Option<Option<usize>> {
        self.number(name, 0..=CONNECTIONS_MAX).map(|most| (most > 0).then_some(most))
    }

    /// Returns the options of the admin listener: those of the client listener with lower limits.
    fn admin(&mut self, server: &server::Options) -> Option<Option<server::Options>> {
        let address = self.take(Name::AdminAddr, values::listen_address_or_off)?;
        Some(address.map(|(addr, socket)| server::Options {
            addr,
            connections_max: ADMIN_CONNECTIONS_MAX,
            connections_per_address_max: None,
            tls: None,
            proxied: None,
            request_ids: None,
            when_full: server::WhenFull::CloseSilent {
                // All operators of a unix socket have one address.
                per_address: match &socket {
                    Some(_) => ADMIN_CONNECTIONS_MAX,
                    None => ADMIN_CONNECTIONS_PER_ADDRESS_MAX,
                },
            },
            socket,
            body_timeout: server.body_timeout.min(ADMIN_READ_TIMEOUT),
            ..server.clone()
        }))
    }

    /// Returns the rights of operators. An admin listener that other machines reach is no error:
    /// they may need `/health` and `/metrics`.
    fn operators(&mut self, admin: Option<&server::Options>, readiness: Readiness) -> Option<admin::Options> {
        let token = self.secret(Name::AdminToken, Name::AdminTokenFile)?;
        let addr = admin.map(|admin| admin.addr).filter(|addr| !addr.ip().to_canonical().is_loopback());
        if let (Some(addr), None) = (addr, &token) {
            self.warnings.push(ConfigWarning::AdminWithoutToken { addr });
        }
        Some(admin::Options { token: SharedSecret::new(token), readiness })
    }

    fn origin(
        &mut self,
        requests_per_address_max: Option<usize>,
        trusted_proxies: Vec<IpNet>,
        request_id_header: Option<HeaderName>,
    ) -> Option<origin::Options> {
        let url = self.take(Name::OriginUrl, urls::origin)?;
        Some(origin::Options {
            scheme: url.scheme,
            authority: url.authority,
            addresses: match &url.socket {
                Some(_) => origin::OriginAddresses::of_socket(),
                None => origin::OriginAddresses::default(),
            },
            socket: url.socket,
            base_path: url.base_path,
            host: self.take(Name::OriginPreserveHost, |text| {
                values::switch(text, HostField::Client, HostField::Origin)
            })?,
            ca_file: self.file(Name::OriginCaFile)?,
            identity: self.identity(Name::OriginClientCertFile, Name::OriginClientKeyFile)?,
            server_name: self.take(Name::OriginServerName, values::server_name)?,
            trusted_proxies,
            connect_timeout: self.duration(Name::OriginConnectTimeout, TIMEOUT)?,
            head_timeout: self.duration(Name::OriginHeadTimeout, TIMEOUT)?,
            body_timeout: self.duration(Name::OriginBodyTimeout, TIMEOUT)?,
            idle_timeout: self.duration(Name::OriginIdleTimeout, TIMEOUT)?,
            connection_max_age: Some(self.duration(Name::OriginConnectionMaxAge, FROM_ZERO)?)
                .filter(|age| !age.is_zero()),
            connections_max: self.number(Name::OriginMaxConnections, 1..=CONNECTIONS_MAX)?,
            queue_timeout: self.duration(Name::OriginQueueTimeout, FROM_ZERO)?,
            outages: origin::OutageLog::default(),
            links: self.take(Name::OriginRewriteLocation, |text| {
                values::switch(text, LinkRewrite::On, LinkRewrite::Off)
            })?,
            via: self.take(Name::Via, |text| {
                values::switch::<fn() -> ViaName>(text, ViaName::new, ViaName::off)
            })?(),
            request_id_header,
            address_share: requests_per_address_max.map_or(AddressShare::Whole, |_| AddressShare::Bounded),
        })
    }

    fn store(
        &mut self,
        body_bytes_max: usize,
        namespace: store::Namespace,
        name_key: NameKey,
    ) -> Option<store::Options> {
        Some(store::Options {
            memory_bytes: self.size(Name::CacheMemorySize, 0..=MEMORY_BYTES_MAX)?,
            body_bytes_max,
            memory_ttl: self.duration(Name::CacheMemoryTtl, FROM_ZERO)?,
            memory_alone_max: self.duration(Name::MemoryAloneMax, FROM_ZERO)?,
            namespace,
            entry_keys: self.entry_keys()?,
            name_key,
            compression: self.take(Name::EntryCompression, |text| values::choice(text, &COMPRESSIONS))?,
            warm_keys: self.number(Name::CacheWarmKeys, 0..=WARM_KEYS_MAX)?,
            registered_name: String::new(),
            node_name: self.take(Name::NodeName, values::node_name)?,
        })
    }

    fn proxy(
        &mut self,
        requests_per_address_max: Option<usize>,
        readiness: Readiness,
    ) -> Option<proxy::Options> {
        Some(proxy::Options {
            requests_max: self.number(Name::MaxPendingRequests, 1..=CONNECTIONS_MAX)?,
            requests_per_address_max,
            body_bytes_max: self.size(Name::MaxBodyMemory, 1..=MEMORY_BYTES_MAX)?,
            answer_bytes_max: self.size(Name::MaxAnswerMemory, 1..=MEMORY_BYTES_MAX)?,
            admission_budget: self.size(Name::CacheAdmissionBudget, 0..=MEMORY_BYTES_MAX)?,
            collapse_timeout: self.duration(Name::CollapseTimeout, FROM_ZERO)?,
            on_write_rate: self.number(Name::OnWriteRate, 0..=ON_WRITE_RATE_MAX)?,
            query_body_max: self.size(Name::QueryBodyMax, 0..=QUERY_BODY_BYTES_MAX)?,
            fetch_lease: self.take(Name::FetchLease, |text| values::choice(text, &FETCH_LEASES))?,
            tunnel_idle_timeout: self.duration(Name::TunnelIdleTimeout, TIMEOUT)?,
            explain_token: self.secret(Name::ExplainToken, Name::ExplainTokenFile)?,
            probes: self.probe_paths()?,
            readiness,
            purge_allow: self.take(Name::PurgeAllow, values::networks)?,
        })
    }

    /// Resolves the options of the access log.
    fn access_log(&mut self) -> Option<AccessLogOptions> {
        Some(AccessLogOptions {
            format: self.take(Name::AccessLog, |text| {
                let (json, text_lines) = (Some(AccessFormat::Json), Some(AccessFormat::Text));
                values::choice(text, &[("off", None), ("json", json), ("text", text_lines)])
            })?,
            path: self.take(Name::AccessLogPath, |text| {
                let (route, path) = (LoggedPath::Route, LoggedPath::Path);
                values::choice(text, &[("route", route), ("path", path), ("full", LoggedPath::Full)])
            })?,
            slow_threshold: Some(self.duration(Name::SlowLogThreshold, FROM_ZERO)?)
                .filter(|threshold| !threshold.is_zero()),
        })
    }

    /// Resolves the options of the log.
    fn log(&mut self) -> Option<log::Options> {
        Some(log::Options {
            format: self.take(Name::LogFormat, |text| {
                values::choice(text, &[("human", log::LogFormat::Human), ("json", log::LogFormat::Json)])
            })?,
            filter: self.take(Name::LogLevel, values::log_filter)?,
        })
    }
}
