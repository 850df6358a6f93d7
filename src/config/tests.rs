//! Settings end to end: sources in, a command or a list of errors out.

use std::io;
use std::time::Duration;

use proptest::prelude::*;

use super::table::RENAMED;
use super::*;
use crate::key::{Authority, OriginBase, Scheme};
use crate::label::{Label, RuleLabel};
use crate::limits::{KIB, MIB};
use crate::origin::HostField;
use crate::policy::{ContentTypes, NotReusable, NotStorable, StorableStatuses};
use crate::redis::{PasswordFile, ReadingNodes, RedisAddress, Topology};
use crate::request_fields::FieldClass;
use crate::store::Namespace;
use crate::telemetry::access::LoggedPath;
use crate::telemetry::log::LogFormat;
use crate::tls::{self, TlsIdentity};

/// Reads flags, variables and `.env` on a machine with two cores.
fn given(flags: &[&str], variables: &[(&str, &str)], dotenv: &str) -> Result<CommandPlan, ConfigErrors> {
    read(ConfigSources {
        args: std::iter::once(&"cachewarp").chain(flags).map(OsString::from).collect(),
        environment: variables.iter().map(|(name, text)| (name.into(), text.into())).collect(),
        dotenv: Ok(dotenv.into()),
        cores: 2,
        files: FileChecks::Unopened,
    })
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    let CliCommand::Serve(settings) = given(&[], variables, "").unwrap().command else {
        panic!("not a command to serve")
    };
    *settings
}

