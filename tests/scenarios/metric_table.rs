//! The table of METRICS.md: each metric in its group, and an operator's action when it changes.
//! The other columns come from the page of a running program.

/// The groups, each with its metrics.
pub(crate) const GROUPS: &[(&str, &[(&str, &str)])] = &[
    (
        "Requests",
        &[
            (
                "cachewarp_requests",
                "The share of `hit-memory` and `hit-redis` is the hit ratio. If it falls, `cachewarp_not_stored_total` has the reasons. `failed` and `stale-on-error` point to the origin.",
            ),
            (
                "cachewarp_responses",
                "Alert on the share of `status=\"5xx\"`. `outcome=\"failed\"` is CacheWarp's own answer for an origin that failed; any other outcome is the origin's answer. Methods other than those of RFC 9110, `PATCH` and `QUERY` count as `other`; a series exists once it has counted.",
            ),
            (
                "cachewarp_request_duration_seconds",
                "Compare the outcomes: hits depend on this machine and Redis, the others on the origin. The bucket `0.09` is the objective of 90 ms.",
            ),
            (
                "cachewarp_response_duration_seconds",
                "If it grows and the time to the head does not, bodies are long or clients read slowly.",
            ),
            (
                "cachewarp_route_responses",
                "Alert on the share of `status=\"5xx\"` of a route that matters. The first 100 routes of the file have series; `route=\"other\"` is all further ones. Requests without a route count in none.",
            ),
            (
                "cachewarp_route_cache_results",
                "The hit ratio of each route; requests that pass the cache count in neither result.",
            ),
            (
                "cachewarp_route_duration_seconds",
                "Compare routes: a slow one has a slow part of the API behind it, or a low hit ratio.",
            ),
            (
                "cachewarp_routes_with_override",
                "Alert on a change that is not planned: each such route stores what the origin forbids.",
            ),
            (
                "cachewarp_requests_waiting",
                "Near `max_pending_requests`, requests are shed: look at the origin and at Redis.",
            ),
            (
                "cachewarp_requests_not_admitted",
                "`max-requests`: the process is overloaded, add nodes or raise `max_pending_requests`. `per-address-limit`: one client sends too much; check `trusted_proxies` if a load balancer is in front.",
            ),
            (
                "cachewarp_requests_refused",
                "Clients send requests that no origin should see; `loop` means that the origin's URL leads back here.",
            ),
            ("cachewarp_panics", "Report every panic: the log has its message."),
        ],
    ),
    (
        "Clients",
        &[
            (
                "cachewarp_client_connections_open",
                "Near `max_connections`, new clients wait in the kernel's queue.",
            ),
            (
                "cachewarp_client_connections_parked",
                "Nearly all open ones: clients keep more connections than they use.",
            ),
            (
                "cachewarp_client_connections_accepted",
                "Many connections for few requests: clients do not keep connections open.",
            ),
            ("cachewarp_client_connections", "The difference to the accepted connections never sent a byte."),
            (
                "cachewarp_client_accept_failures",
                "The limit of open files or memory is reached; see `process_open_fds`.",
            ),
            (
                "cachewarp_client_refusals",
                "`slow-head` and `malformed` are scanners or broken clients; `ambiguous-framing` can be an attempt at request smuggling; `proxy-header` is a trusted proxy that sends no PROXY header.",
            ),
            (
                "cachewarp_client_malformed_streams",
                "Clients write targets that no URL has, such as `\"` in a query, or break HTTP/2 otherwise.",
            ),
            (
                "cachewarp_client_interim_responses",
                "Many `dropped`: clients do not read, or the origin sends interim responses of more than 16 KiB.",
            ),
            ("cachewarp_client_answers_cut", "Clients read too slowly for `client_body_timeout`."),
            (
                "cachewarp_client_connections_cut",
                "Raise `drain_timeout`, or stop long streams before a restart.",
            ),
            ("cachewarp_client_received_bytes", "Plan the network's capacity with it."),
            (
                "cachewarp_client_sent_bytes",
                "Compare with the requests: responses that grow fill memory and Redis earlier.",
            ),
        ],
    ),
    (
        "Cache",
        &[
            (
                "cachewarp_not_stored",
                "The most frequent reason is the first to discuss with the API's owners; HEADERS.md and `cachewarp explain` have the details.",
            ),
            (
                "cachewarp_store_lookups",
                "`unavailable` means that Redis did not answer in time; `purged` follows purges.",
            ),
            ("cachewarp_memory_bytes", "At `cache_memory_size`, entries are evicted."),
            ("cachewarp_memory_entries", "Falls after purges, expiry and evictions."),
            (
                "cachewarp_memory_evictions",
                "If it rises and the share of `hit-redis` does too, raise `cache_memory_size`.",
            ),
            (
                "cachewarp_memory_invalidations",
                "Many `not-held`: other nodes write keys that this node does not use.",
            ),
            (
                "cachewarp_staleness_seconds",
                "Grows if Redis delivers invalidations late, or if clocks differ.",
            ),
            (
                "cachewarp_refreshes",
                "Background refreshes replace misses of clients; they load the origin too.",
            ),
            ("cachewarp_withdrawals", "The origin forbids storing what it allowed before."),
            (
                "cachewarp_retry_after_refusals",
                "Clients repeat requests that the origin refuses; each gets the rest of the origin's `Retry-After`.",
            ),
            (
                "cachewarp_writes_unabandoned",
                "Clients leave before their writes end: their time-outs are shorter than the origin's.",
            ),
            (
                "cachewarp_write_wait",
                "`unconfirmed`: a node is silent or has other routes; a purge names it. `rate-limited`: more writes than `on_write_rate`.",
            ),
            (
                "cachewarp_shared_fetches",
                "Grows if the origin is slow and many clients wait for few resources.",
            ),
            (
                "cachewarp_collapsed_wait_seconds",
                "Near `collapse_timeout`, waiting requests begin further fetches.",
            ),
            (
                "cachewarp_fetch_leases",
                "`timed-out` and `lost`: a node fetches for others and is too slow, or was away.",
            ),
            (
                "cachewarp_answer_bytes",
                "Near `max_answer_memory`, clients read slowly and the oldest answers are cut.",
            ),
            (
                "cachewarp_answers_over_budget",
                "Clients do not read; raise `max_answer_memory` if they should.",
            ),
            ("cachewarp_body_bytes", "Near `max_body_memory`, bodies are relayed and not stored."),
            (
                "cachewarp_json_checks",
                "`apart` grows with large bodies; `remembered` means that an API sends invalid JSON.",
            ),
            (
                "cachewarp_entries_damaged",
                "`foreign` and `version`: another program or version writes below the prefix. `plain`, `sealed` and `unknown-key`: nodes with other keys. Any other reason: look for a fault of Redis' host, or for a forger.",
            ),
            (
                "cachewarp_entry_key_seals",
                "Replace the key long before it has sealed 2^40 values; the count begins again with each process.",
            ),
            ("cachewarp_entries_too_large", "The origin's heads are too large to store."),
            (
                "cachewarp_store_removals_lost",
                "Other nodes may serve these entries until they expire: look at Redis.",
            ),
            (
                "cachewarp_store_writes_lost",
                "Redis refuses or loses writes: look at its memory and at `cachewarp_redis_errors_total`.",
            ),
            (
                "cachewarp_purges_pending",
                "Redis has not accepted purges of this node, so other nodes may serve what they cover: look at Redis.",
            ),
            ("cachewarp_purges_repeated", "`refused`: Redis still does not accept writes."),
            (
                "cachewarp_purges_coarsened",
                "Too many purges wait for Redis, so broader ones replace them: expect more misses.",
            ),
            (
                "cachewarp_purge_stream_messages",
                "`malformed` and `oversized`: a writer of `purge_stream` has an error; the log has the identifiers. `deleted`: raise the writer's `MAXLEN`. `unconfirmed`: find the node that confirms no purge. These metrics exist with `purge_stream`.",
            ),
            (
                "cachewarp_purge_stream_repeats",
                "`unconfirmed`: a node is cut off or has crashed. `unavailable`: look at Redis.",
            ),
            ("cachewarp_purge_stream_takeovers", "A node ended while it had messages; look for its cause."),
            (
                "cachewarp_purge_stream_interruptions",
                "Redis fails, refuses a command, or has a key of another type; the log has the reason.",
            ),
            (
                "cachewarp_purge_stream_lag",
                "If it grows, purges come late: look at Redis, at unconfirmed purges and at the number of writes.",
            ),
            (
                "cachewarp_purge_stream_pending",
                "If it stays above zero, purges are not confirmed: see `cachewarp_purge_stream_repeats_total`.",
            ),
            ("cachewarp_store_superseded", "Purges meet fetches in progress; no action."),
        ],
    ),
    (
        "Origin",
        &[
            (
                "cachewarp_origin_requests",
                "Alert on the share of `failed`. `abandoned` follows clients that leave.",
            ),
            (
                "cachewarp_origin_responses",
                "Alert on the share of `5xx`: these are answers of the origin itself.",
            ),
            (
                "cachewarp_origin_failures",
                "The phase says where to look: name service, network, certificate, or the API. The log has the cause once for each change.",
            ),
            (
                "cachewarp_origin_timeouts",
                "Compare the `origin_*_timeout` settings with the API's own times.",
            ),
            (
                "cachewarp_origin_sends",
                "Many `retried`: the origin closes idle connections earlier than it announces.",
            ),
            ("cachewarp_origin_connections_open", "At the limit, requests wait for a connection."),
            (
                "cachewarp_origin_connections_idle",
                "Few idle and many fresh connections: the origin does not keep them open.",
            ),
            ("cachewarp_origin_limit", "Falls while the origin is overloaded, and recovers by itself."),
            (
                "cachewarp_origin_waiting",
                "Requests queue for the origin: it is slow, or `origin_limit` has fallen.",
            ),
            (
                "cachewarp_origin_tunnels",
                "At three quarters of `origin_max_connections`, further upgrades get 503.",
            ),
            ("cachewarp_origin_refusals", "Clients got stale responses or 503: relieve or scale the origin."),
            (
                "cachewarp_origin_addresses",
                "Alert on `ejected`: an address of the origin fails, and the log names it.",
            ),
            (
                "cachewarp_origin_address_failures",
                "Attempts at one address that failed, also if another address then answered.",
            ),
            ("cachewarp_origin_breaker_opened", "The origin was down; the log has the outage."),
            ("cachewarp_origin_connect_seconds", "Grows with a slow name service, network or TLS."),
            ("cachewarp_origin_head_seconds", "The API's own latency, without the queue."),
        ],
    ),
    (
        "Redis",
        &[
            ("cachewarp_redis_connections", "Alert if none is `up`: the node runs on memory alone."),
            (
                "cachewarp_redis_connections_lost",
                "`stalled` is the network or an overloaded server; `desynchronised` and `malformed` are no Redis.",
            ),
            (
                "cachewarp_redis_reconnects",
                "Follows restarts and fail-overs; a steady rate is a fault of the network.",
            ),
            (
                "cachewarp_redis_commands",
                "Alert on the share of `timeout` and `error`; `full` means that all connections are busy.",
            ),
            ("cachewarp_redis_commands_in_flight", "Grows if Redis is slow."),
            (
                "cachewarp_redis_errors",
                "`oom`, `read-only`, `no-perm` and `wrong-pass` need a change at Redis.",
            ),
            (
                "cachewarp_redis_late_replies",
                "Replies that came after `redis_timeout`: Redis or the network stalls.",
            ),
            ("cachewarp_redis_reply_seconds", "The latency of each server; look for a server that differs."),
            ("cachewarp_redis_received_bytes", "Plan the network's capacity with it."),
            ("cachewarp_redis_sent_bytes", "Plan the network's capacity with it."),
            ("cachewarp_redis_breakers", "Any `open` one: that server is not asked. The log has the cause."),
            (
                "cachewarp_redis_breaker_opened",
                "`loading` follows a restart; `silent` and `busy` are an overloaded server.",
            ),
            (
                "cachewarp_redis_hedges",
                "Many `won`: single connections stall. Many `over-budget`: the whole server is slow.",
            ),
            (
                "cachewarp_redis_redirects",
                "A burst follows resharding; a steady rate means that the slot map is wrong.",
            ),
            ("cachewarp_redis_unrouted", "The cluster has no server for some slots."),
            ("cachewarp_redis_topology_inquiries", "`failed`: sentinels or cluster nodes do not answer."),
        ],
    ),
    (
        "Log and process",
        &[
            ("cachewarp_access_log_lines", "0 while `access_log` is off."),
            (
                "cachewarp_access_log_lines_lost",
                "`queue-full`: the reader of standard output is too slow. `closed`: it is gone; restart the node with a reader. `write-failed`: the disk is full.",
            ),
            ("cachewarp_trace_spans_sent", "0 while `otlp_endpoint` is off."),
            (
                "cachewarp_trace_spans_lost",
                "`unreachable` and `refused`: look at the collector, whose first error is in the log. `queue-full`: it is slow, or `trace_sample` is too large.",
            ),
            ("cachewarp_build", "Join it with other metrics to compare versions during a rollout."),
            ("process_cpu_seconds", "At one core for each worker, the node is saturated."),
            (
                "process_resident_memory_bytes",
                "More than `cache_memory_size` and `max_body_memory` together, and some MiB: report it.",
            ),
            ("process_virtual_memory_bytes", "No action."),
            ("process_open_fds", "Near `process_max_fds`, connections fail."),
            ("process_max_fds", "Raise the limit of open files if the start warns about it."),
            ("process_threads", "One for each worker, one for the access log, and some for large bodies."),
            ("process_start_time_seconds", "A change is a restart."),
        ],
    ),
];
