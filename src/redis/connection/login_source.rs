//! The login of each new connection.
//!
//! A password file may change while the process runs: after a rotation new connections log in with
//! the new password, and open ones go on. So nothing needs a signal or a restart. If Redis refuses
//! the password, the next attempt reads the file again.

use std::io;
use std::path::Path;

use crate::redis::error::ConnectError;
use crate::redis::options::{Options, PasswordFile};
use crate::resp::{Credentials, RedisLogin};
use crate::secret::Secret;

/// The name in `CLIENT LIST`.
const CLIENT_NAME: &str = "cachewarp";

/// Creates the login of each connection.
pub(in crate::redis) struct LoginSource {
    /// Complete except for the password of the file.
    login: RedisLogin,
    password_file: Option<PasswordFile>,
}

impl LoginSource {
    pub(in crate::redis) fn of(options: &Options) -> Self {
        let login = RedisLogin {
            credentials: options.credentials.clone(),
            database: options.database,
            access: options.access,
            name: CLIENT_NAME,
        };
        Self { login, password_file: options.password_file.clone() }
    }

    /// Returns the login. Reads the file on a thread that may block, since a mounted secret may be
    /// slow.
    pub(in crate::redis) async fn login(&self) -> Result<RedisLogin, ConnectError> {
        let Some(PasswordFile { user, path }) = self.password_file.clone() else {
            return Ok(self.login.clone());
        };
        let read = tokio::task::spawn_blocking(move || Secret::read(&path)).await;
        let password =
            read.unwrap_or_else(|lost| Err(io::Error::other(lost))).map_err(ConnectError::Password)?;
        Ok(RedisLogin { credentials: Some(Credentials { user, password }), ..self.login.clone() })
    }
}

/// Checks that a file holds a password, for the settings' check.
pub fn check_password_file(path: &Path) -> io::Result<()> {
    Secret::read(path).map(drop)
}
