//! The cryptography and the versions of every TLS connection.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::ProducesTickets;
use rustls::version::{TLS12, TLS13};

/// The versions of TLS towards clients, the origin and Redis. The help text of `tls_cert_file`
/// names them.
pub static TLS_VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Returns the algorithms for both sides.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Returns an encryptor of session tickets, with keys of its own that it replaces at intervals.
pub(super) fn ticketer() -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    ring::Ticketer::new()
}
