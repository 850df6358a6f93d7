//! The TLS settings of the listener for clients, the client certificates of this process, the paths
//! of checks, and the comparison of addresses.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::client_address::TrustedProxies;
use crate::config::reporting::error::ConfigError;
use crate::config::resolve::resolver::Resolver;
use crate::config::resolve::values;
use crate::config::table::Name;
use crate::limits::{TIMEOUT_MAX, TIMEOUT_MIN};
use crate::policy::ClientCertificates;
use crate::proxy::ProbePaths;
use crate::tls::{ClientAuth, ListenerOptions, TlsIdentity};
use crate::{origin, server};

/// The limits of a handshake's time-out.
const TIMEOUT: RangeInclusive<Duration> = TIMEOUT_MIN..=TIMEOUT_MAX;

impl Resolver<'_> {
    /// Reads the two files of a client certificate; the inner `None` is no certificate.
    pub(in crate::config) fn identity(
        &mut self,
        certificate: Name,
        key: Name,
    ) -> Option<Option<TlsIdentity>> {
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
    pub(in crate::config) fn listener_tls(&mut self) -> Option<Option<ListenerOptions>> {
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

    /// Reads whether connections of the trusted proxies begin with a PROXY header, and returns
    /// these proxies.
    pub(in crate::config) fn proxied(&mut self, trusted: &[IpNet]) -> Option<Option<TrustedProxies>> {
        let is_required = self
            .take(Name::ProxyProtocol, |text| values::choice(text, &[("off", false), ("require", true)]))?;
        if is_required && trusted.is_empty() && !self.has_error_in(&[Name::TrustedProxies]) {
            self.note(Name::ProxyProtocol, ConfigError::Requires(Name::TrustedProxies));
        }
        Some(is_required.then(|| TrustedProxies::new(trusted.to_vec())))
    }

    /// Reads the meaning of a client certificate.
    pub(in crate::config) fn client_certificates(&mut self) -> Option<ClientCertificates> {
        self.take(Name::TlsClientCredential, |text| {
            values::switch(text, ClientCertificates::Credentials, ClientCertificates::Ignored)
        })
    }

    /// Reads the two paths, which have to differ.
    pub(in crate::config) fn probe_paths(&mut self) -> Option<ProbePaths> {
        let probes = ProbePaths {
            health: self.take(Name::HealthPath, values::probe_path)?,
            ready: self.take(Name::ReadyPath, values::probe_path)?,
        };
        if probes.health.is_some() && probes.health == probes.ready {
            self.note(Name::ReadyPath, ConfigError::SamePath(Name::HealthPath));
        }
        Some(probes)
    }

    /// Notes an error if two listeners, or a listener and the origin, have one address. It skips
    /// the check if an address is invalid.
    pub(in crate::config) fn check_addresses(
        &mut self,
        server: &server::Options,
        admin: Option<&server::Options>,
        origin: &origin::Options,
    ) {
        if self.has_error_in(&[Name::ListenAddr, Name::AdminAddr, Name::OriginUrl]) {
            return;
        }
        let socket = |options: &server::Options| options.socket.as_ref().map(|socket| socket.path.clone());
        let is_one_socket = |admin| socket(admin).is_some() && socket(admin) == socket(server);
        if admin.is_some_and(|admin| overlap(admin.addr, server.addr) || is_one_socket(admin)) {
            self.note(Name::AdminAddr, ConfigError::SameAddress(Name::ListenAddr));
        }
        let listeners = [(Name::ListenAddr, Some(server)), (Name::AdminAddr, admin)];
        for (name, listener) in listeners {
            let own_socket = listener.and_then(socket);
            let is_own_socket = own_socket.is_some() && own_socket == origin.socket;
            if is_own_socket || listener.is_some_and(|listener| is_at(origin, listener.addr)) {
                self.note(Name::OriginUrl, ConfigError::OwnOrigin(name));
            }
        }
    }
}

/// Tells whether two listeners want one port of one address. Port 0 is a new port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_ip
}

/// Tells whether the origin's address is that of a listener. It does not resolve names.
fn is_at(origin: &origin::Options, listener: SocketAddr) -> bool {
    let authority = origin.authority.as_str().replace("localhost", "127.0.0.1");
    let address: Option<SocketAddr> = authority.parse().ok();
    address.is_some_and(|address| {
        let wildcard = listener.ip().is_unspecified() && address.ip().is_loopback();
        address.port() == listener.port() && (address.ip() == listener.ip() || wildcard)
    })
}
