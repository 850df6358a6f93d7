//! TLS: connectors towards the origin and Redis, acceptors for clients, and the files of both.
//!
//! A configured file that cannot be used is an error. Certificates of the system's store that
//! rustls does not understand are skipped, because old roots linger there.

mod acceptor;
mod certificates;
mod connector;
mod files;
mod provider;
#[cfg(test)]
mod tests;

pub use acceptor::{ClientAuth, ClientCertificate, ListenerOptions, ListenerTls, PreparedTls};
pub use connector::{Options, TlsIdentity, connector};
pub use files::TlsError;
pub use provider::TLS_VERSIONS;
