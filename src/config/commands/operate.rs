//! The arguments of `cachewarp check`, `purge`, `inspect` and `top`, turned into commands for the
//! admin listener.
//!
//! A purge is checked here as the admin listener checks it, so that a mistake is reported before
//! anything is sent.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::{Arg, ArgAction};
use clap::{ArgMatches, value_parser};

use crate::config::reporting::error::ConfigError;
use crate::config::resolve::settings::Settings;
use crate::config::urls::masked;
use crate::key::Target;
use crate::probe::{AdminClient, AdminCommand, ProbeTarget};
use crate::purge::PurgeOrderError;
use crate::{json, purge, server};

/// The arguments of `cachewarp check`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct CheckArgs {
    pub(in crate::config) heads: Option<HeadSource>,
}

/// The source of recorded request heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadSource {
    /// Standard input: `-`.
    StandardInput,
    /// A file.
    File(PathBuf),
}

/// The arguments of `cachewarp purge`, as given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct PurgeArgs {
    urls: Vec<String>,
    tags: Vec<String>,
    /// Groups of the form `authority/name`.
    groups: Vec<String>,
    prefixes: Vec<String>,
    all: FlagSet,
    soft: FlagSet,
}

/// The arguments of `cachewarp inspect`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct InspectArgs {
    url: String,
    fields: Vec<String>,
    /// The content of a `QUERY`.
    query: Option<String>,
}

/// The arguments of `cachewarp top`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct TopArgs {
    once: FlagSet,
}

/// The presence of a flag that has no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FlagSet {
    Yes,
    #[default]
    No,
}

/// The form of the output of `cachewarp top`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopOutput {
    /// Frames on the terminal, until the operator quits.
    Live,
    /// One frame, as text.
    Once,
}

impl CheckArgs {
    pub(in crate::config) fn args() -> [Arg; 1] {
        [Arg::new("explain-headers")
            .long("explain-headers")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(
                "Report which headers of recorded requests keep them from the cache where the origin states no \
                 freshness. FILE has request heads, `curl -v` output, or JSON access log lines with headers; \
                 - is standard input",
            )]
    }

    pub(in crate::config) fn read(matches: &ArgMatches) -> Self {
        Self { heads: matches.get_one::<PathBuf>("explain-headers").map(|path| HeadSource::of(path)) }
    }

    #[cfg(test)]
    pub(in crate::config) fn of(heads: HeadSource) -> Self {
        Self { heads: Some(heads) }
    }
}

impl HeadSource {
    fn of(path: &Path) -> Self {
        if path == Path::new("-") { Self::StandardInput } else { Self::File(path.to_owned()) }
    }
}

