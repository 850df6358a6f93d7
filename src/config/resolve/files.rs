//! The files that settings name: the checks of certificates and passwords, and the routes file.
//!
//! An unreadable certificate is an error of the settings. It is reported at the start with all
//! other errors, and not at the first connection.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::reporting::error::ConfigError;
use crate::config::resolve::resolver::{FileChecks, Resolver};
use crate::config::table::Name;
use crate::key::NameKey;
use crate::limits::{ROUTE_ERRORS_SHOWN_MAX, ROUTES_FILE_BYTES_MAX};
use crate::routes::RouteTable;
use crate::sealing::{SealKeys, SharedSealKeys};
use crate::tls;
use crate::{origin, redis, server};

impl Resolver<'_> {
    /// Notes an error for each unusable file among those that the settings name.
    pub(in crate::config) fn check_files(
        &mut self,
        server: &server::Options,
        origin: &origin::Options,
        redis: Option<&redis::Deployment>,
    ) {
        if self.files == FileChecks::Unopened {
            return;
        }
        if let Some(tls) = &server.tls
            && let Err(error) = server::open_tls(tls)
        {
            self.note(setting_of(tls, error.path()), ConfigError::File(error.to_string()));
        }
        let (ca_file, identity) = (origin.ca_file.clone(), origin.identity.clone());
        let names = [Name::OriginCaFile, Name::OriginClientCertFile, Name::OriginClientKeyFile];
        self.check_client(&tls::Options { ca_file, identity }, names);
        let Some(redis) = redis.map(|redis| &redis.server) else { return };
        let names = [Name::RedisCaFile, Name::RedisClientCertFile, Name::RedisClientKeyFile];
        self.check_client(&redis.tls, names);
        if let Some(file) = &redis.password_file
            && let Err(error) = redis::check_password_file(&file.path)
        {
            self.note(Name::RedisPasswordFile, ConfigError::File(format!("cannot be read: {error}")));
        }
    }

    /// Notes an error for each unusable file of a client's settings: the authorities, the
    /// certificate and the key, under these names.
    fn check_client(&mut self, tls: &tls::Options, names: [Name; 3]) {
        let [authorities, certificate, key] = names;
        if tls.ca_file.is_some() {
            self.check_tls(&tls::Options { identity: None, ..tls.clone() }, authorities);
        }
        if let Some(identity) = &tls.identity
            && !self.has_error_in(&[authorities])
            && let Err(error) = tls::connector(tls, &[])
        {
            let is_of_certificate = error
                .path()
                .is_some_and(|path| path != identity.key_file && path == identity.certificate_file);
            self.note(
                if is_of_certificate { certificate } else { key },
                ConfigError::File(error.to_string()),
            );
        }
    }

    fn check_tls(&mut self, options: &tls::Options, name: Name) {
        if let Err(error) = tls::connector(options, &[]) {
            self.note(name, ConfigError::File(error.to_string()));
        }
    }

    /// Reads the key file, if there is one, and notes its errors.
    pub(in crate::config) fn entry_keys(&mut self) -> Option<SharedSealKeys> {
        let Some(path) = self.file(Name::EntryKeyFile)? else { return Some(SharedSealKeys::default()) };
        if self.files == FileChecks::Unopened {
            return Some(SharedSealKeys::default());
        }
        match SealKeys::read(&path) {
            Ok(keys) => Some(SharedSealKeys::of_file(&path, keys)),
            Err(error) => {
                self.note(Name::EntryKeyFile, ConfigError::File(error.to_string()));
                Some(SharedSealKeys::default())
            }
        }
    }

    /// Reads the file of the name key, if there is one, and notes its errors.
    pub(in crate::config) fn name_key(&mut self) -> Option<NameKey> {
        let Some(path) = self.file(Name::NameKeyFile)? else { return Some(NameKey::default()) };
        if self.file(Name::EntryKeyFile)?.is_none() {
            self.note(Name::NameKeyFile, ConfigError::NeedsEntryKeys);
        }
        if self.files == FileChecks::Unopened {
            return Some(NameKey::default());
        }
        match NameKey::read(&path) {
            Ok(key) => Some(key),
            Err(error) => {
                self.note(Name::NameKeyFile, ConfigError::File(error.to_string()));
                Some(NameKey::default())
            }
        }
    }

    /// Reads the routes file, if there is one, and notes all of its errors.
    pub(in crate::config) fn routes(&mut self) -> Option<Option<Arc<RouteTable>>> {
        let Some(path) = self.file(Name::RoutesFile)? else { return Some(None) };
        if self.files == FileChecks::Unopened {
            return Some(None);
        }
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.note(Name::RoutesFile, ConfigError::File(format!("cannot be read: {error}")));
                return Some(None);
            }
        };
        match RouteTable::parse(&bytes) {
            Ok(table) => Some(Some(Arc::new(table))),
            Err(errors) => {
                let further = errors.len().saturating_sub(ROUTE_ERRORS_SHOWN_MAX);
                for error in errors.into_iter().take(ROUTE_ERRORS_SHOWN_MAX) {
                    self.note(Name::RoutesFile, ConfigError::Route(Box::new(error)));
                }
                if further > 0 {
                    self.note(Name::RoutesFile, ConfigError::FurtherRouteErrors(further));
                }
                Some(None)
            }
        }
    }
}

/// Returns the setting that names this file of the listener.
fn setting_of(tls: &tls::ListenerOptions, path: Option<&Path>) -> Name {
    let is_key = |identity: &tls::TlsIdentity| path == Some(identity.key_file.as_path());
    if tls.identities.iter().any(is_key) {
        Name::TlsKeyFile
    } else if path.is_some() && path == tls.client_auth.ca_file().map(PathBuf::as_path) {
        Name::TlsClientCaFile
    } else {
        Name::TlsCertFile
    }
}

/// Reads a file as far as the parser takes it, and one byte beyond.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(ROUTES_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