/// Returns the lines of all errors.
fn errors_of(flags: &[&str], variables: &[(&str, &str)], dotenv: &str) -> Vec<String> {
    given(flags, variables, dotenv).unwrap_err().errors.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults() {
    let settings = settings(&[]);
    let [first, second] = &settings.workers[..] else { panic!("two cores, two workers") };
    assert_eq!(settings.listen_addr, "127.0.0.1:8000".parse().unwrap());
    assert_eq!((first.server.addr, first.server.backlog), (settings.listen_addr, 4096));
    assert_eq!((first.server.connections_max, second.server.connections_max), (8192, 8192));
    assert_eq!(first.server.drain_timeout, Duration::from_secs(30));
    assert_eq!(settings.admin.unwrap().addr, "127.0.0.1:8001".parse().unwrap());

    let redis = &first.redis.as_ref().unwrap().server;
    assert_eq!(redis.address, RedisAddress::Tcp { host: "localhost".to_owned(), port: 6379 });
    assert_eq!((redis.connections, redis.command_timeout), (10, Duration::from_millis(50)));
    assert_eq!((redis.credentials.as_ref(), redis.database), (None, 0));

    let origin = &first.origin;
    assert_eq!(
        (origin.scheme, origin.authority.as_str(), origin.base_path.as_str()),
        (Scheme::Http, "localhost:8080", "")
    );
    assert_eq!(
        (origin.host, origin.ca_file.as_ref(), origin.connections_max),
        (HostField::Origin, None, 2048)
    );
    assert!(origin.trusted_proxies.is_empty());

    assert_eq!((settings.rules.default_ttl, settings.rules.body_bytes_max), (Duration::from_secs(30), MIB));
    let types = vec!["application/json".to_owned(), "+json".to_owned()];
    assert_eq!(settings.rules.content_types, ContentTypes::Listed(types));
    assert_eq!(settings.rules.statuses, StorableStatuses::Listed(vec![http::StatusCode::OK]));
    assert_eq!(
        settings.rules.field_class(&http::header::HeaderName::from_static("x-api-key")),
        FieldClass::Credential
    );
    assert!(settings.rules.ignored_cookies.is_none());

    assert_eq!((settings.store.memory_bytes, settings.store.memory_ttl), (64 * MIB, Duration::from_secs(1)));
    let local = OriginBase {
        scheme: Scheme::Http,
        authority: Authority::parse(Scheme::Http, b"localhost:8080").unwrap(),
        path: String::new(),
    };
    assert_eq!(settings.store.namespace, Namespace::of_origin("cachewarp:", &local));
    assert_eq!(settings.proxy.collapse_timeout, Duration::from_secs(5));
    assert_eq!(settings.proxy.tunnel_idle_timeout, Duration::from_secs(600));
    assert_eq!((settings.access_log.format, settings.access_log.path), (None, LoggedPath::Route));
    assert_eq!(settings.access_log.slow_threshold, None);
    assert_eq!((settings.log.format, settings.log.filter.as_str()), (LogFormat::Human, "info"));
}

#[test]
fn every_setting_reaches_its_module() {
    let plain = format!("{:?}", settings(&[]));
    for (name, text) in [
        ("listen_addr", "[::]:9000"),
        ("listen_backlog", "1"),
        ("max_connections", "7"),
        ("client_head_timeout", "1ms"),
        ("client_idle_timeout", "1h"),
        ("tunnel_idle_timeout", "1h"),
        ("drain_timeout", "0"),
        ("admin_addr", "off"),
        ("worker_threads", "3"),
        ("origin_url", "https://api.example/v1"),
        ("origin_preserve_host", "true"),
        ("origin_ca_file", "/etc/ca.pem"),
        ("origin_connect_timeout", "1s"),
        ("origin_head_timeout", "1s"),
        ("origin_body_timeout", "1s"),
        ("origin_idle_timeout", "1s"),
        ("origin_max_connections", "2"),
        ("trusted_proxies", "::1"),
        ("redis_url", "off"),
        ("redis_pool_size", "2"),
        ("redis_timeout", "1s"),
        ("redis_connect_timeout", "1s"),
        ("redis_key_prefix", "x:"),
        ("cache_namespace", "payments"),
        ("redis_password_file", "/etc/password"),
        ("redis_ca_file", "/etc/ca.pem"),
        ("cache_default_ttl", "0"),
        ("cache_max_body", "2KiB"),
        ("cache_content_types", "*"),
        ("cache_statuses", "200,404"),
        ("credential_headers", ""),
        ("ignored_cookies", "_ga*"),
        ("cache_memory_size", "0"),
        ("cache_memory_ttl", "0"),
        ("collapse_timeout", "0"),
        ("log_format", "json"),
        ("log_level", "warn,cachewarp=debug"),
        ("access_log", "json"),
        ("access_log_path", "full"),
        ("slow_log_threshold", "1s"),
        ("explain_token", "x"),
    ] {
        assert_ne!(format!("{:?}", settings(&[(name, text)])), plain, "{name}");
    }
}

#[test]
fn redis_credentials_come_from_the_url_or_a_file() {
    let named = [("cache_namespace", "api")];
    let redis = |variables: &[(&str, &str)]| {
        settings(&[variables, &named[..]].concat()).workers[0].redis.clone().unwrap()
    };
    let of_file = |user: &str| PasswordFile { user: user.to_owned(), path: "/p".into() };
    let file = ("redis_password_file", "/p");
    for (url, expected) in [("redis://a", of_file("default")), ("redis+cluster://ann@a,b", of_file("ann"))] {
        let server = redis(&[("redis_url", url), file]).server;
        assert_eq!((server.credentials, server.password_file), (None, Some(expected)), "{url}");
    }
    assert_eq!(
        errors_of(&[], &[("redis_url", "redis://ann:pw@a"), file, named[0]], ""),
        [
            "redis_password_file = \"/p\" (environment redis_password_file): is set, but redis_url also has a password; keep one of them"
        ]
    );
    let user_alone = errors_of(&[], &[("redis_url", "redis://ann@a"), named[0]], "");
    assert!(user_alone[0].contains("has a user but no password"), "{user_alone:?}");
    let pair = [("redis_client_cert_file", "/c"), ("redis_client_key_file", "/k"), ("redis_ca_file", "/a")];
    let identity = Some(TlsIdentity { certificate_file: "/c".into(), key_file: "/k".into() });
    assert_eq!(redis(&pair).server.tls, tls::Options { ca_file: Some("/a".into()), identity });
}

#[test]
fn replicas_of_a_cluster_answer_reads_if_set() {
    for (on, readers) in [("true", ReadingNodes::Replicas), ("false", ReadingNodes::Masters)] {
        let origin = ("origin_url", "http://api.example");
        let variables = [origin, ("redis_url", "redis+cluster://a,b"), ("redis_read_from_replicas", on)];
        let redis = settings(&variables).workers[0].redis.clone().unwrap();
        let Topology::Cluster(cluster) = redis.topology else { panic!("no cluster") };
        assert_eq!((cluster.seeds.len(), cluster.readers), (2, readers));
    }
}

#[test]
fn files_that_settings_name_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let own = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let (cert, key) = (file("cert", &own.cert.pem()), file("key", &own.signing_key.serialize_pem()));
    let (empty, missing) = (file("empty", ""), folder.path().join("missing").to_str().unwrap().to_owned());
    let errors = |variables: [(&str, &str); 5]| {
        let read = read(ConfigSources {
            args: ["cachewarp", "check"].map(OsString::from).to_vec(),
            environment: variables.map(|(name, text)| (name.into(), text.into())).to_vec(),
            dotenv: Err(io::ErrorKind::NotFound.into()),
            cores: 1,
            files: FileChecks::Opened,
        });
        let errors = read.err().map(|errors| errors.errors).unwrap_or_default();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let names = [
        "origin_ca_file",
        "redis_ca_file",
        "redis_client_cert_file",
        "redis_client_key_file",
        "redis_password_file",
    ];
    let with = |texts: [&str; 5]| errors(std::array::from_fn(|index| (names[index], texts[index])));
    assert_eq!(with([&cert, &cert, &cert, &key, &key]), [""; 0]);
    assert_eq!(with([""; 5]), [""; 0]);
    let error = with([&missing, &empty, "", "", &empty]);
    assert_eq!(error.len(), 3, "{error:?}");
    assert!(error[0].starts_with("origin_ca_file = ") && error[0].contains("cannot be read"), "{error:?}");
    assert!(
        error[1].starts_with("redis_ca_file = ") && error[1].contains("holds no certificate"),
        "{error:?}"
    );
    assert!(error[2].starts_with("redis_password_file = "), "{error:?}");
    let error = with(["", "", &cert, &missing, ""]);
    assert!(error.len() == 1 && error[0].starts_with("redis_client_key_file = "), "{error:?}");
    let error = with(["", "", &key, &key, ""]);
    assert!(error.len() == 1, "{error:?}");
}

#[test]
fn the_listener_speaks_tls_with_pairs_of_files() {
    let pair = [("tls_cert_file", "/a.pem, /b.pem"), ("tls_key_file", "/a.key,/b.key")];
    let tls = settings(&pair).workers[0].server.tls.clone().unwrap();
    let files: Vec<_> = tls.files().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(files, ["/a.pem", "/a.key", "/b.pem", "/b.key"]);
    assert_eq!(tls.client_auth, tls::ClientAuth::Off);
    let clients = [pair[0], pair[1], ("tls_client_auth", "require"), ("tls_client_ca_file", "/ca.pem")];
    let tls = settings(&clients).workers[0].server.tls.clone().unwrap();
    assert_eq!(tls.client_auth, tls::ClientAuth::Require("/ca.pem".into()));
    assert_eq!(settings(&[]).workers[0].server.tls, None);
    assert_eq!(settings(&pair).admin.unwrap().tls, None);

    for (variables, error) in [
        (&[("tls_cert_file", "/a.pem")][..], "requires tls_key_file"),
        (&[("tls_key_file", "/a.key")], "requires tls_cert_file"),
        (&[pair[0], ("tls_key_file", "/a.key")], "has 1 items, but tls_cert_file has 2"),
        (&[pair[0], pair[1], ("tls_client_auth", "request")], "requires tls_client_ca_file"),
        (&[("tls_client_auth", "request"), ("tls_client_ca_file", "/ca.pem")], "requires tls_cert_file"),
        (&[("health_path", "/a"), ("ready_path", "/a")], "is also the path of health_path"),
        (&[("origin_client_cert_file", "/a.pem")], "requires origin_client_key_file"),
    ] {
        let errors = errors_of(&[], variables, "");
        assert!(errors.len() == 1 && errors[0].contains(error), "{error}: {errors:?}");
    }
}

#[test]
fn shares_add_up() {
    for (total, workers, shares) in [
        ("20", "8", &[3, 3, 3, 3, 2, 2, 2, 2][..]),
        ("20", "1", &[20]),
        ("5", "2", &[3, 2]),
        ("1", "3", &[1, 1, 1]),
    ] {
        let variables = [("redis_pool_size", total), ("worker_threads", workers)];
        let workers = settings(&variables).workers;
        let connections: Vec<_> =
            workers.iter().map(|worker| worker.redis.as_ref().unwrap().server.connections).collect();
        assert_eq!(connections, shares);
    }
    let warnings = given(&[], &[("redis_pool_size", "1")], "").unwrap().warnings;
    assert_eq!(
        warnings[0].to_string(),
        "redis_pool_size is 1, but there are 2 workers, and each gets at least one"
    );
    assert_eq!(given(&[], &[("redis_pool_size", "1"), ("redis_url", "off")], "").unwrap().warnings, []);
}

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
            "is also the address of listen_addr; use another port for one of them",
        ),
        ("admin_addr", "[::]:8000", "is also the address of listen_addr; use another port for one of them"),
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
            "has \"x_api_key\", which is also in credential_headers; keep it in one of the two",
        ),
        (
            "key_headers",
            "x-api-key",
            "has \"x-api-key\", which is also in credential_headers; keep it in one of the two",
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
fn a_misused_command_reports_its_own_errors() {
    for (flags, report) in [
        (
            &["purge"][..],
            "cannot run `cachewarp purge`:
  the order names nothing to purge; use --url, --tag, --group, --prefix or --all
`cachewarp purge --help` describes the command.",
        ),
        (
            &["purge", "--all", "--frob"],
            "cannot run `cachewarp purge`:
  unknown flag --frob
`cachewarp purge --help` describes the command.",
        ),
        (
            &["purge", "--url=http://a/", "--url", "/b"],
            "cannot run `cachewarp purge`:
  --url \"/b\": the URL does not begin with http:// or https://
`cachewarp purge --help` describes the command.",
        ),
        (
            &["explain"],
            "cannot run `cachewarp explain`:
  the following required arguments were not provided: <URL>
`cachewarp explain --help` describes the command.",
        ),
        (
            &["explain", "http://a/"],
            "cannot run `cachewarp explain`:
  an explain token is required; use --token, or set explain_token
`cachewarp explain --help` describes the command.",
        ),
        (
            &["health", "--url", "a"],
            "cannot run `cachewarp health`:
  --url does not begin with a scheme and `://`
`cachewarp health --help` describes the command.",
        ),
        (
            &["inspect", "/a"],
            "cannot run `cachewarp inspect`:
  the URL does not begin with http:// or https://
`cachewarp inspect --help` describes the command.",
        ),
        (
            &["top", "--admin-addr=off"],
            "cannot run `cachewarp top`:
  admin_addr is off, so no listener accepts this command
`cachewarp top --help` describes the command.",
        ),
        (
            &["purg", "--all"],
            "cannot read the command line:
  \"purg\" is neither a command nor the value of a flag; did you mean `purge`?
`cachewarp --help` lists all commands and settings.",
        ),
    ] {
        // A setting of the environment is not at fault.
        let errors = given(flags, &[("LOG_FORMAT", "json"), ("REDIS_URI", "off")], "").unwrap_err();
        assert_eq!(errors.to_string(), report, "{flags:?}");
    }
}

#[test]
fn check_refuses_names_like_those_of_settings() {
    let variables = [
        ("CACHE_DEFAULT_TLL", "1s"),
        ("Origin_URL", "http://a"),
        ("CACHEWARP_LOG_LEVEL", "debug"),
        ("REDIS_HOST", "a"),
        ("REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("REDIS_SERVICE_HOST", "10.0.0.1"),
    ];
    let dotenv = "CACHE_SIZE=1\nREDIS_PASSWORD_FIEL=/a\n";
    assert_eq!(
        errors_of(&["check"], &variables, dotenv),
        [
            "environment: Origin_URL is not a setting; did you mean `ORIGIN_URL`?",
            "environment: CACHE_DEFAULT_TLL is not a setting; did you mean `CACHE_DEFAULT_TTL`?",
            "environment: CACHEWARP_LOG_LEVEL is not a setting; did you mean `LOG_LEVEL`?",
            ".env line 2: REDIS_PASSWORD_FIEL is not a setting; did you mean `REDIS_PASSWORD_FILE`?",
        ]
    );
    // The program starts: another program may own such a variable.
    let warnings = given(&[], &variables, dotenv).unwrap().warnings;
    assert_eq!(warnings.iter().filter(|warning| warning.misspelling().is_some()).count(), 4);
    for flags in [&[][..], &["check"]] {
        let warnings = match given(flags, &[("REDIS_HOST", "a"), ("REDIS_PORT", "6379")], "CACHE_SIZE=1") {
            Ok(plan) => plan.warnings,
            Err(errors) => panic!("{errors}"),
        };
        assert_eq!(
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "REDIS_HOST (environment REDIS_HOST) is not a setting, and is not read",
                "REDIS_PORT (environment REDIS_PORT) is not a setting, and is not read",
                "CACHE_SIZE (.env line 1) is not a setting, and is not read",
            ]
        );
    }
}

#[test]
fn connections_are_lowered_to_what_the_system_allows() {
    let totals = |settings: &Settings| {
        let workers = settings.workers.iter();
        workers.fold((0, 0), |(clients, origin), worker| {
            (clients + worker.server.connections_max, origin + worker.origin.connections_max)
        })
    };
    for (variables, room, clients, origin, warns) in [
        (&[][..], usize::MAX, 16_384, 4096, false),
        (&[], 19_744, 15_564, 4096, false),
        (&[], 12_000, 7820, 4096, true),
        (&[], 1000, 458, 458, true),
        (&[], 0, 2, 2, true),
        (&[("MAX_CONNECTIONS", "50000")], 19_744, 15_564, 4096, true),
        (&[("MAX_CONNECTIONS", "1000")], 19_744, 1000, 4096, false),
    ] {
        let mut settings = settings(variables);
        let warning = settings.fit(room);
        assert_eq!(
            (totals(&settings), warning.is_some()),
            ((clients, origin), warns),
            "{variables:?} {room}"
        );
        assert!(settings.connections_max() <= room.max(88), "{variables:?} {room}");
        if let Some(warning) = warning {
            assert_eq!(warning.to_string().lines().count(), 1);
        }
    }
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
fn check_shows_every_value_and_no_secret() {
    let variables = [
        ("REDIS_URL", "redis://app:hunter2@cache.example/1"),
        ("ORIGIN_URL", "https://api.example:443/v1/"),
        ("EXPLAIN_TOKEN", "hunter2"),
    ];
    let namespace = settings(&[("origin_url", "https://API.example/v1")]).store.namespace;
    let order = given(&["check", "--cache-default-ttl", "5m"], &variables, "log_format=json\n").unwrap();
    let CliCommand::Check(report) = order.command else { panic!("no report") };
    let report = report.to_string();
    assert_eq!(report.lines().count(), Name::ALL.len());
    for (name, value, source) in [
        ("redis_url", "redis://***@cache.example/1", "environment REDIS_URL"),
        ("cache_default_ttl", "5m", "flag --cache-default-ttl"),
        ("log_format", "json", ".env line 1"),
        ("worker_threads", "auto (2)", "default"),
        ("cache_namespace", &format!("auto ({})", namespace.as_str()), "default"),
        ("origin_ca_file", "(none)", "default"),
        ("explain_token", "***", "environment EXPLAIN_TOKEN"),
    ] {
        let words: Vec<_> = [name, value, source].join(" ").split(' ').map(str::to_owned).collect();
        let line = report.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), words);
    }
    assert!(!report.contains("hunter2"));
}

