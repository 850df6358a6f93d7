//! The table of settings: the one source of flags, environment names, `--help`, `.env.example` and
//! the README.
//!
//! A row is a setting's name, the form of its value, its default as an operator would write it, and
//! a sentence. What a value turns into stands in `settings.rs`.

/// One row.
#[derive(Debug)]
pub(super) struct Setting {
    /// The name, in lower case with `_`: that of the flag and of the variable follow from it.
    pub(super) text: &'static str,
    /// The heading under which it stands.
    pub(super) group: &'static str,
    pub(super) form: ValueForm,
    /// What holds if nobody says anything.
    pub(super) default: &'static str,
    /// What it does, for a person.
    pub(super) help: &'static str,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueForm {
    /// May carry a password, and is masked where it is shown.
    Url,
    Address,
    Duration,
    Size,
    Number,
    /// Of a hundred, with or without the sign.
    Percent,
    /// `true` or `false`.
    Switch,
    /// Items between commas; may be empty.
    List,
    /// A path; may be empty.
    File,
    Text,
    /// Not shown; may be empty.
    Secret,
    /// One of a few words.
    Choice(&'static str),
}

impl ValueForm {
    /// The word that stands for the value in `--help`.
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
            Self::Text => "TEXT",
            Self::Secret => "SECRET",
            Self::Choice(words) => words,
        }
    }
}

