//! The table of settings: the one source of flags, environment names, `--help`, `.env.example` and
//! the README.
//!
//! A row is a setting's name, the form of its value, its default as an operator would write it, and
//! a help text. `settings.rs` resolves the values.

/// A row of the table.
#[derive(Debug)]
pub(super) struct Setting {
    /// The name in lower case with `_`. The names of the flag and of the variable follow from it.
    pub(super) text: &'static str,
    /// The heading of its group in `--help` and in the documents.
    pub(super) group: &'static str,
    pub(super) form: ValueForm,
    /// The value that applies if no source sets one.
    pub(super) default: &'static str,
    /// The help text: one to four sentences for an operator.
    pub(super) help: &'static str,
}

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueForm {
    /// A URL. It may carry a password, so output masks it.
    Url,
    Address,
    Duration,
    Size,
    Number,
    /// A percentage, with or without `%`.
    Percent,
    /// `true` or `false`.
    Switch,
    /// Items separated by commas; may be empty.
    List,
    /// A path; may be empty.
    File,
    /// The path of a URL; may be empty.
    Path,
    Text,
    /// A secret, which output masks; may be empty.
    Secret,
    /// One of a few words.
    Choice(&'static str),
}

impl ValueForm {
    /// Returns the placeholder of the value in `--help`.
    pub(super) const fn metavar(self) -> &'static str {
        match self {
            Self::Url => "URL",
            Self::Address => "ADDRESS",
            Self::Duration => "DURATION",
            Self::Size => "SIZE",
            Self::Number => "NUMBER",
            Self::Percent => "PERCENT",
            Self::Switch => "true|false",
            Self::List => "LIST",
            Self::File => "FILE",
            Self::Path => "PATH",
            Self::Text => "TEXT",
            Self::Secret => "SECRET",
            Self::Choice(words) => words,
        }
    }
}

macro_rules! settings {
    ($($group:literal { $($name:ident $text:literal $form:expr, $default:literal, $help:literal;)+ })+) => {
        /// Every setting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name { $($(#[doc = concat!("`", $text, "`")] $name,)+)+ }

        impl Name {
            /// Every setting in the order of the table, group by group.
            pub(super) const ALL: &'static [Self] = &[$($(Self::$name,)+)+];

            /// Returns its row.
            pub(super) const fn setting(self) -> &'static Setting {
                match self {
                    $($(Self::$name => &Setting {
                        text: $text, group: $group, form: $form, default: $default, help: $help,
                    },)+)+
                }
            }
        }
    };
}