#[test]
fn commands_carry_what_they_need() {
    let command = |flags: &[&str]| given(flags, &[], "").unwrap().command;
    assert!(matches!(command(&["demo"]), CliCommand::Demo(_)));
    assert!(matches!(command(&["--version"]), CliCommand::Print(text) if text.starts_with("cachewarp ")));
    let CliCommand::Health(target) = command(&["health", "--listen-addr", "[::]:80"]) else {
        panic!("no health")
    };
    assert_eq!((target.authority.as_str(), target.path.as_str()), ("[::1]:80", "/health"));
}

#[test]
fn explain_takes_its_token_from_the_settings_or_from_its_own_flag() {
    let request = |flags: &[&str], variables: &[(&str, &str)]| {
        let command = given(flags, variables, "").unwrap().command;
        let CliCommand::Explain(request) = command else { panic!("{command:?}") };
        *request
    };
    let set = [("EXPLAIN_TOKEN", "set")];
    assert!(request(&["explain", "http://a:1/b"], &set).token.is(b"set"));
    let error = [("EXPLAIN_TOKEN", "set"), ("REDIS_POOL_SIZE", "0")];
    let explain = request(&["explain", "http://a:1/b", "--token", "given", "-H", "X: y"], &error);
    assert!(explain.token.is(b"given") && explain.fields.len() == 1);
    assert_eq!(
        errors_of(&["explain", "a", "-H", "x"], &[], ""),
        [
            "command line: the URL does not begin with a scheme and `://`",
            "command line: -H is not of the form `Name: value`",
            "command line: an explain token is required; use --token, or set explain_token",
        ]
    );
}