macro_rules! settings {
    ($($group:literal { $($name:ident $text:literal $form:expr, $default:literal, $help:literal;)+ })+) => {
        /// Every setting there is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name { $($(#[doc = concat!("`", $text, "`")] $name,)+)+ }

        impl Name {
            /// Every setting, group by group.
            pub(super) const ALL: &'static [Self] = &[$($(Self::$name,)+)+];

            /// Its row.
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
            "Where clients connect. `[::]:8000` takes IPv6 and IPv4.";
        ListenBacklog "listen_backlog" ValueForm::Number, "4096",
            "Connections that the kernel may hold before they are accepted; no more than its `net.core.somaxconn`. Beyond it one waits a second and comes again.";
        ListenHandover "listen_handover" ValueForm::Switch, "false",
            "Whether another CacheWarp that says so too may listen on the same address: a successor, started before this one is stopped.";
        MaxConnections "max_connections" ValueForm::Number, "16384",
            "Client connections open at one time; more wait in the backlog.";
        MaxConnectionsPerAddress "max_connections_per_address" ValueForm::Number, "4096",
            "Client connections open at one time from one IPv4 address or IPv6 /64; more are closed. `0` for no bound, as behind a load balancer with few addresses.";
        MaxRequests "max_requests" ValueForm::Number, "8192",
            "Requests that may wait for Redis or the origin at one time; more get something stale or 503. Those that memory answers are not counted.";
        MaxRequestsPerAddress "max_requests_per_address" ValueForm::Number, "1024",
            "Requests of one IPv4 address or IPv6 /64 that may be under way at one time, with their answers and tunnels; more get something stale or 503. Behind `trusted_proxies`, the address is the client's. `0` for no bound, as behind any other load balancer.";
        MaxBodyMemory "max_body_memory" ValueForm::Size, "256MiB",
            "What the bodies of fetches under way may hold, all together; beyond it they stream through unstored.";
        ClientHeadTimeout "client_head_timeout" ValueForm::Duration, "10s",
            "How long a client may take to send the head of a request.";
        ClientBodyTimeout "client_body_timeout" ValueForm::Duration, "60s",
            "How long a client may take nothing of an answer; one that takes less than 256 bytes a second uses it up too. Then the answer is cut.";
        ClientIdleTimeout "client_idle_timeout" ValueForm::Duration, "60s",
            "How long a client's connection may stay without a request.";
        TunnelIdleTimeout "tunnel_idle_timeout" ValueForm::Duration, "10m",
            "How long a connection that has switched protocols, such as a WebSocket, may stand still in both directions.";
        DrainTimeout "drain_timeout" ValueForm::Duration, "30s",
            "How long accepted work may go on after SIGTERM or SIGINT.";
        AdminAddr "admin_addr" ValueForm::Address, "127.0.0.1:8001",
            "Where operators are served: metrics, health, purge, entries, stats; `off` for nowhere. Keep it away from clients.";
        AdminToken "admin_token" ValueForm::Secret, "",
            "Whoever sends it to `admin_addr` as `Authorization: Bearer` may purge and look inside; empty for this machine only.";
        PurgeAllow "purge_allow" ValueForm::List, "",
            "Addresses and networks from where the method `PURGE` is taken at `listen_addr`; where it is empty, that is passed to the origin.";
        WorkerThreads "worker_threads" ValueForm::Number, "auto",
            "Threads that serve; `auto` for one a core.";
    }
    "Origin" {
        OriginUrl "origin_url" ValueForm::Url, "http://localhost:8080",
            "The API behind this proxy: `http://` or `https://`, with a base path if it has one.";
        OriginPreserveHost "origin_preserve_host" ValueForm::Switch, "false",
            "Whether the origin sees the `Host` that the client sent; otherwise it sees its own.";
        OriginCaFile "origin_ca_file" ValueForm::File, "",
            "Certificate authorities for an `https://` origin, as PEM; empty for the system's.";
        OriginConnectTimeout "origin_connect_timeout" ValueForm::Duration, "2s",
            "How long finding the origin, connecting and TLS may take together.";
        OriginHeadTimeout "origin_head_timeout" ValueForm::Duration, "30s",
            "How long the origin may take to begin its answer.";
        OriginBodyTimeout "origin_body_timeout" ValueForm::Duration, "30s",
            "How long a body may stand still, in either direction.";
        OriginIdleTimeout "origin_idle_timeout" ValueForm::Duration, "60s",
            "How long an unused connection to the origin is kept; less where it says `Keep-Alive: timeout=…`.";
        OriginMaxConnections "origin_max_connections" ValueForm::Number, "4096",
            "Connections to the origin open at one time, shared out over the workers; requests beyond what it has shown it can do wait their turn.";
        OriginQueueTimeout "origin_queue_timeout" ValueForm::Duration, "500ms",
            "How long a request may wait for its turn at the origin before it is refused; `0` for not at all.";
        TrustedProxies "trusted_proxies" ValueForm::List, "",
            "Addresses and networks whose `X-Forwarded-*` is believed, such as `10.0.0.0/8`; from all others it is dropped.";
    }
    "Redis" {
        RedisUrl "redis_url" ValueForm::Url, "redis://localhost:6379",
            "`redis://[user:password@]host[:port][/database]`, `unix:///path?db=1`, `redis+sentinel://host:port,host:port/master`, `redis+cluster://host:port,host:port`; `rediss` in place of `redis` for TLS; `off` runs on memory alone.";
        RedisPasswordFile "redis_password_file" ValueForm::File, "",
            "A file whose first line is the password, read anew for each connection; in place of one in `redis_url`.";
        RedisCaFile "redis_ca_file" ValueForm::File, "",
            "Certificate authorities for Redis by TLS, as PEM; empty for the system's.";
        RedisClientCertFile "redis_client_cert_file" ValueForm::File, "",
            "Our own certificate for Redis by TLS, as PEM, with those between it and its authority.";
        RedisClientKeyFile "redis_client_key_file" ValueForm::File, "",
            "The private key of that certificate, as PEM.";
        RedisReadFromReplicas "redis_read_from_replicas" ValueForm::Switch, "false",
            "Whether replicas of a cluster answer reads; they may be behind their master.";
        RedisPoolSize "redis_pool_size" ValueForm::Number, "20",
            "Connections to Redis, shared out over the workers, at least one each.";
        RedisTimeout "redis_timeout" ValueForm::Duration, "50ms",
            "The most that a request waits for Redis before it goes on without; less where Redis is usually quicker.";
        RedisHedge "redis_hedge" ValueForm::Percent, "2%",
            "How many of the reads may be sent again, on another connection, when their reply is late; `0` for none.";
        RedisConnectTimeout "redis_connect_timeout" ValueForm::Duration, "2s",
            "How long connecting to Redis and logging in may take.";
        RedisKeyPrefix "redis_key_prefix" ValueForm::Text, "cachewarp:",
            "Put before every key and channel, so that CacheWarp can share a database with others.";
        CacheNamespace "cache_namespace" ValueForm::Text, "auto",
            "Put behind `redis_key_prefix`: nodes of one namespace share entries and purges. `auto` derives it from `origin_url`; all nodes of one API need one spelling of that, or a name of 1 to 64 letters, digits, `-`, `.` and `_` here. A name is required where the origin is at an address of this machine and Redis is not.";
        NodeName "node_name" ValueForm::Text, "node",
            "What this node is called in Redis, where it keeps its list for `cache_warm_keys`; nodes of one name share one list.";
    }
    "Cache" {
        CacheDefaultTtl "cache_default_ttl" ValueForm::Duration, "30s",
            "How long a response is fresh if the origin says nothing about it; `0` turns this off.";
        CacheNegativeTtl "cache_negative_ttl" ValueForm::Duration, "0s",
            "How long a `404` or `410` is fresh if the origin says nothing about it; `0` stores none.";
        CacheStaleWhileRevalidate "cache_stale_while_revalidate" ValueForm::Duration, "0s",
            "How long past its lifetime a response is served while it is refreshed, where the origin says nothing about that (RFC 5861).";
        CacheStaleIfError "cache_stale_if_error" ValueForm::Duration, "0s",
            "How long past its lifetime a response is served in place of an error, where the origin says nothing about that (RFC 5861).";
        CacheTtlJitter "cache_ttl_jitter" ValueForm::Percent, "0%",
            "By how much, at random, lifetimes are shortened, so that what was stored together does not expire together.";
        CacheEarlyRefresh "cache_early_refresh" ValueForm::Percent, "0%",
            "How eagerly what is still fresh is refreshed in the background, by chance, before it expires (XFetch); `100%` is usual, `0` is never.";
        CacheMaxBody "cache_max_body" ValueForm::Size, "1MiB",
            "Larger bodies stream through and are not stored.";
        CacheContentTypes "cache_content_types" ValueForm::List, "application/json,+json",
            "Media types and `+suffixes` that may be stored; `*` for all that HTTP allows.";
        CacheStatuses "cache_statuses" ValueForm::List, "200",
            "Statuses that may be stored; `*` for all that HTTP allows.";
        TagHeaders "tag_headers" ValueForm::List, "cache-tag,surrogate-key",
            "Response headers with tags that a response may be purged by, beside `Cache-Groups`; what has more than it may have is not stored.";
        TagsShown "tags_shown" ValueForm::Switch, "false",
            "Whether clients see the headers with tags.";
        KeyHeaders "key_headers" ValueForm::List, "",
            "Request headers that are a part of the cache key, such as `x-tenant-id`: each of their values has a response of its own, and they are sent to the origin.";
        HarmlessHeaders "harmless_headers" ValueForm::List, "",
            "Request headers that change no answer, beside those of HEADERS.md: they keep no request from the cache, and are not sent where the answer may be shared.";
        CredentialHeaders "credential_headers" ValueForm::List, "x-api-key",
            "Request headers that carry a credential, beside `Authorization` and `Cookie`.";
        OrdinaryCookies "ordinary_cookies" ValueForm::List, "",
            "Cookies that are no credentials, such as `theme,_ga*`; `*` for all. A `GET` with no others goes to the origin without them, and what sets no others is stored without them.";
        CacheMemorySize "cache_memory_size" ValueForm::Size, "64MiB",
            "What the memory tier may hold; `0` turns it off.";
        CacheMemoryTtl "cache_memory_ttl" ValueForm::Duration, "1s",
            "How long an entry is served from memory without asking Redis, where that cannot say when it changes.";
        CacheFirstSightSize "cache_first_sight_size" ValueForm::Size, "64MiB",
            "How much is stored a minute of what nobody had asked for before, beyond as much as is stored of what is asked for again; then the second miss is awaited. `0`: always.";
        CacheWarmKeys "cache_warm_keys" ValueForm::Number, "0",
            "How many of the keys asked for most are remembered in Redis, to be read into memory before a restarted node accepts; `0` for none.";
        CoalesceTimeout "coalesce_timeout" ValueForm::Duration, "5s",
            "How long a request waits for another's fetch of the same resource before it fetches itself.";
        FetchLease "fetch_lease" ValueForm::Choice("off|on|adaptive"), "adaptive",
            "Whether nodes of one Redis fetch a resource once for all of them: `adaptive` where fetching it was slow.";
    }
    "Logs and explanations" {
        LogFormat "log_format" ValueForm::Choice("human|json"), "human",
            "How log lines look, on standard error.";
        LogLevel "log_level" ValueForm::Text, "info",
            "Which are written: `error`, `warn`, `info`, `debug`, `trace`, `off`, or a filter such as `info,cachewarp::redis=debug`.";
        AccessLog "access_log" ValueForm::Switch, "false",
            "Whether every request gets a line, at level `info`.";
        ExplainToken "explain_token" ValueForm::Secret, "",
            "Whoever sends it as `CacheWarp-Explain` is told why an answer is what it is, and so is `cachewarp explain`; empty for nobody.";
    }
}

impl Name {
    /// `redis_url`
    pub(super) const fn as_str(self) -> &'static str {
        self.setting().text
    }

    /// `redis-url`, after `--`.
    pub(super) fn flag(self) -> String {
        self.as_str().replace('_', "-")
    }

    /// `REDIS_URL`
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
    fn one_name_in_three_spellings() {
        let name = Name::CacheDefaultTtl;
        assert_eq!(name.to_string(), "cache_default_ttl");
        assert_eq!(name.flag(), "cache-default-ttl");
        assert_eq!(name.variable(), "CACHE_DEFAULT_TTL");
    }

    #[test]
    fn every_row_says_what_it_does_in_a_sentence() {
        for name in Name::ALL {
            let help = name.setting().help;
            assert!(help.ends_with('.') && help.len() > 20 && !help.contains(['|', '\n']), "{name}: {help}");
        }
    }
}
