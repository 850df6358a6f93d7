//! Valid settings, and the options that they become.

use super::*;
use crate::secret::Secret;

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
        ("credential_headers", "x-session"),
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
fn bodies_are_read_in_the_unit_that_was_written() {
    assert_eq!(settings(&[("CACHE_MAX_BODY", "3KiB")]).rules.body_bytes_max, 3 * KIB);
}

#[test]
fn a_token_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (sesame, spaced) = (file("one", "sesame\nold\n"), file("two", "open sesame\n"));
    let read = |variables: &[(&str, &str)]| {
        read(ConfigSources {
            args: vec!["cachewarp".into()],
            environment: variables.iter().map(|(name, text)| (name.into(), text.into())).collect(),
            dotenv: Err(io::ErrorKind::NotFound.into()),
            cores: 1,
            files: FileChecks::Opened,
        })
    };
    let tokens = |variables: &[(&str, &str)]| {
        let CliCommand::Serve(settings) = read(variables).ok()?.command else { return None };
        let of = |secret: Option<Secret>| secret.map(|secret| secret.expose().to_owned());
        Some([of(settings.operators.token.get()), of(settings.proxy.explain_token.clone())])
    };
    let named = |text: &str| Some(text.to_owned());
    let files = [("ADMIN_TOKEN_FILE", sesame.as_str()), ("explain_token_file", &sesame)];
    assert_eq!(tokens(&files), Some([named("sesame"), named("sesame")]));
    assert_eq!(tokens(&[files[0], ("ADMIN_TOKEN", "sesame")]), Some([named("sesame"), None]));
    assert_eq!(tokens(&[("ADMIN_TOKEN", "own"), ("ADMIN_TOKEN_FILE", "")]), Some([named("own"), None]));
    let missing = folder.path().join("missing").to_str().unwrap().to_owned();
    for (variables, error) in [
        ([files[0], ("ADMIN_TOKEN", "other")], "holds another secret than admin_token; keep one of them"),
        ([files[1], ("EXPLAIN_TOKEN", "other")], "holds another secret than explain_token; keep one of them"),
        ([("ADMIN_TOKEN_FILE", &missing), ("LOG_LEVEL", "info")], "cannot be read: "),
        ([("ADMIN_TOKEN_FILE", &spaced), ("LOG_LEVEL", "info")], "its first line is no token"),
    ] {
        let errors = read(&variables).err().unwrap().errors;
        assert_eq!(errors.len(), 1);
        let text = errors[0].to_string();
        assert!(text.contains(error) && !text.contains("sesame"), "{text}");
    }
}