#[test]
fn a_reachable_admin_listener_without_a_token_causes_a_warning() {
    let warnings = |variables: &[(&str, &str)]| -> Vec<String> {
        given(&[], variables, "").unwrap().warnings.iter().map(ToString::to_string).collect()
    };
    for addr in ["127.0.0.1:8001", "[::1]:8001", "[::ffff:127.0.0.1]:8001", "off"] {
        assert_eq!(warnings(&[("ADMIN_ADDR", addr)]), [""; 0], "{addr}");
    }
    for addr in ["0.0.0.0:8001", "[::]:8001", "192.0.2.1:8001"] {
        let want = format!(
            "other machines can reach admin_addr {addr}, but admin_token is not set: only this machine may use purge, entries and stats"
        );
        assert_eq!(warnings(&[("ADMIN_ADDR", addr)]), [want]);
        assert_eq!(warnings(&[("ADMIN_ADDR", addr), ("ADMIN_TOKEN", "sesame")]), [""; 0]);
    }
    let operators = settings(&[("ADMIN_TOKEN", "sesame")]).operators;
    assert!(operators.token.get().is_some_and(|token| token.is(b"sesame")));
}

#[test]
fn admin_commands_use_the_listener_of_the_settings() {
    let command = |flags: &[&str]| given(flags, &[("ADMIN_TOKEN", "sesame")], "").unwrap().command;
    let CliCommand::Run(run) = command(&["purge", "--all", "--admin-addr", "0.0.0.0:9"]) else {
        panic!("no purge")
    };
    let (client, order) = *run;
    assert_eq!(client.authority, "127.0.0.1:9");
    assert!(client.token.is_some_and(|token| token.is(b"sesame")));
    assert!(matches!(order, probe::AdminCommand::Purge(order) if order.contains("\"all\":true")));
    let CliCommand::Top(_, output) = command(&["top", "--once"]) else { panic!("no top") };
    assert_eq!(output, TopOutput::Once);
    assert_eq!(
        errors_of(&["purge", "--admin-addr=off"], &[], ""),
        [
            "command line: admin_addr is off, so no listener accepts this command",
            "command line: the order names nothing to purge; use --url, --tag, --group, --prefix or --all",
        ]
    );
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

/// An explanation names a section of an RFC or a setting.
#[test]
fn clauses_name_sections_or_existing_settings() {
    let clauses = NotStorable::ALL.iter().map(|reason| reason.clause());
    for part in
        clauses.chain(NotReusable::ALL.iter().map(|reason| reason.clause())).flat_map(|all| all.split(", "))
    {
        let section = part.strip_prefix("RFC ").and_then(|rest| rest.split_once(" §"));
        let is_section = section.is_some_and(|(rfc, section)| {
            rfc.parse::<u16>().is_ok() && section.split('.').all(|number| number.parse::<u8>().is_ok())
        });
        assert!(is_section || Name::ALL.iter().any(|name| name.as_str() == part), "{part}");
    }
}

#[test]
fn health_with_a_url_needs_no_settings() {
    let error = [("REDIS_POOL_SIZE", "0")];
    let order = given(&["health", "--url", "http://a:1/health"], &error, "broken").unwrap();
    let CliCommand::Health(target) = order.command else { panic!("no health") };
    assert_eq!(target.authority, "a:1");
    assert_eq!(
        errors_of(&["health", "--url", "a"], &[], ""),
        ["command line: --url does not begin with a scheme and `://`"]
    );
}

#[test]
fn help_is_printed_despite_errors() {
    let order = read(ConfigSources {
        args: ["cachewarp", "--help"].map(OsString::from).to_vec(),
        environment: vec![("REDIS_POOL_SIZE".into(), "0".into())],
        dotenv: Err(io::ErrorKind::PermissionDenied.into()),
        cores: 0,
        files: FileChecks::Unopened,
    });
    assert!(matches!(order.unwrap().command, CliCommand::Print(_)));
}

#[test]
fn bodies_are_read_in_the_unit_that_was_written() {
    assert_eq!(settings(&[("CACHE_MAX_BODY", "3KiB")]).rules.body_bytes_max, 3 * KIB);
}
