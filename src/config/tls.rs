//! The TLS settings of the listener for clients, and the client certificates of this process.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::resolver::Resolver;
use super::table::Name;
use super::values;
use crate::limits::{TIMEOUT_MAX, TIMEOUT_MIN};
use crate::policy::ClientCertificates;
use crate::tls::{ClientAuth, ListenerOptions, TlsIdentity};

/// The bounds of a handshake's time limit.
const TIMEOUT: RangeInclusive<Duration> = TIMEOUT_MIN..=TIMEOUT_MAX;

impl Resolver<'_> {
    /// Reads the two files of a client certificate; the inner `None` is no certificate.
    pub(super) fn identity(&mut self, certificate: Name, key: Name) -> Option<Option<TlsIdentity>> {
        let (certificate_file, key_file) = (self.file(certificate)?, self.file(key)?);
        match (&certificate_file, &key_file) {
            (Some(_), None) => self.note(certificate, ConfigError::Requires(key)),
            (None, Some(_)) => self.note(key, ConfigError::Requires(certificate)),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let pair = certificate_file.zip(key_file);
        Some(pair.map(|(certificate_file, key_file)| TlsIdentity { certificate_file, key_file }))
    }

    /// Resolves the TLS settings; the inner `None` is a listener for plain HTTP.
    pub(super) fn listener_tls(&mut self) -> Option<Option<ListenerOptions>> {
        let certificates = self.take(Name::TlsCertFile, values::paths)?;
        let keys = self.take(Name::TlsKeyFile, values::paths)?;
        let client_ca_file = self.file(Name::TlsClientCaFile)?;
        let client_auth: fn(PathBuf) -> ClientAuth = self.take(Name::TlsClientAuth, |text| {
            let off: fn(PathBuf) -> ClientAuth = |_| ClientAuth::Off;
            values::choice(
                text,
                &[("off", off), ("request", ClientAuth::Request), ("require", ClientAuth::Require)],
            )
        })?;
        let handshake_timeout = self.duration(Name::TlsHandshakeTimeout, TIMEOUT)?;
        // No path is needed to see which of the words it is.
        let is_requested = client_auth(PathBuf::new()) != ClientAuth::Off;
        if certificates.len() != keys.len() {
            match (certificates.is_empty(), keys.is_empty()) {
                (false, true) => self.note(Name::TlsCertFile, ConfigError::Requires(Name::TlsKeyFile)),
                (true, false) => self.note(Name::TlsKeyFile, ConfigError::Requires(Name::TlsCertFile)),
                (true, true) | (false, false) => {
                    let (own, other) = (keys.len(), certificates.len());
                    self.note(
                        Name::TlsKeyFile,
                        ConfigError::UnequalLists { own, other, name: Name::TlsCertFile },
                    );
                }
            }
        }
        if is_requested && client_ca_file.is_none() {
            self.note(Name::TlsClientAuth, ConfigError::Requires(Name::TlsClientCaFile));
        }
        if is_requested && certificates.is_empty() {
            self.note(Name::TlsClientAuth, ConfigError::Requires(Name::TlsCertFile));
        }
        let identities: Vec<_> = certificates
            .into_iter()
            .zip(keys)
            .map(|(certificate_file, key_file)| TlsIdentity { certificate_file, key_file })
            .collect();
        let client_auth = client_auth(client_ca_file.unwrap_or_default());
        Some((!identities.is_empty()).then_some(ListenerOptions {
            identities,
            client_auth,
            handshake_timeout,
        }))
    }

    /// Reads the meaning of a client certificate.
    pub(super) fn client_certificates(&mut self) -> Option<ClientCertificates> {
        self.take(Name::TlsClientCredential, |text| {
            values::switch(text, ClientCertificates::Credentials, ClientCertificates::Ignored)
        })
    }
}
