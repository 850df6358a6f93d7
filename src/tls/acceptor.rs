//! TLS of a listener: its certificates, the authorities of its clients, its session tickets.
//!
//! All workers of a listener share one configuration and one encryptor of session tickets, so a
//! client resumes its session at any worker. A reload replaces the configuration; a handshake keeps
//! the one that it began with.
//!
//! A listener that requests client certificates resumes no session: TLS does not verify the
//! certificate of a resumed one again, and it may have expired or lost its authority.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use tokio_rustls::TlsAcceptor;

use super::certificates::ListenerCertificates;
use super::connector::TlsIdentity;
use super::files::{TlsError, authorities_of};
use super::provider::{TLS_VERSIONS, provider, ticketer};
use crate::time;

/// The TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    /// The certificates and their keys; one at least. The first is the default.
    pub identities: Vec<TlsIdentity>,
    /// The request for a client certificate.
    pub client_auth: ClientAuth,
    /// Time limit from the acceptance of a connection to the end of its handshake.
    pub handshake_timeout: Duration,
}

impl ListenerOptions {
    /// Returns every file of the options.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let identities = self.identities.iter();
        let identities = identities.flat_map(|identity| [&identity.certificate_file, &identity.key_file]);
        identities.chain(self.client_auth.ca_file())
    }
}

/// The request for a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// No client certificate is requested.
    Off,
    /// A client may present a certificate of these authorities. Any other one is refused.
    Request(PathBuf),
    /// A client has to present a certificate of these authorities.
    Require(PathBuf),
}

impl ClientAuth {
    /// Returns the file of the clients' authorities.
    pub fn ca_file(&self) -> Option<&PathBuf> {
        match self {
            Self::Off => None,
            Self::Request(path) | Self::Require(path) => Some(path),
        }
    }
}

/// A client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// The client presented none.
    None,
    /// The client proved that it has a certificate of a trusted authority.
    Verified,
}

/// The TLS configuration of a listener, which its workers share.
#[derive(Clone, Debug)]
pub struct ListenerTls(Arc<SharedConfig>);

#[derive(Debug)]
struct SharedConfig {
    handshake_timeout: Duration,
    tickets: Arc<dyn ProducesTickets>,
    current: RwLock<PreparedTls>,
}

/// A configuration whose files were read and checked.
#[derive(Clone, Debug)]
pub struct PreparedTls {
    config: Arc<ServerConfig>,
    expiry: Duration,
}

impl ListenerTls {
    /// Reads the files of a new listener, which offers `protocols` by ALPN.
    pub fn open(options: &ListenerOptions, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        let tickets = ticketer().map_err(TlsError::Unavailable)?;
        let current = RwLock::new(prepare(options, protocols, &tickets)?);
        let handshake_timeout = options.handshake_timeout;
        Ok(Self(Arc::new(SharedConfig { handshake_timeout, tickets, current })))
    }

    /// Reads the files again, for a later [`ListenerTls::install`]. An error changes nothing.
    pub fn prepare(&self, options: &ListenerOptions) -> Result<PreparedTls, TlsError> {
        let protocols = self.current().config.alpn_protocols.clone();
        let protocols: Vec<&[u8]> = protocols.iter().map(Vec::as_slice).collect();
        prepare(options, &protocols, &self.0.tickets)
    }

    /// Uses a configuration for all further handshakes, in every worker.
    pub fn install(&self, prepared: PreparedTls) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = prepared;
    }

    /// Returns the acceptor of one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    /// Returns the end of the validity of the certificate that expires first, since 1970.
    pub fn expiry(&self) -> Duration {
        self.current().expiry
    }

    /// Returns the time limit of a handshake.
    pub fn handshake_timeout(&self) -> Duration {
        self.0.handshake_timeout
    }

    fn current(&self) -> PreparedTls {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn prepare(
    options: &ListenerOptions,
    protocols: &[&[u8]],
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<PreparedTls, TlsError> {
    let provider = provider();
    let certificates = ListenerCertificates::read(&options.identities, &provider, time::now())?;
    let expiry = Duration::from_secs(certificates.expiry.as_secs());
    let clients: Arc<dyn ClientCertVerifier> = match options.client_auth.ca_file() {
        None => Arc::new(NoClientAuth),
        Some(path) => {
            let authorities = Arc::new(authorities_of(path)?);
            let clients = WebPkiClientVerifier::builder_with_provider(authorities, Arc::clone(&provider));
            let clients = match options.client_auth {
                ClientAuth::Off | ClientAuth::Require(_) => clients,
                ClientAuth::Request(_) => clients.allow_unauthenticated(),
            };
            let unusable = |error: rustls::server::VerifierBuilderError| {
                TlsError::Unavailable(rustls::Error::General(error.to_string()))
            };
            clients.build().map_err(unusable)?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&TLS_VERSIONS)
        .map_err(TlsError::Unavailable)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(certificates));
    // A session lives in its ticket, so that clients hold no memory here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match options.client_auth {
        ClientAuth::Off => config.ticketer = Arc::clone(tickets),
        ClientAuth::Request(_) | ClientAuth::Require(_) => config.send_tls13_tickets = 0,
    }
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(PreparedTls { config: Arc::new(config), expiry })
}
