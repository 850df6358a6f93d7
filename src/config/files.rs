//! Checks of the files that settings name.
//!
//! An unreadable certificate is an error of the settings. It is reported at the start with all
//! other errors, and not at the first connection.

use std::path::Path;

use super::error::ConfigError;
use super::resolver::{FileChecks, Resolver};
use super::table::Name;
use crate::tls::{self, TlsError};
use crate::{origin, redis};

impl Resolver<'_> {
    /// Notes an error for each unusable file among those that the settings name.
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
            && !self.has_error_in(&[Name::RedisCaFile])
        {
            let key = identity.key_file.clone();
            let name = move |path: &Path| {
                if path == key { Name::RedisClientKeyFile } else { Name::RedisClientCertFile }
            };
            if let Err(error) = tls::connector(tls, &[]) {
                self.note(
                    bad_file(&error).map_or(Name::RedisClientKeyFile, name),
                    ConfigError::File(error.to_string()),
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
        if let Err(error) = tls::connector(options, &[]) {
            self.note(name, ConfigError::File(error.to_string()));
        }
    }
}

/// Returns the file that caused the error, if a file did.
fn bad_file(error: &TlsError) -> Option<&Path> {
    match error {
        TlsError::File { path, .. }
        | TlsError::NoCertificate(path)
        | TlsError::NotAnAuthority { path, .. } => Some(path),
        TlsError::Identity(_) | TlsError::NoAuthorities | TlsError::Unavailable(_) => None,
    }
}
