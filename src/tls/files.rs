//! PEM files of certificates and keys, and the errors in them.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The reason why TLS is not possible.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or whose PEM is invalid.
    #[error("{path:?} cannot be read: {source}")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// A file that contains no certificate.
    #[error("{0:?} holds no certificate")]
    NoCertificate(PathBuf),
    /// A file that contains no private key.
    #[error("{0:?} holds no private key")]
    NoKey(PathBuf),
    /// A private key that needs a passphrase.
    #[error("{0:?} holds an encrypted private key; decrypt it with `openssl pkey`")]
    EncryptedKey(PathBuf),
    /// A private key of another certificate.
    #[error("{key:?} is not the private key of the certificate in {certificate:?}")]
    OtherKey {
        /// The path of the certificate.
        certificate: PathBuf,
        /// The path of the key.
        key: PathBuf,
    },
    /// A private key that rustls does not support.
    #[error("{path:?} holds a private key that cannot be used: {source}")]
    Key {
        /// The path of the key.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// A certificate that rustls cannot parse, or of a version without extensions.
    #[error("{path:?} holds a certificate that cannot be used: {source}")]
    Certificate {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// A certificate that no client accepts any more.
    #[error("the certificate in {path:?} expired on {date}")]
    Expired {
        /// The path of the file.
        path: PathBuf,
        /// The end of its validity.
        date: String,
    },
    /// A certificate that no client accepts yet.
    #[error("the certificate in {path:?} is not valid before {date}")]
    NotYetValid {
        /// The path of the file.
        path: PathBuf,
        /// The begin of its validity.
        date: String,
    },
    /// A certificate without a DNS name or address in its subject alternative names.
    #[error("the certificate in {0:?} names no host in its subject alternative names")]
    NoName(PathBuf),
    /// A certificate that cannot be an authority.
    #[error("{path:?} holds a certificate that cannot be an authority: {source}")]
    NotAnAuthority {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// A certificate and a key that do not match, or that rustls does not support.
    #[error("cannot use the client certificate and its key: {0}")]
    Identity(rustls::Error),
    /// A system without certificate authorities, so that no certificate could be trusted.
    #[error("the system has no certificate authority")]
    NoAuthorities,
    /// A TLS library that refuses its own defaults.
    #[error("TLS is not available: {0}")]
    Unavailable(rustls::Error),
}

impl TlsError {
    /// Returns the file that caused the error, if a file did.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. }
            | Self::NoCertificate(path)
            | Self::NoKey(path)
            | Self::EncryptedKey(path)
            | Self::OtherKey { key: path, .. }
            | Self::Key { path, .. }
            | Self::Certificate { path, .. }
            | Self::Expired { path, .. }
            | Self::NotYetValid { path, .. }
            | Self::NoName(path)
            | Self::NotAnAuthority { path, .. } => Some(path),
            Self::Identity(_) | Self::NoAuthorities | Self::Unavailable(_) => None,
        }
    }
}

/// Returns the certificate authorities of a PEM file; one at least.
pub(super) fn authorities_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut authorities = RootCertStore::empty();
    for certificate in chain_of(path)? {
        let bad = |source| TlsError::NotAnAuthority { path: path.to_owned(), source };
        authorities.add(certificate).map_err(bad)?;
    }
    Ok(authorities)
}

/// Returns all certificates of a PEM file; one at least.
pub(super) fn chain_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |source| TlsError::File { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(bad)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(bad)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(certificates) }
}

/// Returns the first private key of a PEM file.
pub(super) fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bad = |source| TlsError::File { path: path.to_owned(), source };
    let text = fs::read(path).map_err(|error| bad(pem::Error::Io(error)))?;
    // The marks of PKCS #8 and of the older OpenSSL format.
    let is_encrypted = contains(&text, b"ENCRYPTED PRIVATE KEY") || contains(&text, b"4,ENCRYPTED");
    PrivateKeyDer::from_pem_slice(&text).map_err(|source| {
        if is_encrypted {
            TlsError::EncryptedKey(path.to_owned())
        } else if matches!(source, pem::Error::NoItemsFound) {
            TlsError::NoKey(path.to_owned())
        } else {
            bad(source)
        }
    })
}

fn contains(text: &[u8], mark: &[u8]) -> bool {
    text.windows(mark.len()).any(|part| part == mark)
}
