//! Commands: their arguments, and the plans that they become.

use super::*;

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
            &["routes", "GET"],
            "cannot run `cachewarp routes`:
  the following required arguments were not provided: <URL>
`cachewarp routes --help` describes the command.",
        ),
        (
            &["routes", "GET", "http://a/"],
            "cannot run `cachewarp routes`:
  routes_file is not set
`cachewarp routes --help` describes the command.",
        ),
        (
            &["reload", "now"],
            "cannot run `cachewarp reload`:
  reload does not take the argument \"now\"
`cachewarp reload --help` describes the command.",
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
fn admin_commands_use_the_listener_of_the_settings() {
    let command = |flags: &[&str]| given(flags, &[("ADMIN_TOKEN", "sesame")], "").unwrap().command;
    let CliCommand::Run(run) = command(&["purge", "--all", "--admin-addr", "0.0.0.0:9"]) else {
        panic!("no purge")
    };
    let (client, order) = *run;
    assert_eq!(client.listener.authority, "127.0.0.1:9");
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
