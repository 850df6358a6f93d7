//! The certificates of a listener, and the choice among them for one client.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, RootCertStore};
use webpki::EndEntityCert;

use super::connector::TlsIdentity;
use super::files::{TlsError, chain_of, key_of};
use crate::time::Timestamp;

/// A time after which no certificate is valid: the end of the year 9999 (RFC 5280 §4.1.2.5).
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_800);

/// The certificates of a listener.
///
/// The client's server name chooses one, exactly or by a wildcard, and its signature schemes choose
/// between several of one name. A client without a name, or with a name of no certificate, gets the
/// first one that its schemes permit.
#[derive(Debug)]
pub(super) struct ListenerCertificates {
    keys: Vec<Arc<CertifiedKey>>,
    /// The certificates of each name, as positions in `keys`. A wildcard is `*.example.com`.
    names: HashMap<String, Vec<usize>>,
    /// The end of the validity of the certificate that expires first.
    pub(super) expiry: UnixTime,
}

impl ListenerCertificates {
    /// Reads the files, and checks each pair and its validity at `now`.
    pub(super) fn read(
        identities: &[TlsIdentity],
        provider: &Arc<CryptoProvider>,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let now = unix_time(now);
        let mut certificates =
            Self { keys: Vec::new(), names: HashMap::new(), expiry: UnixTime::since_unix_epoch(END_OF_TIME) };
        for identity in identities {
            let key = certified_key(identity, provider)?;
            let path = &identity.certificate_file;
            let own = key.end_entity_cert().map_err(|source| unusable(path, source))?;
            let expiry = check_validity(own, path, provider, now)?;
            let number = certificates.keys.len();
            for name in names_of(own, path)? {
                certificates.names.entry(name).or_default().push(number);
            }
            certificates.expiry = certificates.expiry.min(expiry);
            certificates.keys.push(Arc::new(key));
        }
        Ok(certificates)
    }

    fn of_name(&self, name: &str) -> Option<&[usize]> {
        let name = name.to_ascii_lowercase();
        let wildcard = || name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let found = self.names.get(&name).or_else(|| self.names.get(&wildcard()?));
        found.map(Vec::as_slice)
    }
}

impl ResolvesServerCert for ListenerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let permitted = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|name| self.of_name(name)).unwrap_or_default();
        let named = named.iter().filter_map(|&number| self.keys.get(number)).find(permitted);
        named.or_else(|| self.keys.iter().find(permitted)).cloned()
    }
}

fn certified_key(identity: &TlsIdentity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let TlsIdentity { certificate_file, key_file } = identity;
    let (chain, key) = (chain_of(certificate_file)?, key_of(key_file)?);
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|source| TlsError::Key { path: key_file.clone(), source })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // The provider cannot derive the public key of some kinds of keys.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::OtherKey { certificate: certificate_file.clone(), key: key_file.clone() })
        }
        Err(source) => Err(unusable(certificate_file, source)),
    }
}

/// Checks that the certificate is valid at `now`. Returns the end of its validity.
fn check_validity(
    own: &CertificateDer<'_>,
    path: &Path,
    provider: &Arc<CryptoProvider>,
    now: UnixTime,
) -> Result<UnixTime, TlsError> {
    // webpki states dates only in its errors. It compares them before all else, so the certificate
    // may be its own authority here.
    let mut own_authority = RootCertStore::empty();
    own_authority.add(own.clone().into_owned()).map_err(|source| unusable(path, source))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(own_authority), Arc::clone(provider))
        .build()
        .map_err(|error| TlsError::Unavailable(rustls::Error::General(error.to_string())))?;
    let name = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
    let at = |time| match verifier.verify_server_cert(own, &[], &name, &[], time) {
        Err(rustls::Error::InvalidCertificate(error)) => Some(error),
        Err(_) | Ok(_) => None,
    };
    let path = path.to_owned();
    match at(now) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            return Err(TlsError::Expired { path, date: date(not_after) });
        }
        Some(CertificateError::NotValidYetContext { not_before, .. }) => {
            return Err(TlsError::NotYetValid { path, date: date(not_before) });
        }
        Some(_) | None => {}
    }
    let end = UnixTime::since_unix_epoch(END_OF_TIME);
    match at(end) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => Ok(not_after),
        Some(_) | None => Ok(end),
    }
}

/// Returns the DNS names of a certificate. A certificate for addresses alone has none.
fn names_of(own: &CertificateDer<'_>, path: &Path) -> Result<Vec<String>, TlsError> {
    let parsed = ParsedCertificate::try_from(own).map_err(|source| unusable(path, source))?;
    // The error for a name that no certificate has lists the names that this one has.
    let none = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
    if let Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        presented, ..
    })) = verify_server_name(&parsed, &none)
        && presented.is_empty()
    {
        return Err(TlsError::NoName(path.to_owned()));
    }
    let parsed = EndEntityCert::try_from(own)
        .map_err(|error| unusable(path, rustls::Error::General(error.to_string())))?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

fn unusable(path: &Path, source: rustls::Error) -> TlsError {
    TlsError::Certificate { path: path.to_owned(), source }
}

fn unix_time(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()))
}

fn date(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    time.map_or_else(|| "an unknown date".to_owned(), httpdate::fmt_http_date)
}
