//! Errors: their texts, their places, and the secrets that they conceal.

use super::*;

#[test]
fn each_kind_of_error_has_its_text() {
    for (name, text, error) in [
        ("redis_pool_size", "0", "must be at least 1"),
        ("redis_pool_size", "1025", "must be at most 1024"),
        ("redis_pool_size", "many", "is not a whole number"),
        ("worker_threads", "0", "must be at least 1"),
        ("health_path", "health", "is not a path that begins with `/`"),
        ("ready_path", "/a?b", "is not a path that begins with `/`"),
        ("origin_server_name", "a b", "is neither a host name nor an IP address"),
        ("tls_client_auth", "maybe", "is not one of off, request, require"),
        ("tls_handshake_timeout", "0", "must be at least 1ms"),
        ("worker_threads", "257", "must be at most 256"),
        ("worker_threads", "AUTO", "is not a whole number"),
        ("redis_timeout", "0", "must be at least 1ms"),
        ("redis_timeout", "11s", "must be at most 10s"),
        ("origin_head_timeout", "2h", "must be at most 1h"),
        (
            "drain_timeout",
            "-1s",
            "is not a whole number with a unit; use a whole number and a unit, such as `250ms`, `30s`, `5m`, `1h`",
        ),
        ("cache_default_ttl", "30 s", "is not a whole number with a unit; did you mean `30s`?"),
        ("cache_default_ttl", "1d", "has the unknown unit \"d\"; did you mean `24h`?"),
        ("cache_default_ttl", "721h", "must be at most 720h"),
        (
            "cache_default_ttl",
            "99999999999999999999",
            "is too large; use a whole number and a unit, such as `250ms`, `30s`, `5m`, `1h`",
        ),
        ("cache_max_body", "0", "must be at least 1B"),
        ("cache_max_body", "65MiB", "must be at most 64MiB"),
        ("cache_memory_size", "64MB", "has the unknown unit \"MB\"; did you mean `64MiB`?"),
        ("cache_memory_size", "", "is empty; remove it to use the default"),
        (
            "listen_addr",
            "8000",
            "is not an IP address with a port; did you mean `127.0.0.1:8000`, or `[::]:8000` for every interface?",
        ),
        (
            "listen_addr",
            ":8000",
            "is not an IP address with a port; did you mean `127.0.0.1:8000`, or `[::]:8000` for every interface?",
        ),
        ("admin_addr", "localhost:1", "is not an IP address with a port; did you mean `127.0.0.1:1`?"),
        (
            "admin_addr",
            "none",
            "is not an IP address with a port; use an IP address and a port, such as `127.0.0.1:8000` or `[::1]:8000`",
        ),
        (
            "admin_addr",
            "127.0.0.1:8000",
            "is also the address of listen_addr; use another port or socket for one of them",
        ),
        (
            "admin_addr",
            "unix:admin.sock",
            "is not `unix:` with an absolute path of at most 92 bytes; use `unix:/run/cachewarp/api.sock`",
        ),
        (
            "admin_addr",
            "[::]:8000",
            "is also the address of listen_addr; use another port or socket for one of them",
        ),
        (
            "origin_url",
            "http://localhost:8000",
            "is the address of listen_addr: CacheWarp would be its own origin; use the address of the API",
        ),
        (
            "origin_url",
            "http://127.0.0.1:8001/",
            "is the address of admin_addr: CacheWarp would be its own origin; use the address of the API",
        ),
        ("origin_url", "api.example", "does not begin with a scheme and `://`"),
        ("origin_url", "localhost:8080", "does not begin with a scheme and `://`"),
        (
            "redis_url",
            "redis-sentinel://a/m",
            "has the scheme \"redis-sentinel\"; expected redis, rediss, unix, redis+sentinel, redis+cluster (or the word `off`); use `redis+sentinel://host:port,host:port/master`, with `rediss` for TLS",
        ),
        (
            "redis_url",
            "redis+sentinel://a",
            "does not name the master that the sentinels watch; append it to the hosts: `redis+sentinel://host:port/mymaster`",
        ),
        ("redis_url", "redis+cluster://a/1", "names a database, but a Cluster has only database 0"),
        ("redis_client_cert_file", "c", "requires redis_client_key_file; set both, or neither"),
        ("redis_client_key_file", "k", "requires redis_client_cert_file; set both, or neither"),
        (
            "redis_url",
            "valkey://a",
            "has the scheme \"valkey\"; expected redis, rediss, unix, redis+sentinel, redis+cluster (or the word `off`); Valkey speaks the protocol of Redis: use `redis://`",
        ),
        (
            "trusted_proxies",
            "10.1.2.3/8",
            "has \"10.1.2.3/8\", which is an address inside the network 10.0.0.0/8; did you mean `10.0.0.0/8`?",
        ),
        (
            "cache_content_types",
            "*/*",
            "has \"*/*\", which is neither `type/subtype` nor `+suffix`; did you mean `*`?",
        ),
        (
            "cache_content_types",
            "application/json;q=1",
            "has \"application/json;q=1\", which is neither `type/subtype` nor `+suffix`; did you mean `application/json`?",
        ),
        (
            "cache_statuses",
            "2xx",
            "has \"2xx\", which is not a status from 200 to 599; list each status, or use `*` for all",
        ),
        ("cache_statuses", "206", "has 206, which cannot be stored as a response"),
        ("credential_headers", "x api", "has \"x api\", which is not a header name"),
        ("key_headers", "x api", "has \"x api\", which is not a header name"),
        ("key_headers", "a,b,c,d,e,f,g,h,i", "has more than 8 headers"),
        (
            "key_headers",
            "x-tenant,Authorization",
            "has \"authorization\", which cannot be part of the cache key: it identifies the client (RFC 9111 §3.5); remove it",
        ),
        (
            "key_headers",
            "if-none-match",
            "has \"if-none-match\", which cannot be part of the cache key: it requests a part or a 304; remove it",
        ),
        (
            "key_headers",
            "x-forwarded-host",
            "has \"x-forwarded-host\", which cannot be part of the cache key: CacheWarp sets it, and the key already has host and scheme; remove it",
        ),
        ("harmless_headers", "a b", "has \"a b\", which is not a header name"),
        (
            "harmless_headers",
            "Cookie",
            "has \"cookie\", which cannot be harmless: it identifies the client; remove it",
        ),
        (
            "harmless_headers",
            "te",
            "has \"te\", which cannot be harmless: it belongs to the client's connection; remove it",
        ),
        (
            "harmless_headers",
            "X_Api_Key",
            "has \"x_api_key\", which cannot be harmless: it identifies the client; remove it",
        ),
        (
            "key_headers",
            "x-api-key",
            "has \"x-api-key\", which cannot be part of the cache key: it identifies the client (RFC 9111 §3.5); remove it",
        ),
        (
            "unstored_headers",
            "x-request-id,Vary",
            "has \"vary\", without which a stored response has another meaning; remove it",
        ),
        (
            "unstored_headers",
            "surrogate-key",
            "has \"surrogate-key\", without which a stored response has another meaning; remove it",
        ),
        ("ignored_cookies", "a=b", "has \"a=b\", which is neither a cookie name nor a prefix with `*`"),
        ("redis_key_prefix", "a b", "must be 1 to 64 printable ASCII characters without spaces or braces"),
        ("log_format", "jsn", "is not one of human, json; did you mean `json`?"),
        ("log_level", "inof", "`inof` is not a level: one of off, error, warn, info, debug, trace"),
        ("access_log", "true", "is not one of off, json, text"),
    ] {
        let variable = name.to_ascii_uppercase();
        let want = format!("{name} = {text:?} (environment {variable}): {error}");
        assert_eq!(errors_of(&[], &[(&variable, text)], ""), [want]);
    }
}

