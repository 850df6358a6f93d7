//! Whole scenarios: CacheWarp between clients, an origin and a Redis.
//!
//! All scenarios share one binary, so that they link once.

#[cfg(test)]
mod access_log;
#[cfg(test)]
mod admin;
mod admin_page;
#[cfg(test)]
mod base_path;
#[cfg(test)]
mod behind_haproxy;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod caching_flow;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod coalescing;
#[cfg(test)]
mod deception;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod doorkeeper;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod flooded;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod forged;
#[cfg(test)]
mod handover;
#[cfg(test)]
#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only tests/topologies uses the rest of the harness")]
mod harness;
#[cfg(test)]
mod harness_holds;
#[cfg(test)]
mod head_requests;
#[cfg(test)]
mod held;
#[cfg(test)]
mod http_edges;
#[cfg(test)]
mod interims;
#[cfg(test)]
mod invalidation;
#[cfg(test)]
mod keyed_names;
#[cfg(test)]
mod metric_table;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod namespace;
#[cfg(test)]
mod negative;
#[cfg(test)]
mod on_write;
#[cfg(test)]
mod operator_commands;
mod operator_tls;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod origin_faults;
#[cfg(test)]
mod other_clients;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod overload;
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod pass_through;
#[cfg(test)]
mod pinned;
#[cfg(test)]
mod posts;
#[cfg(test)]
mod privacy;
#[cfg(test)]
mod proxy_protocol;
#[cfg(test)]
mod purge;
#[cfg(test)]
mod purge_stream;
#[cfg(test)]
mod purged_alone;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod ranges;
mod readme;
#[cfg(test)]
mod recorded_heads;
#[cfg(test)]
mod redis_faults;
#[cfg(test)]
mod redis_login;
#[cfg(test)]
mod redis_redirects;
#[cfg(test)]
mod redis_rights;
#[cfg(test)]
mod redis_watchers;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod repeated_purges;
#[cfg(test)]
mod replayed;
#[cfg(test)]
mod request_fields;
#[cfg(test)]
mod request_ids;
#[cfg(test)]
mod retry_after;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod routes_page;
#[cfg(test)]
mod sealed;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod staleness;
#[cfg(test)]
mod tagged;
#[cfg(test)]
mod targeted;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod unix_sockets;
#[cfg(test)]
mod validation;
#[cfg(test)]
mod varying;
#[cfg(test)]
mod warm;
#[cfg(test)]
mod withdrawn;
#[cfg(test)]
mod writes;