impl fmt::Display for HeadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardInput => f.write_str("standard input"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl PurgeArgs {
    pub(in crate::config) fn args() -> [Arg; 6] {
        [
            several("url", "URL", "URL as clients request it, with all its variants"),
            several("tag", "TAG", "All responses with this tag"),
            several("group", "HOST/NAME", "All responses of this cache group"),
            several("prefix", "URL", "All URLs under this prefix"),
            switch("all", "All stored responses"),
            switch("soft", "Mark as stale instead of removing"),
        ]
    }

    pub(in crate::config) fn read(matches: &ArgMatches) -> Self {
        Self {
            urls: texts(matches, "url"),
            tags: texts(matches, "tag"),
            groups: texts(matches, "group"),
            prefixes: texts(matches, "prefix"),
            all: FlagSet::of(matches, "all"),
            soft: FlagSet::of(matches, "soft"),
        }
    }

    pub(in crate::config) fn command(&self) -> Result<AdminCommand, Vec<ConfigError>> {
        let groups: Vec<_> =
            self.groups.iter().map(|group| group.split_once('/').unwrap_or((group, ""))).collect();
        let order = json::object(|order| {
            order.texts("urls", self.urls.iter().map(String::as_str), usize::MAX);
            order.texts("tags", self.tags.iter().map(String::as_str), usize::MAX);
            order.objects("groups", groups.iter(), |group, (authority, name)| {
                group.text("authority", authority, usize::MAX);
                group.text("name", name, usize::MAX);
            });
            order.texts("prefixes", self.prefixes.iter().map(String::as_str), usize::MAX);
            for (name, flag) in [("all", self.all), ("soft", self.soft)] {
                if flag == FlagSet::Yes {
                    order.set(name);
                }
            }
        });
        purge::read(&order)
            .map(|_| AdminCommand::Purge(order))
            .map_err(|error| vec![self.located(&error).unwrap_or(ConfigError::Purge(error))])
    }

    /// Returns the error of one item, with its flag and value as given.
    fn located(&self, error: &PurgeOrderError) -> Option<ConfigError> {
        let PurgeOrderError::Member { path, reason } = error else { return None };
        let (list, rest) = path.split_once('[')?;
        let (index, _) = rest.split_once(']')?;
        let lists = [
            ("urls", "--url", &self.urls),
            ("tags", "--tag", &self.tags),
            ("groups", "--group", &self.groups),
            ("prefixes", "--prefix", &self.prefixes),
        ];
        let (_, flag, values) = lists.into_iter().find(|(name, ..)| *name == list)?;
        let given = masked(values.get(index.parse::<usize>().ok()?)?);
        Some(ConfigError::PurgeItem { flag, given, reason: reason.clone() })
    }
}

impl InspectArgs {
    pub(in crate::config) fn args() -> [Arg; 3] {
        [
            Arg::new("url").required(true).value_name("URL").help("URL as clients request it"),
            several("header", "NAME: VALUE", "Header of the request to match; may be repeated").short('H'),
            Arg::new("query").long("query").value_name("CONTENT").help("Content of a QUERY to match"),
        ]
    }

    pub(in crate::config) fn read(matches: &ArgMatches) -> Self {
        let url = matches.get_one::<String>("url").cloned().unwrap_or_default();
        Self { url, fields: texts(matches, "header"), query: matches.get_one::<String>("query").cloned() }
    }

    pub(in crate::config) fn command(&self) -> Result<AdminCommand, Vec<ConfigError>> {
        Target::of_url(&self.url).map_err(|error| vec![ConfigError::InspectUrl(error)])?;
        let Self { url, fields, query } = self.clone();
        Ok(AdminCommand::Inspect { url, fields, query })
    }
}

impl TopArgs {
    pub(in crate::config) fn args() -> [Arg; 1] {
        [switch("once", "Print one frame as text, sampled over one second")]
    }

    pub(in crate::config) fn read(matches: &ArgMatches) -> Self {
        Self { once: FlagSet::of(matches, "once") }
    }

    pub(in crate::config) fn output(self) -> TopOutput {
        match self.once {
            FlagSet::Yes => TopOutput::Once,
            FlagSet::No => TopOutput::Live,
        }
    }
}

impl FlagSet {
    fn of(matches: &ArgMatches, name: &str) -> Self {
        if matches.get_flag(name) { Self::Yes } else { Self::No }
    }
}

/// Returns the health URL of the CacheWarp at these addresses. It is that of the admin
/// listener if the listener for clients has no health check, is a unix socket, or speaks TLS, whose
/// certificate may be for any name.
pub(in crate::config) fn health(settings: &Settings) -> Result<ProbeTarget, Vec<ConfigError>> {
    let needs_admin = settings
        .workers
        .first()
        .is_some_and(|worker| worker.server.tls.is_some() || worker.server.socket.is_some());
    match (&settings.proxy.probes.health, &settings.admin) {
        (Some(path), _) if !needs_admin => Ok(ProbeTarget::at(settings.listen_addr, path)),
        (_, Some(admin)) => Ok(at(admin, "/health")),
        (_, None) => Err(vec![ConfigError::HealthNeedsAdmin]),
    }
}

/// Returns a client of the admin listener that the settings name.
pub(in crate::config) fn admin_client(settings: &Settings) -> Result<AdminClient, Vec<ConfigError>> {
    match &settings.admin {
        Some(listener) => {
            Ok(AdminClient { listener: at(listener, "/"), token: settings.operators.token.get() })
        }
        None => Err(vec![ConfigError::NoAdmin]),
    }
}

/// Returns the URL of this path of the CacheWarp with this admin listener.
fn at(admin: &server::Options, path: &str) -> ProbeTarget {
    match &admin.socket {
        Some(socket) => ProbeTarget::at_socket(&socket.path, path),
        None => ProbeTarget::at(admin.addr, path),
    }
}

fn several(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Append)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge() -> PurgeArgs {
        PurgeArgs::default()
    }

    fn words(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn arguments_become_a_purge_order() {
        let all = PurgeArgs {
            urls: words(&["http://a/b"]),
            tags: words(&["t", "u"]),
            groups: words(&["a:8000/g/h"]),
            prefixes: words(&["http://a/v1/"]),
            all: FlagSet::Yes,
            soft: FlagSet::Yes,
        };
        let AdminCommand::Purge(order) = all.command().unwrap() else { panic!("no purge") };
        assert_eq!(
            order,
            r#"{"urls":["http://a/b"],"tags":["t","u"],"groups":[{"authority":"a:8000","name":"g/h"}],"prefixes":["http://a/v1/"],"all":true,"soft":true}"#
        );
    }

    #[test]
    fn a_malformed_order_is_refused_before_it_is_sent() {
        for (words, message) in [
            (purge(), "the order names nothing to purge"),
            (PurgeArgs { soft: FlagSet::Yes, ..purge() }, "the order names nothing to purge"),
            (
                PurgeArgs { urls: words(&["a"]), ..purge() },
                "--url \"a\": the URL does not begin with http:// or https://",
            ),
            (PurgeArgs { groups: words(&["g"]), ..purge() }, "--group \"g\": the name of the group is empty"),
        ] {
            let error = words.command().unwrap_err();
            assert_eq!(error.iter().map(ToString::to_string).collect::<Vec<_>>(), [message]);
        }
        let inspect = InspectArgs { url: "/a".to_owned(), ..InspectArgs::default() };
        assert_eq!(
            inspect.command().unwrap_err()[0].to_string(),
            "the URL does not begin with http:// or https://"
        );
    }
}
