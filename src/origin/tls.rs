//! TLS to the origin, with the trusted authorities and the client certificate.

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::origin::error::OriginOptionsError;
use crate::origin::options::Options;
use crate::tls;

/// TLS client configuration for one origin.
#[derive(Clone)]
pub(super) struct OriginTls {
    pub(super) connector: TlsConnector,
    /// Name or address that the certificate must match.
    pub(super) name: ServerName<'static>,
}

impl OriginTls {
    pub(super) fn new(options: &Options, host: &str) -> Result<Self, OriginOptionsError> {
        let name = match &options.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| OriginOptionsError::Authority(options.authority.as_str().to_owned()))?,
        };
        let trust = tls::Options { ca_file: options.ca_file.clone(), identity: options.identity.clone() };
        Ok(Self { connector: tls::connector(&trust, &[b"http/1.1"])?, name })
    }
}
