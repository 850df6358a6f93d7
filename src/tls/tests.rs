//! The files of a listener: what is accepted, what is refused and why, and the choice by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};

use super::files::{TlsError, authorities_of, chain_of};
use super::provider::provider;
use super::{ClientAuth, ListenerOptions, ListenerTls, TlsIdentity};

/// A folder of certificates.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a self-signed certificate for these names, and its key.
    fn pair(&self, name: &str, params: CertificateParams) -> TlsIdentity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        TlsIdentity {
            certificate_file: self.write(&format!("{name}.pem"), certificate.pem()),
            key_file: self.write(&format!("{name}.key"), key.serialize_pem()),
        }
    }

    fn of(&self, name: &str, names: &[&str]) -> TlsIdentity {
        self.pair(name, params(names))
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("none"));
    params
}

fn options(identities: &[&TlsIdentity]) -> ListenerOptions {
    ListenerOptions {
        identities: identities.iter().copied().cloned().collect(),
        client_auth: ClientAuth::Off,
        handshake_timeout: Duration::from_secs(1),
    }
}

fn open(identity: &TlsIdentity) -> Result<ListenerTls, TlsError> {
    ListenerTls::open(&options(&[identity]), &[b"http/1.1"])
}

fn refused(identity: &TlsIdentity) -> String {
    open(identity).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn an_unusable_pair_is_refused_with_its_reason() {
    let files = Files::new();
    let (good, other) = (files.of("good", &["a.test"]), files.of("other", &["a.test"]));
    assert!(open(&good).is_ok());
    assert!(open(&files.of("address", &["192.0.2.1"])).is_ok(), "an address is a name too");

    let mut expired = params(&["a.test"]);
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
    let mut early = params(&["a.test"]);
    (early.not_before, early.not_after) = (date_time_ymd(4020, 1, 1), date_time_ymd(4020, 2, 1));
    let with_key = |key_file| TlsIdentity { key_file, ..good.clone() };
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    for (identity, reason) in [
        (files.pair("expired", expired), "expired on Sat, 01 Feb 2020"),
        (files.pair("early", early), "is not valid before"),
        (files.of("nameless", &[]), "names no host"),
        (with_key(other.key_file.clone()), "is not the private key of the certificate"),
        (with_key(good.certificate_file.clone()), "holds no private key"),
        (with_key(files.write("encrypted", encrypted)), "holds an encrypted private key"),
        (with_key(files.write("old", old)), "holds an encrypted private key"),
        (with_key(files.0.path().join("missing")), "cannot be read"),
        (TlsIdentity { certificate_file: good.key_file.clone(), ..good.clone() }, "holds no certificate"),
    ] {
        let refused = refused(&identity);
        assert!(refused.contains(reason), "{reason}: {refused:?}");
    }
}

#[test]
fn the_earliest_expiry_is_known() {
    let files = Files::new();
    let mut short = params(&["a.test"]);
    short.not_after = date_time_ymd(3000, 1, 1);
    let identities = [&files.of("long", &["b.test"]), &files.pair("short", short)];
    let tls = ListenerTls::open(&options(&identities), &[]).unwrap();
    assert_eq!(tls.expiry(), Duration::from_secs(32_503_680_000));
}

/// Performs a handshake in memory. Returns the certificate that the client got, and the kind of the
/// handshake.
fn shake(tls: &ListenerTls, client: &Arc<ClientConfig>, name: &str) -> (Vec<u8>, Option<HandshakeKind>) {
    let config = Arc::clone(tls.acceptor().config());
    let mut server = ServerConnection::new(config).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..4 {
        bytes.clear();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut bytes.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
        }
        client.process_new_packets().unwrap();
    }
    (client.peer_certificates().unwrap()[0].to_vec(), server.handshake_kind())
}

fn client_of(files: &[&Path]) -> Arc<ClientConfig> {
    let mut authorities = rustls::RootCertStore::empty();
    for file in files {
        authorities.roots.extend(authorities_of(file).unwrap().roots);
    }
    let config =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(authorities).with_no_client_auth())
}

#[test]
fn the_clients_name_selects_the_certificate() {
    let files = Files::new();
    let names: [&[&str]; 3] =
        [&["a.test", "*.a.test", "none.invalid"], &["b.a.test", "c.test"], &["*.c.test"]];
    let pairs: Vec<_> =
        names.iter().enumerate().map(|(at, names)| files.of(&at.to_string(), names)).collect();
    let tls = ListenerTls::open(&options(&pairs.iter().collect::<Vec<_>>()), &[]).unwrap();
    let own: Vec<_> =
        pairs.iter().map(|pair| chain_of(&pair.certificate_file).unwrap()[0].to_vec()).collect();
    let client = client_of(&pairs.iter().map(|pair| pair.certificate_file.as_path()).collect::<Vec<_>>());
    for (name, selected) in
        [("a.test", 0), ("x.a.test", 0), ("B.a.test", 1), ("c.test", 1), ("d.c.test", 2), ("none.invalid", 0)]
    {
        assert!(shake(&tls, &client, name).0 == own[selected], "{name}");
    }
}

#[test]
fn a_reload_changes_the_certificate_and_keeps_the_sessions() {
    let files = Files::new();
    let pair = files.of("a", &["a.test"]);
    let first = chain_of(&pair.certificate_file).unwrap()[0].to_vec();
    let tls = open(&pair).unwrap();
    let client = client_of(&[&pair.certificate_file]);
    assert_eq!(shake(&tls, &client, "a.test"), (first.clone(), Some(HandshakeKind::Full)));
    assert_eq!(shake(&tls, &client, "a.test").1, Some(HandshakeKind::Resumed));

    // A half replaced pair changes nothing.
    let key = fs::read(&pair.key_file).unwrap();
    let other = files.of("a", &["a.test"]);
    fs::write(&pair.key_file, key).unwrap();
    assert!(matches!(tls.prepare(&options(&[&other])), Err(TlsError::OtherKey { .. })));
    assert_eq!(shake(&tls, &client, "a.test"), (first.clone(), Some(HandshakeKind::Resumed)));

    let whole = files.of("a", &["a.test"]);
    tls.install(tls.prepare(&options(&[&whole])).unwrap());
    assert_eq!(shake(&tls, &client, "a.test").1, Some(HandshakeKind::Resumed));
    let fresh = client_of(&[&whole.certificate_file]);
    assert_ne!(shake(&tls, &fresh, "a.test").0, first);
}

#[test]
fn a_listener_that_requests_certificates_resumes_no_session() {
    let files = Files::new();
    let pair = files.of("a", &["a.test"]);
    let client_auth = ClientAuth::Request(pair.certificate_file.clone());
    let tls = ListenerTls::open(&ListenerOptions { client_auth, ..options(&[&pair]) }, &[]).unwrap();
    let client = client_of(&[&pair.certificate_file]);
    for _ in 0..2 {
        assert_eq!(shake(&tls, &client, "a.test").1, Some(HandshakeKind::Full));
    }
}
