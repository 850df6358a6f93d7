//! TLS towards the origin and Redis: the trusted authorities, and the client certificate.
//!
//! If the certificate of a server is itself in the configured file, as a self-signed one is, TLS
//! accepts it. webpki alone would refuse one that is marked as the certificate of an authority.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::files::{TlsError, authorities_of, chain_of, key_of};
use super::provider::{TLS_VERSIONS, provider};

/// The TLS settings of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The PEM file of trusted certificate authorities; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// The client certificate, for a server that requests one.
    pub identity: Option<TlsIdentity>,
}

/// A client certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The PEM file of the certificate, followed by the chain up to an authority.
    pub certificate_file: PathBuf,
    /// The PEM file of its private key.
    pub key_file: PathBuf,
}

/// Returns a connector for these settings. It offers `protocols` by ALPN explicitly, so that a
/// server that prefers another protocol cannot assume it.
pub fn connector(options: &Options, protocols: &[&[u8]]) -> Result<TlsConnector, TlsError> {
    let (authorities, listed) = match &options.ca_file {
        Some(path) => (authorities_of(path)?, chain_of(path)?),
        None => (system_authorities()?, Vec::new()),
    };
    let provider = provider();
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
        .build()
        .map_err(|error| TlsError::Unavailable(rustls::Error::General(error.to_string())))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&TLS_VERSIONS)
        .map_err(TlsError::Unavailable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { chains, listed }));
    let mut config = match &options.identity {
        Some(identity) => {
            let (chain, key) = (chain_of(&identity.certificate_file)?, key_of(&identity.key_file)?);
            config.with_client_auth_cert(chain, key).map_err(TlsError::Identity)?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A verifier of certificate chains that also accepts a listed certificate as the server's own.
#[derive(Debug)]
struct ServerVerifier {
    chains: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerVerifier {
    /// Returns whether webpki refuses a listed certificate only because it is an authority's.
    /// webpki checks the dates first.
    fn is_listed_authority(&self, certificate: &CertificateDer<'_>, error: &rustls::Error) -> bool {
        let rustls::Error::InvalidCertificate(CertificateError::Other(cause)) = error else { return false };
        cause.to_string() == "CaUsedAsEndEntity" && self.listed.iter().any(|listed| listed == certificate)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if self.is_listed_authority(end_entity, &error) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if authorities.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(authorities) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::KeyPair;

    use super::*;

    fn refused(options: &Options) -> TlsError {
        connector(options, &[]).err().unwrap()
    }

    #[test]
    fn unusable_files_are_refused_with_their_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let own = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let certificate = file("certificate", &own.cert.pem());
        let key = file("key", &own.signing_key.serialize_pem());
        let other_key = file("other-key", &KeyPair::generate().unwrap().serialize_pem());
        let (empty, broken) = (file("empty", ""), file("broken", "-----BEGIN CERTIFICATE-----\nx"));
        let missing = folder.path().join("missing");

        let trusting = |path: &PathBuf| Options { ca_file: Some(path.clone()), identity: None };
        let known_as = |certificate_file: &PathBuf, key_file: &PathBuf| Options {
            identity: Some(TlsIdentity {
                certificate_file: certificate_file.clone(),
                key_file: key_file.clone(),
            }),
            ..trusting(&certificate)
        };
        assert!(connector(&trusting(&certificate), &[b"http/1.1"]).is_ok());
        assert!(connector(&known_as(&certificate, &key), &[]).is_ok());

        assert!(matches!(refused(&trusting(&missing)), TlsError::File { path, .. } if path == missing));
        assert!(matches!(refused(&trusting(&empty)), TlsError::NoCertificate(path) if path == empty));
        assert!(matches!(refused(&trusting(&broken)), TlsError::File { path, .. } if path == broken));
        assert!(matches!(refused(&known_as(&certificate, &empty)), TlsError::NoKey(path) if path == empty));
        assert!(matches!(refused(&known_as(&key, &key)), TlsError::NoCertificate(path) if path == key));
        assert!(matches!(refused(&known_as(&certificate, &other_key)), TlsError::Identity(_)));
    }
}
