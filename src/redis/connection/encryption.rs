//! TLS with the servers of one client.
//!
//! Certificates are credentials, and short-lived ones are replaced while we run. So the files that settings name are
//! read anew for each connection, as a password's file is; what cannot be read at that moment, because it is just being
//! written, is used as it was.

use std::cell::RefCell;
use std::rc::Rc;

use tokio_rustls::TlsConnector;

use crate::redis::error::ConnectError;
use crate::redis::options::Address;
use crate::tls;

/// How TLS is begun, for all servers of a client.
pub(in crate::redis) struct TlsSource {
    options: tls::Options,
    /// What the last connection began with.
    last: RefCell<Option<TlsConnector>>,
}

impl TlsSource {
    /// For servers that are reached as the one at this address is; `None` if that is without TLS.
    pub(in crate::redis) fn to(address: &Address, options: &tls::Options) -> Option<Rc<Self>> {
        match address {
            Address::Tls { .. } => Some(Rc::new(Self { options: options.clone(), last: RefCell::new(None) })),
            Address::Tcp { .. } | Address::Unix(_) => None,
        }
    }

    /// What to begin with now. Files are read on a thread that may block.
    pub(in crate::redis) async fn connector(&self) -> Result<TlsConnector, ConnectError> {
        let last = self.last.borrow().clone();
        let has_files = self.options.ca_file.is_some() || self.options.identity.is_some();
        if let Some(last) = last.clone().filter(|_| !has_files) {
            return Ok(last);
        }
        let options = self.options.clone();
        let read = tokio::task::spawn_blocking(move || tls::connector(&options, &[])).await;
        let why = match read {
            Ok(Ok(connector)) => {
                self.last.replace(Some(connector.clone()));
                return Ok(connector);
            }
            Ok(Err(bad)) => bad.to_string(),
            Err(lost) => lost.to_string(),
        };
        tracing::debug!(why, "cannot read what TLS with Redis begins with; it is used as it was");
        last.ok_or(ConnectError::NoTls(why))
    }
}
