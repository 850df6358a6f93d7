//! The files that settings name, opened before anything depends on them.
//!
//! A certificate that cannot be read is as wrong as a setting that cannot: it is said at once and
//! with all other faults, not at the first connection.

use std::path::Path;

use super::FileChecks;
use super::reading::Resolver;
use super::table::Name;
use super::wrong::ConfigError;
use crate::tls::{self, TlsError};
use crate::{origin, redis};

impl Resolver<'_> {
    /// Notes every file that is of no use. What is not named is not looked for.
    pub(super) fn check_files(&mut self, origin: &origin::Options, redis: Option<&redis::Deployment>) {
        if self.files == FileChecks::Unopened {
            return;
        }
        if origin.ca_file.is_some() {
            let trust = tls::Options { ca_file: origin.ca_file.clone(), identity: None };
            self.check_tls(&trust, Name::OriginCaFile);
        }
        let Some(redis) = redis.map(|redis| &redis.server) else { return };
        let tls = &redis.tls;
        if tls.ca_file.is_some() {
            self.check_tls(&tls::Options { identity: None, ..tls.clone() }, Name::RedisCaFile);
        }
        if let Some(identity) = &tls.identity
            && !self.has_fault_in(&[Name::RedisCaFile])
        {
            let key = identity.key_file.clone();
            let name = move |path: &Path| {
                if path == key { Name::RedisClientKeyFile } else { Name::RedisClientCertFile }
            };
            if let Err(bad) = tls::connector(tls, &[]) {
                self.note(
                    bad_file(&bad).map_or(Name::RedisClientKeyFile, name),
                    ConfigError::File(bad.to_string()),
                );
            }
        }
        if let Some(file) = &redis.password_file
            && let Err(error) = redis::check_password_file(&file.path)
        {
            self.note(Name::RedisPasswordFile, ConfigError::File(format!("cannot be read: {error}")));
        }
    }

    fn check_tls(&mut self, options: &tls::Options, name: Name) {
        if let Err(bad) = tls::connector(options, &[]) {
            self.note(name, ConfigError::File(bad.to_string()));
        }
    }
}

/// The file that is to blame, if one is.
fn bad_file(bad: &TlsError) -> Option<&Path> {
    match bad {
        TlsError::File { path, .. }
        | TlsError::NoCertificate(path)
        | TlsError::NotAnAuthority { path, .. } => Some(path),
        TlsError::Identity(_) | TlsError::NoAuthorities | TlsError::Unavailable(_) => None,
    }
}
