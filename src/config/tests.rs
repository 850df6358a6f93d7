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

mod errors;
mod plans;
mod resolved;

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
