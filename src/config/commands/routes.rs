//! The arguments of `cachewarp routes`.

use clap::ArgMatches;
use clap::builder::Arg;
use http::Method;

use crate::config::reporting::error::ConfigError;
use crate::config::resolve::settings::Settings;
use crate::key::Target;

/// The arguments of `cachewarp routes`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct RoutesArgs {
    method: String,
    url: String,
}

impl RoutesArgs {
    pub(in crate::config) fn args() -> [Arg; 2] {
        [
            Arg::new("method").required(true).value_name("METHOD").help("Method, such as GET"),
            Arg::new("url")
                .required(true)
                .value_name("URL")
                .help("URL as clients request it, or its path to leave out the host"),
        ]
    }

    pub(in crate::config) fn read(matches: &ArgMatches) -> Self {
        let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
        Self { method: text("method"), url: text("url") }
    }

    /// Returns the report on the route of the request, or every error.
    pub(in crate::config) fn report(&self, settings: &Settings) -> Result<String, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| errors.push(ConfigError::Method(self.method.clone())));
        let (url, has_host) = match self.url.strip_prefix('/') {
            Some(path) => (format!("http://localhost/{path}"), false),
            None => (self.url.clone(), true),
        };
        let target = Target::of_url(&url).map_err(|error| errors.push(ConfigError::InspectUrl(error)));
        if settings.routes.is_none() {
            errors.push(ConfigError::NoRoutes);
        }
        match (method, target, &settings.routes) {
            (Ok(method), Ok(target), Some(routes)) => {
                let authority = if has_host { target.authority.as_str() } else { "" };
                Ok(routes.report(&method, authority, target.path_and_query.path()))
            }
            _ => Err(errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use crate::config::{CliCommand, CommandPlan, ConfigErrors, ConfigSources, FileChecks, read};
    use crate::limits::{MIB, ROUTE_ERRORS_SHOWN_MAX};

    /// Reads a command line beside a routes file with this content.
    fn given(words: &[&str], file: &[u8]) -> Result<CommandPlan, ConfigErrors> {
        let folder = tempfile::tempdir().unwrap_or_else(|error| unreachable!("{error}"));
        let path = folder.path().join("routes.toml");
        assert!(fs::write(&path, file).is_ok());
        let mut args: Vec<OsString> =
            std::iter::once(&"cachewarp").chain(words).map(OsString::from).collect();
        args.extend(["--routes-file".into(), path.into_os_string()]);
        read(ConfigSources {
            args,
            environment: Vec::new(),
            dotenv: Ok(Vec::new()),
            cores: 1,
            files: FileChecks::Opened,
        })
    }

    fn errors(words: &[&str], file: &[u8]) -> Vec<String> {
        let errors = given(words, file).err().map(|errors| errors.errors).unwrap_or_default();
        errors.iter().map(|error| error.error.to_string()).collect()
    }

    #[test]
    fn a_routes_file_is_read_at_the_start() {
        let plan = given(&[], b"[[route]]\nname = 'a'\npath = '/a'\n");
        let Ok(CommandPlan { command: CliCommand::Serve(settings), .. }) = plan else { panic!("{plan:?}") };
        assert_eq!(settings.routes.as_ref().map(|routes| routes.routes().len()), Some(1));
        assert_eq!(
            errors(&[], b"[[route]]\nname = 'A'\n\n[[route]]\npth = '/a'\n"),
            [
                "line 1, column 1: `path` is missing",
                "line 2, column 8: the name is not 1 to 64 of a-z, 0-9 and `-`; did you mean `a`?",
                "line 4, column 1: `name` is missing",
                "line 4, column 1: `path` is missing",
                "line 5, column 1: unknown member `pth`; did you mean `path`?",
            ]
        );
    }

    #[test]
    fn errors_of_a_routes_file_have_a_bound_and_their_source() {
        let many = errors(&[], "[[route]]\n".repeat(ROUTE_ERRORS_SHOWN_MAX).as_bytes());
        assert_eq!(many.len(), ROUTE_ERRORS_SHOWN_MAX + 1);
        assert_eq!(many.last().map(String::as_str), Some("100 further errors"));
        assert_eq!(errors(&[], &vec![b'#'; 2 * MIB]).len(), 1);
        let report = given(&["check"], b"x = 1").err().map(|errors| errors.to_string()).unwrap_or_default();
        assert!(
            report.contains("routes_file = ") && report.contains("(flag --routes-file): line 1"),
            "{report}"
        );
    }

    #[test]
    fn no_route_has_the_header_of_request_ids_in_its_key() {
        let file =
            b"[[route]]\nname = 'a'\npath = '/a'\nkey_headers = ['X_Request_Id']\n\n[[route]]\nname = 'b'\npath = '/b'\ncredential_headers = ['x-request-id']\n";
        let why = "which is the request_id_header: each request has an id of its own, so no two requests would \
                   share a response";
        let expected = [
            format!("line 1: `key_headers` has \"x-request-id\", {why}"),
            format!("line 6: `credential_headers` has \"x-request-id\", {why}"),
        ];
        for command in [&[][..], &["check"]] {
            assert_eq!(errors(command, file), expected, "{command:?}");
        }
        assert_eq!(errors(&["--request-id-header", "off"], file), [""; 0]);
        assert_eq!(errors(&["--request-id-header", "x-correlation-id"], file), [""; 0]);
    }

    #[test]
    fn check_lists_the_routes() {
        let plan = given(&["check"], b"[[route]]\nname = 'a'\npath = '/a'\noverride = ['private']\n");
        let Ok(CommandPlan { command: CliCommand::Check(report), .. }) = plan else { panic!("{plan:?}") };
        let report = report.to_string();
        assert!(
            report.contains("\nroute a: GET,HEAD /a\n  override = [\"private\"]  (permissive"),
            "{report}"
        );
    }

    #[test]
    fn the_route_of_a_request_is_shown() {
        let file = b"[[route]]\nname = 'a'\nhost = 'h'\npath = '/a/{x}'\n";
        let report = |words: &[&str]| match given(words, file).map(|plan| plan.command) {
            Ok(CliCommand::Routes(report)) => report,
            other => panic!("{other:?}"),
        };
        assert!(
            report(&["routes", "GET", "http://h/a/1?q"]).starts_with("GET /a/1 matches route a (line 1)")
        );
        assert!(report(&["routes", "GET", "https://h:8443/a/1"]).contains("matches route a"));
        assert!(report(&["routes", "GET", "/a/1"]).contains("not route a: its host differs"));
        assert_eq!(
            errors(&["routes", "G T", "ftp://h/a"], file),
            ["\"G T\" is not a method", "the URL does not begin with http:// or https://"]
        );
    }

    #[test]
    fn a_missing_routes_file_is_an_error() {
        let sources = |words: &[&str]| ConfigSources {
            args: std::iter::once(&"cachewarp").chain(words).map(OsString::from).collect(),
            environment: Vec::new(),
            dotenv: Ok(Vec::new()),
            cores: 1,
            files: FileChecks::Opened,
        };
        let error = |words: &[&str]| {
            let errors = read(sources(words)).err().map(|errors| errors.errors).unwrap_or_default();
            errors.iter().map(|error| error.error.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(error(&["routes", "GET", "/a"]), ["routes_file is not set"]);
        let missing = error(&["--routes-file", "/does/not/exist"]);
        assert!(matches!(&missing[..], [only] if only.starts_with("cannot be read: ")), "{missing:?}");
    }
}