#[test]
fn a_credential_is_in_no_other_list() {
    for (name, text, header) in
        [("harmless_headers", "X_Session", "x_session"), ("key_headers", "x-session", "x-session")]
    {
        let variable = name.to_ascii_uppercase();
        let variables = [(variable.as_str(), text), ("CREDENTIAL_HEADERS", "x-session")];
        let error = format!("has {header:?}, which is also in credential_headers; keep it in one of the two");
        let want = format!("{name} = {text:?} (environment {variable}): {error}");
        assert_eq!(errors_of(&[], &variables, ""), [want]);
    }
}

#[test]
fn every_error_is_reported_at_once_with_its_source() {
    let flags = ["--redis-pool-size", "0", "--frobnicate", "--log-level=info", "--log-level=warn"];
    let variables = [("LISTEN_ADDR", "here"), ("cache_max_body", "big"), ("Log_Format", "json")];
    let dotenv = "origin_url=nowhere\nbroken\nREDIS_TIMEOUT=0\n";
    let errors = given(&flags, &variables, dotenv).unwrap_err();
    assert_eq!(
        errors.to_string(),
        r#"invalid settings:
  command line: unknown flag --frobnicate
  log_level = "warn" (flag --log-level): is given twice; keep one of them
  .env line 2: is not `NAME=value`; quote a value that has spaces, quotes or `#`, and close the quotes
  listen_addr = "here" (environment LISTEN_ADDR): is not an IP address with a port; use an IP address and a port, such as `127.0.0.1:8000` or `[::1]:8000`
  origin_url = "nowhere" (.env line 1): does not begin with a scheme and `://`
  redis_pool_size = "0" (flag --redis-pool-size): must be at least 1
  redis_timeout = "0" (.env line 3): must be at least 1ms
  cache_max_body = "big" (environment cache_max_body): is not a whole number with a unit; use a whole number and a unit, such as `512KiB`, `64MiB`, `1GiB`
  (warning) Log_Format (environment Log_Format) is not read: names are case-sensitive, write LOG_FORMAT
`cachewarp --help` lists all settings; `cachewarp check` checks them without starting."#
    );
}

