//! TLS as its client: whom to believe, and who we say we are.
//!
//! The origin and Redis are reached in the same way, so it is said once. A file that somebody named and that cannot be
//! used is an error, because somebody meant it; of the system's authorities those that rustls does not understand are
//! left out, because old roots linger there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// What a connection begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Certificate authorities, as PEM; the system's where `None`.
    pub ca_file: Option<PathBuf>,
    /// Who we are, where the other side asks for it.
    pub identity: Option<Identity>,
}

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and those between it and an authority, as PEM, the certificate first.
    pub certificate_file: PathBuf,
    /// Its private key, as PEM.
    pub key_file: PathBuf,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// A file cannot be read, or the PEM in it.
    #[error("{path:?} cannot be read: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What reading it said.
        source: pem::Error,
    },
    /// A file that should have certificates has none.
    #[error("{0:?} holds no certificate")]
    NoCertificate(PathBuf),
    /// A certificate that cannot be an authority.
    #[error("{path:?} holds a certificate that is no authority: {source}")]
    NotAnAuthority {
        /// In which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The certificate and the key do not belong together, or are of no use to us.
    #[error("our certificate and its key cannot be used: {0}")]
    Identity(rustls::Error),
    /// No certificate authority is known, so no certificate could be trusted.
    #[error("the system has no certificate authority")]
    NoAuthorities,
    /// The TLS library refuses its own defaults.
    #[error("TLS is not available: {0}")]
    Unavailable(rustls::Error),
}

/// Makes TLS connections of one kind. `protocols` are offered by ALPN, said aloud so that a server that would rather
/// speak another one cannot take it for granted.
pub fn connector(options: &Options, protocols: &[&[u8]]) -> Result<TlsConnector, BadTls> {
    let authorities = match &options.ca_file {
        Some(path) => authorities_of(path)?,
        None => system_authorities()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(BadTls::Unavailable)?
        .with_root_certificates(authorities);
    let mut config = match &options.identity {
        Some(identity) => {
            let (chain, key) = (chain_of(&identity.certificate_file)?, key_of(&identity.key_file)?);
            config.with_client_auth_cert(chain, key).map_err(BadTls::Identity)?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The certificate authorities of a PEM file; one at least.
fn authorities_of(path: &Path) -> Result<RootCertStore, BadTls> {
    let mut authorities = RootCertStore::empty();
    for certificate in chain_of(path)? {
        let bad = |source| BadTls::NotAnAuthority { path: path.to_owned(), source };
        authorities.add(certificate).map_err(bad)?;
    }
    Ok(authorities)
}

fn system_authorities() -> Result<RootCertStore, BadTls> {
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if authorities.is_empty() { Err(BadTls::NoAuthorities) } else { Ok(authorities) }
}

/// All certificates of a PEM file; one at least.
fn chain_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let bad = |source| BadTls::File { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(bad)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(bad)?;
    if certificates.is_empty() { Err(BadTls::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>, BadTls> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| BadTls::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::KeyPair;

    use super::*;

    fn refused(options: &Options) -> BadTls {
        connector(options, &[]).err().unwrap()
    }

    #[test]
    fn files_that_are_good_and_files_that_are_not() {
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
            identity: Some(Identity {
                certificate_file: certificate_file.clone(),
                key_file: key_file.clone(),
            }),
            ..trusting(&certificate)
        };
        assert!(connector(&trusting(&certificate), &[b"http/1.1"]).is_ok());
        assert!(connector(&known_as(&certificate, &key), &[]).is_ok());

        assert!(matches!(refused(&trusting(&missing)), BadTls::File { path, .. } if path == missing));
        assert!(matches!(refused(&trusting(&empty)), BadTls::NoCertificate(path) if path == empty));
        assert!(matches!(refused(&trusting(&broken)), BadTls::File { path, .. } if path == broken));
        assert!(
            matches!(refused(&known_as(&certificate, &empty)), BadTls::File { path, .. } if path == empty)
        );
        assert!(matches!(refused(&known_as(&key, &key)), BadTls::NoCertificate(path) if path == key));
        assert!(matches!(refused(&known_as(&certificate, &other_key)), BadTls::Identity(_)));
    }
}