settings! {
    "Listening" {
        ListenAddr "listen_addr" ValueForm::Address, "127.0.0.1:8000",
            "Address and port for clients. `[::]:8000` accepts IPv6 and IPv4. `unix:/path` is a unix socket (`?mode=660`), whose clients count as one at `127.0.0.1`.";
        ListenBacklog "listen_backlog" ValueForm::Number, "4096",
            "Connections that the kernel queues before they are accepted, at most `net.core.somaxconn`. When it is full, clients retry after about a second (SYN retransmission).";
        ListenReusePort "listen_reuse_port" ValueForm::Switch, "false",
            "Sets `SO_REUSEPORT`, so that a new process can listen before this one stops. Both must set it.";
        MaxConnections "max_connections" ValueForm::Number, "16384",
            "Maximum open client connections; further ones wait in the backlog.";
        MaxConnectionsPerAddress "max_connections_per_address" ValueForm::Number, "4096",
            "Maximum open connections per IPv4 address or IPv6 /64; further ones are closed. `0` disables the limit, as needed behind a load balancer.";
        MaxPendingRequests "max_pending_requests" ValueForm::Number, "8192",
            "Maximum requests that wait for Redis or the origin. Further ones get a stale response or 503; memory hits are not counted.";
        MaxRequestsPerAddress "max_requests_per_address" ValueForm::Number, "1024",
            "Maximum concurrent requests per IPv4 address or IPv6 /64, tunnels included. Further ones get a stale response or 503. `0` disables the limit, as needed behind a load balancer that is not in `trusted_proxies`.";
        MaxAnswerMemory "max_answer_memory" ValueForm::Size, "512MiB",
            "Maximum bytes of stored responses above 16 KiB that clients have not read. Beyond it, the oldest answers of the client address that holds the most are cut.";
        MaxBodyMemory "max_body_memory" ValueForm::Size, "256MiB",
            "Maximum memory for the bodies of all running fetches. Beyond it, bodies are streamed and not stored.";
        ClientHeadTimeout "client_head_timeout" ValueForm::Duration, "10s",
            "Maximum time for a client to send a request head.";
        ClientBodyTimeout "client_body_timeout" ValueForm::Duration, "60s",
            "Maximum time for which a client may stall a response. Reading less than 256 bytes a second counts as stalling. The response is then cut.";
        ClientIdleTimeout "client_idle_timeout" ValueForm::Duration, "75s",
            "Maximum idle time of a client connection between requests. Set it longer than the idle time of a load balancer in front, which often is 60s.";
        TunnelIdleTimeout "tunnel_idle_timeout" ValueForm::Duration, "10m",
            "Maximum time without data in either direction on an upgraded connection, such as a WebSocket.";
        DrainTimeout "drain_timeout" ValueForm::Duration, "30s",
            "Maximum time to finish accepted requests after SIGTERM or SIGINT.";
        DrainDelay "drain_delay" ValueForm::Duration, "0s",
            "Time after SIGTERM or SIGINT for which `ready_path` answers 503 while the process still accepts connections, so that load balancers turn away first. A second signal ends it.";
        HealthPath "health_path" ValueForm::Path, "/health",
            "Path of the health check on `listen_addr`. Empty passes the path to the API.";
        ReadyPath "ready_path" ValueForm::Path, "/ready",
            "Path on `listen_addr` that answers 200 while the process should get requests, and 503 during its start and its drain. Empty passes the path to the API.";
        AdminAddr "admin_addr" ValueForm::Address, "127.0.0.1:8001",
            "Address and port, or unix socket (`unix:/path?mode=660`), for operators: metrics, health, purge, entries, stats. `off` disables it. Keep it unreachable for clients.";
        AdminToken "admin_token" ValueForm::Secret, "",
            "Token for `admin_addr`, sent as `Authorization: Bearer`. Without it, only this machine may purge and inspect.";
        AdminTokenFile "admin_token_file" ValueForm::File, "",
            "File whose first line is `admin_token`, read at the start and by each reload.";
        PurgeAllow "purge_allow" ValueForm::List, "",
            "Addresses and networks that may send the method `PURGE` to `listen_addr`. If empty, `PURGE` is passed to the origin.";
        WorkerThreads "worker_threads" ValueForm::Number, "auto",
            "Number of worker threads; `auto` starts one per core.";
        ProxyProtocol "proxy_protocol" ValueForm::Choice("off|require"), "off",
            "With `require`, each connection from `trusted_proxies` begins with a header of the PROXY protocol (version 1 or 2), which states the client's address. Connections from other addresses have none.";
        TlsCertFile "tls_cert_file" ValueForm::List, "",
            "PEM files of certificates, each with its intermediate certificates. With one, `listen_addr` speaks TLS 1.2 and 1.3 only. The client's server name selects among several; the first is the default.";
        TlsKeyFile "tls_key_file" ValueForm::List, "",
            "PEM files of the private keys of `tls_cert_file`, in the same order, without passphrase.";
        TlsClientAuth "tls_client_auth" ValueForm::Choice("off|request|require"), "off",
            "Requests a client certificate (`request`), or refuses a client without one (`require`). A certificate of other authorities is refused. With either word, no TLS session is resumed.";
        TlsClientCaFile "tls_client_ca_file" ValueForm::File, "",
            "PEM file of the certificate authorities of clients.";
        TlsClientCredential "tls_client_credential" ValueForm::Switch, "true",
            "Treats a client certificate as a credential, like `Authorization`: a response is shared only if it explicitly allows it. `false` fits where the certificate admits a client and selects no response.";
        TlsHandshakeTimeout "tls_handshake_timeout" ValueForm::Duration, "10s",
            "Maximum time for a client to complete the TLS handshake.";
    }
    "Origin" {
        OriginUrl "origin_url" ValueForm::Url, "http://localhost:8080",
            "URL of the API: `http://` or `https://`, optionally with a base path, or `unix:///path` for a unix socket.";
        OriginPreserveHost "origin_preserve_host" ValueForm::Switch, "false",
            "Sends the client's `Host` to the origin instead of the host of `origin_url`.";
        OriginCaFile "origin_ca_file" ValueForm::File, "",
            "PEM file of certificate authorities for an `https://` origin. If empty, the system's apply.";
        OriginClientCertFile "origin_client_cert_file" ValueForm::File, "",
            "PEM file of the client certificate for an `https://` origin, with its intermediate certificates.";
        OriginClientKeyFile "origin_client_key_file" ValueForm::File, "",
            "PEM file of the private key of `origin_client_cert_file`.";
        OriginServerName "origin_server_name" ValueForm::Text, "auto",
            "Name in the certificate of an `https://` origin, also sent as the TLS server name. `auto` is the host of `origin_url`.";
        OriginConnectTimeout "origin_connect_timeout" ValueForm::Duration, "2s",
            "Maximum time to resolve the origin, connect, and negotiate TLS.";
        OriginHeadTimeout "origin_head_timeout" ValueForm::Duration, "30s",
            "Maximum time until the origin begins its response.";
        OriginBodyTimeout "origin_body_timeout" ValueForm::Duration, "30s",
            "Maximum time without progress of a request or response body.";
        OriginIdleTimeout "origin_idle_timeout" ValueForm::Duration, "60s",
            "Maximum idle time of a pooled origin connection. A shorter `Keep-Alive: timeout` of the origin wins.";
        OriginConnectionMaxAge "origin_connection_max_age" ValueForm::Duration, "5m",
            "Maximum age of a pooled origin connection, less a random part of up to a quarter; `0` for no bound.";
        OriginMaxConnections "origin_max_connections" ValueForm::Number, "4096",
            "Maximum origin connections of all workers. An adaptive limit may lie below it; requests beyond either limit queue.";
        OriginQueueTimeout "origin_queue_timeout" ValueForm::Duration, "500ms",
            "Maximum time in the queue for the origin before a request is refused; `0` disables the queue.";
        OriginRewriteLocation "origin_rewrite_location" ValueForm::Switch, "true",
            "Replaces the address of `origin_url` in `Location`, `Content-Location`, `Link` and `Refresh` by the one that the client asked by, and removes its base path, also from links without an address.";
        Via "via" ValueForm::Switch, "true",
            "Names this proxy in `Via`, with a part for each process, and refuses a request that has come back with 508. nginx compresses no response to a request with `Via` unless `gzip_proxied any` is set.";
        TrustedProxies "trusted_proxies" ValueForm::List, "",
            "Addresses and networks whose `X-Forwarded-*` is trusted, such as `10.0.0.0/8`. From other clients it is dropped.";
    }
    "Redis" {
        RedisUrl "redis_url" ValueForm::Url, "redis://localhost:6379",
            "`redis://[user:password@]host[:port][/database]`, `unix:///path?db=1`, `redis+sentinel://host:port,host:port/master` or `redis+cluster://host:port,host:port`. `rediss` selects TLS. `off` runs on memory alone.";
        RedisPasswordFile "redis_password_file" ValueForm::File, "",
            "File whose first line is the password, read again for each connection. Use it instead of a password in `redis_url`.";
        RedisCaFile "redis_ca_file" ValueForm::File, "",
            "PEM file of certificate authorities for Redis over TLS. If empty, the system's apply.";
        RedisClientCertFile "redis_client_cert_file" ValueForm::File, "",
            "PEM file of the client certificate for Redis over TLS, with its intermediate certificates.";
        RedisClientKeyFile "redis_client_key_file" ValueForm::File, "",
            "PEM file of the private key of `redis_client_cert_file`.";
        RedisReadFromReplicas "redis_read_from_replicas" ValueForm::Switch, "false",
            "Reads from the replicas of a Cluster, which may lag behind their master.";
        RedisPoolSize "redis_pool_size" ValueForm::Number, "20",
            "Redis connections of all workers, at least one per worker.";
        RedisTimeout "redis_timeout" ValueForm::Duration, "50ms",
            "Maximum time that a request waits for Redis before it proceeds without; shorter while Redis is usually faster.";
        RedisHedge "redis_hedge" ValueForm::Percent, "2%",
            "Share of reads that may be repeated on another connection when their reply is late; `0` disables it.";
        RedisConnectTimeout "redis_connect_timeout" ValueForm::Duration, "2s",
            "Maximum time to connect to Redis and log in.";
        RedisStartTimeout "redis_start_timeout" ValueForm::Duration, "1s",
            "Maximum time for which a start waits for the first connection to Redis, because responses before it are not stored. `0` waits for none.";
        RedisKeyPrefix "redis_key_prefix" ValueForm::Text, "cachewarp:",
            "Prefix of every Redis key and channel, for a database shared with other programs.";
        CacheNamespace "cache_namespace" ValueForm::Text, "auto",
            "Namespace behind `redis_key_prefix`; its nodes share entries and purges. `auto` derives it from `origin_url`, spelled alike on all nodes. Otherwise a name of 1 to 64 letters, digits, `-`, `.` and `_`. Required if the origin is local and Redis is not.";
        PurgeStream "purge_stream" ValueForm::Text, "off",
            "Redis Stream whose messages are purge orders, by its exact name, without `redis_key_prefix`: `XADD cachewarp:purges * tag account:17`. One node of each namespace takes each message, purges on every node and acknowledges it. `off` reads none.";
        EntryKeyFile "entry_key_file" ValueForm::File, "",
            "File with the keys that seal the entries in Redis (AES-256-GCM-SIV): a line `id:key` each, with a key from `openssl rand -base64 32`. The first key seals, and all open. The file is read again when it changes; nodes with other keys do not confirm purges.";
        NameKeyFile "name_key_file" ValueForm::File, "",
            "File with the key of the names in Redis and of the messages between nodes: one line `id:key`, as in `entry_key_file`, which it needs. Redis then shows no hash of a URL or a tag that a reader could guess. A change needs a restart of all nodes and empties the cache; nodes with other keys do not confirm purges.";
        EntryCompression "entry_compression" ValueForm::Choice("zstd|off"), "zstd",
            "Compression of entries in Redis: zstd at level 1, from 1 KiB on, if it saves a tenth. Memory holds the response as it is served.";
        NodeName "node_name" ValueForm::Text, "node",
            "Name of this node in Redis for the list of `cache_warm_keys`. Nodes with one name share a list. The answer to a purge shows it, or, with the default, the host name and port.";
    }
    "Cache" {
        RoutesFile "routes_file" ValueForm::File, "",
            "TOML file with caching rules per host, method and path; `examples/routes.toml` shows every member. `cachewarp check` lists the routes, and `cachewarp routes METHOD URL` the one of a request.";
        CacheDefaultTtl "cache_default_ttl" ValueForm::Duration, "30s",
            "Lifetime of a response whose freshness the origin does not state; `0` disables it.";
        CacheNegativeTtl "cache_negative_ttl" ValueForm::Duration, "0s",
            "Lifetime of a `404` or `410` whose freshness the origin does not state; `0` gives none, so that only `cache_statuses=*` stores one, by `Last-Modified`.";
        CacheStaleWhileRevalidate "cache_stale_while_revalidate" ValueForm::Duration, "0s",
            "Default `stale-while-revalidate` (RFC 5861): time past its lifetime for which a response is served during a refresh.";
        CacheStaleIfError "cache_stale_if_error" ValueForm::Duration, "0s",
            "Default `stale-if-error` (RFC 5861): time past its lifetime for which a response replaces an error.";
        StaleDespiteSMaxage "stale_despite_s_maxage" ValueForm::Switch, "false",
            "Lets a response with `s-maxage` be served stale as one with `max-age` is: during its `stale-while-revalidate` and `stale-if-error`. RFC 9111 §5.2.2.10 forbids it, because `s-maxage` implies `proxy-revalidate`.";
        IgnoreClientCacheControl "ignore_client_cache_control" ValueForm::Switch, "false",
            "Ignores `no-cache`, `max-age`, `min-fresh` and `Pragma` of clients (RFC 9111 §5.2.1), so that no client forces a request to the origin.";
        CacheTtlJitter "cache_ttl_jitter" ValueForm::Percent, "0%",
            "Maximum random reduction of a lifetime, so that responses stored together expire apart.";
        CacheEarlyRefresh "cache_early_refresh" ValueForm::Percent, "0%",
            "Strength of random background refreshes before expiry (XFetch); `100%` is usual, `0` disables them.";
        CacheMaxBody "cache_max_body" ValueForm::Size, "1MiB",
            "Maximum size of a stored body. Larger bodies are streamed and not stored.";
        CacheContentTypes "cache_content_types" ValueForm::List, "application/json,+json",
            "Media types and `+suffixes` that may be stored; `*` allows all, and gives those that state no freshness a lifetime by `Last-Modified` (RFC 9111 §4.2.2), unless `cache_default_ttl` is `0`.";
        CacheStatuses "cache_statuses" ValueForm::List, "200",
            "Statuses that may be stored; `*` allows all that HTTP permits, and gives those that state no freshness a lifetime by `Last-Modified` (RFC 9111 §4.2.2).";
        UnstoredHeaders "unstored_headers" ValueForm::List, "",
            "Response headers that describe one exchange, such as `x-request-id`. The client of the fetch gets them; a stored response does not have them. RFC 9111 §3.1 lets a cache omit none.";
        TagHeaders "tag_headers" ValueForm::List, "cache-tag,surrogate-key",
            "Response headers that carry purge tags, beside `Cache-Groups`. A response with too many tags is not stored.";
        TagHeadersVisible "tag_headers_visible" ValueForm::Switch, "false",
            "Passes the headers with tags on to clients.";
        KeyHeaders "key_headers" ValueForm::List, "",
            "Request headers in the cache key, such as `x-tenant-id`. Each value has its own response; the origin receives them.";
        HarmlessHeaders "harmless_headers" ValueForm::List, "",
            "Request headers that do not change the response, beside those in HEADERS.md. Requests with them use the cache; shared fetches omit them.";
        CredentialHeaders "credential_headers" ValueForm::List, "",
            "Request headers that carry a credential, such as `x-session`, beside `Authorization`, `Cookie`, `X-Api-Key` and the others in HEADERS.md, which always do.";
        IgnoredCookies "ignored_cookies" ValueForm::List, "",
            "Cookies that are not credentials, such as `theme,_ga*`; `*` for all. If a request has no others, a shared fetch omits them. If a response sets no others, it is stored without them.";
        CacheMemorySize "cache_memory_size" ValueForm::Size, "64MiB",
            "Maximum size of the memory tier; `0` disables it.";
        CacheMemoryTtl "cache_memory_ttl" ValueForm::Duration, "1s",
            "Time for which memory serves an entry without Redis if Redis cannot send invalidations.";
        MemoryAloneMax "memory_alone_max" ValueForm::Duration, "5m",
            "Time for which memory serves an entry while Redis is unreachable, after the last contact or the receipt of the entry; `0` serves none. A node that crashes is missing in the confirmation of purges for as long.";
        CacheAdmissionBudget "cache_admission_budget" ValueForm::Size, "64MiB",
            "Bytes per minute to store for keys requested for the first time. Beyond it, a response is stored at its second miss. `0`: always at the second miss.";
        CacheWarmKeys "cache_warm_keys" ValueForm::Number, "0",
            "Number of popular keys that Redis remembers and a restarted node loads into memory before it accepts; `0` disables it.";
        CollapseTimeout "collapse_timeout" ValueForm::Duration, "5s",
            "Maximum time that a request waits for another request's fetch of one resource. Then one waiting request begins a further fetch, and all take the response that comes first.";
        OnWriteRate "on_write_rate" ValueForm::Number, "1000",
            "Writes per second of a node whose answers wait until every node has confirmed their purge (`wait` of a route). Further writes purge without waiting.";
        QueryBodyMax "query_body_max" ValueForm::Size, "64KiB",
            "Largest content of a `QUERY` (RFC 10008) whose response is cached; a larger one passes through. `0`: each passes.";
        FetchLease "fetch_lease" ValueForm::Choice("off|on|adaptive"), "adaptive",
            "Shares one fetch among the nodes of one Redis: `off`, `on`, or `adaptive` for resources that were slow to fetch.";
    }
    "Logs and explanations" {
        LogFormat "log_format" ValueForm::Choice("human|json"), "human",
            "Format of log lines on standard error.";
        LogLevel "log_level" ValueForm::Text, "info",
            "Level: `error`, `warn`, `info`, `debug`, `trace` or `off`; or a filter such as `info,cachewarp::redis=debug`.";
        AccessLog "access_log" ValueForm::Choice("off|json|text"), "off",
            "Writes one line for each request to standard output: `json` with OpenTelemetry's attribute names, or `text` for people. A slow reader delays no request; lines that it leaves are dropped and counted.";
        AccessLogPath "access_log_path" ValueForm::Choice("route|path|full"), "route",
            "Part of the target in a line: the `route` that matched (the path if none did), the `path`, or `full` with the query, which may carry tokens.";
        RequestIdHeader "request_id_header" ValueForm::Text, "x-request-id",
            "Header with the id of a request: the access log shows it, the origin receives it, and the answer has it. Peers in `trusted_proxies` may state an id; other requests get a new one. No id is stored. `off` disables it.";
        SlowLogThreshold "slow_log_threshold" ValueForm::Duration, "0",
            "Duration up to the last byte from which a request causes a warning with its timings, at most ten a second for each worker; `0` disables it.";
        OtlpEndpoint "otlp_endpoint" ValueForm::Url, "off",
            "URL of an OpenTelemetry collector that takes traces over OTLP/HTTP, such as `http://localhost:4318`; without a path, `/v1/traces` is meant. `off` sends none.";
        TraceSample "trace_sample" ValueForm::Percent, "1%",
            "Share of requests that are traced. A valid `traceparent` of the client decides for its request instead.";
        ExplainToken "explain_token" ValueForm::Secret, "",
            "Token that a client sends as `CacheWarp-Explain` to receive an explanation; `cachewarp explain` uses it. If empty, explanations are off.";
        ExplainTokenFile "explain_token_file" ValueForm::File, "",
            "File whose first line is `explain_token`, read at the start.";
    }
}

