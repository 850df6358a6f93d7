//! TLS for the servers of one client.
//!
//! Certificates are credentials, and short-lived ones are replaced while the process runs. So the
//! files are read again for each connection, like a password file. If they cannot be read at that
//! moment, perhaps because they are being written, the previous ones are used.

use std::cell::RefCell;
use std::rc::Rc;

use tokio_rustls::TlsConnector;

use crate::redis::error::ConnectError;
use crate::redis::options::RedisAddress;
use crate::tls;

/// The TLS settings of one client, read for each connection.
pub(in crate::redis) struct TlsSource {
    options: tls::Options,
    /// The connector of the last connection.
    last: RefCell<Option<TlsConnector>>,
}

impl TlsSource {
    /// Creates the source for servers like the one at this address; `None` without TLS.
    pub(in crate::redis) fn to(address: &RedisAddress, options: &tls::Options) -> Option<Rc<Self>> {
        match address {
            RedisAddress::Tls { .. } => {
                Some(Rc::new(Self { options: options.clone(), last: RefCell::new(None) }))
            }
            RedisAddress::Tcp { .. } | RedisAddress::Unix(_) => None,
        }
    }

    /// Returns a connector. Reads files on a thread that may block.
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
        tracing::debug!(why, "cannot read the TLS files for Redis; using the previous ones");
        last.ok_or(ConnectError::NoTls(why))
    }
}