#[test]
fn no_error_shows_a_password() {
    let secret = "hunter2";
    for text in [
        "redis://:hunter2@h:0",
        "redis://:hunt#hunter2@h",
        "redis://hunter2@h",
        "redis://h/1?password=hunter2",
        "reddis://a:hunter2@h",
        "http://a:hunter2@h",
        ":hunter2@h",
        "hunter2:@h",
        "hunter2@h:6379",
        "redis://h?hunter2",
        "redis://:a?hunter2@h",
    ] {
        for name in ["REDIS_URL", "ORIGIN_URL"] {
            let errors = given(&[], &[(name, text)], "").unwrap_err();
            assert!(!errors.to_string().contains(secret), "{errors}");
        }
        let token = format!("a token of {text}");
        assert_eq!(
            errors_of(&[], &[("EXPLAIN_TOKEN", &token)], ""),
            [
                r#"explain_token = "***" (environment EXPLAIN_TOKEN): must be 1 to 256 printable ASCII characters without spaces"#
            ]
        );
        let errors = given(&[], &[], &format!("REDIS_URL={text} x\nREDIS_URL=\"{text}\n")).unwrap_err();
        assert!(!errors.to_string().contains(secret), "{errors}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No command prints a password or dials it as a host, whatever its bytes, percent-encoded or
    /// not.
    #[test]
    fn no_password_leaves_its_url(
        scheme in "(redis|rediss|redis\\+sentinel|rediss\\+cluster|http|https|valkey|)",
        slashes in "(://|:/|:|)",
        user in "(app|)",
        password in "([/?#@:&=%,;+'\\[\\]\\\\]{0,2}hunter2[0-9]{0,2}[/?#@:&=%,;+'\\[\\]\\\\]{0,2}){1,3}",
        host in "[a-z]{1,3}(:[1-9]{1,4})?(/[0-9a-z]{0,3})?",
    ) {
        let text = format!("{scheme}{slashes}{user}:{password}@{host}");
        for name in ["redis_url", "origin_url", "REDIS_URI"] {
            let flag = format!("--{}={text}", name.replace('_', "-"));
            for order in [
                given(&["check", &flag], &[], ""),
                given(&["check"], &[(name, &text)], ""),
                given(&["check"], &[], &format!("{name}={text}\n{name}='{text}'\n")),
                given(&["check", &text], &[], ""),
                given(&["check", &format!("--{text}")], &[], ""),
            ] {
                let shown = match order {
                    Ok(CommandPlan { command: CliCommand::Check(report), warnings }) => format!("{report}{warnings:?}"),
                    Ok(order) => format!("{order:?}"),
                    Err(errors) => errors.to_string(),
                };
                prop_assert!(!shown.contains("hunter2"), "{text} is shown: {shown}");
            }
            if let Ok(CommandPlan { command: CliCommand::Serve(settings), .. }) = given(&[], &[(name, &text)], "") {
                let worker = &settings.workers[0];
                let (redis, origin) = (worker.redis.as_ref().unwrap(), &worker.origin);
                let dialled = (&redis.server.address, &redis.topology, &origin.authority, &origin.base_path);
                prop_assert!(!format!("{dialled:?}").contains("hunter2"), "{text} is dialled: {dialled:?}");
            }
        }
    }
}

#[test]
fn a_local_origin_with_a_remote_redis_requires_a_namespace() {
    const NEEDED: &str = "cache_namespace = \"auto\" (default): is required: the origin is on this machine, and \
         Redis is not; set one name on all nodes of the API, such as `cache_namespace=payments`";
    for (origin, redis, needed) in [
        ("http://localhost:8080", "redis://localhost", false),
        ("http://localhost:8080", "redis://127.0.0.1", false),
        ("http://127.0.0.1:8080", "rediss://[::1]", false),
        ("http://localhost:8080", "unix:///run/redis.sock", false),
        ("http://localhost:8080", "off", false),
        ("http://localhost:8080", "redis+cluster://localhost,127.0.0.1:7001", false),
        ("http://api.example", "redis://cache.example", false),
        ("http://10.0.0.1", "redis://10.0.0.2", false),
        ("http://localhost:8080", "redis://cache.example", true),
        ("http://127.0.0.1:8080/v1", "rediss://10.0.0.2", true),
        ("https://[::1]:8443", "redis+sentinel://localhost,sentinel.example/m", true),
        ("http://0.0.0.0:8080", "redis+cluster://a,b", true),
        ("http://host.docker.internal:8080", "redis://cache.example", true),
    ] {
        let variables = [("origin_url", origin), ("redis_url", redis)];
        let named = [&variables[..], &[("cache_namespace", "payments")]].concat();
        assert_eq!(settings(&named).store.namespace, Namespace::named("cachewarp:", "payments"));
        match given(&[], &variables, "") {
            Ok(_) => assert!(!needed, "{origin} {redis}"),
            Err(errors) => {
                let lines: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
                assert!(needed && lines == [NEEDED], "{origin} {redis}: {lines:?}");
            }
        }
    }
}

#[test]
fn an_unencoded_password_has_a_hint() {
    const HINT: &str =
        "; percent-encode special characters of the password: `#` as %23, `/` as %2F, `?` as %3F, `@` as %40";
    for (text, shown) in [
        ("redis://:p#w@h", "redis://***"),
        ("redis://app:12/w@h", "redis://***@h"),
        ("redis://app:12?w@h", "redis://***"),
        ("redis://:p/w@h", "redis://***@h"),
        ("redis+sentinel://app:12/w@a,b/m", "redis+sentinel://***@a,b/m"),
    ] {
        let lines = errors_of(&[], &[("redis_url", text)], "");
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.starts_with(&format!("redis_url = {shown:?} ")) && line.ends_with(HINT), "{line}");
    }
    let lines = errors_of(&[], &[("origin_url", "http://user:12/w@h")], "");
    assert!(lines[0].ends_with(&format!("has an `@` behind the host{HINT}")), "{lines:?}");
}

#[test]
fn the_old_name_of_a_setting_is_refused_in_every_source() {
    for (old, name) in RENAMED {
        let (upper, new, variable) = (old.to_ascii_uppercase(), name.as_str(), name.variable());
        let flag = format!("--{}", old.replace('_', "-"));
        let renamed_flag = format!("command line: {flag} is now called --{}", name.flag());
        assert_eq!(errors_of(&[&flag, "1"], &[], ""), [renamed_flag.as_str()]);
        assert_eq!(errors_of(&["check", &format!("{flag}=1")], &[], ""), [renamed_flag.as_str()]);
        for (given, now) in [(old, new), (&upper, &variable)] {
            assert_eq!(
                errors_of(&[], &[(given, "1")], ""),
                [format!("environment: {given} is now called {now}")]
            );
            assert_eq!(
                errors_of(&[], &[], &format!("\n{given}=1\n")),
                [format!(".env line 2: {given} is now called {now}")]
            );
        }
        let both = [(old, "1"), (new, name.setting().default)];
        assert_eq!(errors_of(&[], &both, "").len(), 1, "{old} beside {new}");
        assert!(Name::ALL.iter().all(|name| name.as_str() != old), "{old} is a setting");
    }
}