/// The old names of settings, which are refused.
pub(super) const RENAMED: [(&str, Name); 6] = [
    ("listen_handover", Name::ListenReusePort),
    ("max_requests", Name::MaxPendingRequests),
    ("tags_shown", Name::TagHeadersVisible),
    ("ordinary_cookies", Name::IgnoredCookies),
    ("cache_first_sight_size", Name::CacheAdmissionBudget),
    ("coalesce_timeout", Name::CollapseTimeout),
];

impl Name {
    /// Returns the setting that has this old name, in lower case.
    pub(super) fn renamed(old: &str) -> Option<Self> {
        RENAMED.iter().find(|(text, _)| *text == old).map(|(_, name)| *name)
    }

    /// Returns the name in lower case: `redis_url`.
    pub(super) const fn as_str(self) -> &'static str {
        self.setting().text
    }

    /// Returns the name of the flag without `--`: `redis-url`.
    pub(super) fn flag(self) -> String {
        self.as_str().replace('_', "-")
    }

    /// Returns the name of the variable: `REDIS_URL`.
    pub(super) fn variable(self) -> String {
        self.as_str().to_ascii_uppercase()
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let names: HashSet<_> = Name::ALL.iter().map(|name| name.as_str()).collect();
        assert_eq!(names.len(), Name::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
    }

    #[test]
    fn a_setting_has_three_spellings() {
        let name = Name::CacheDefaultTtl;
        assert_eq!(name.to_string(), "cache_default_ttl");
        assert_eq!(name.flag(), "cache-default-ttl");
        assert_eq!(name.variable(), "CACHE_DEFAULT_TTL");
    }

    #[test]
    fn every_row_has_a_help_sentence() {
        for name in Name::ALL {
            let help = name.setting().help;
            assert!(help.ends_with('.') && help.len() > 20 && !help.contains(['|', '\n']), "{name}: {help}");
        }
    }
}
