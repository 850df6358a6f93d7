//! The login of each new connection.
//!
//! A password file may change while the process runs: after a rotation new connections log in with
//! the new password, and open ones go on. So nothing needs a signal or a restart. If Redis refuses
//! the password, the next attempt reads the file again.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::limits::PASSWORD_FILE_BYTES_MAX;
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
        let read = tokio::task::spawn_blocking(move || password(&path)).await;
        let password =
            read.unwrap_or_else(|lost| Err(io::Error::other(lost))).map_err(ConnectError::Password)?;
        Ok(RedisLogin { credentials: Some(Credentials { user, password }), ..self.login.clone() })
    }
}

/// Reads the first line of a file.
fn password(path: &Path) -> io::Result<Secret> {
    let mut text = String::new();
    File::open(path)?.take(PASSWORD_FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || text.len() > PASSWORD_FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is not a password"));
    }
    Ok(Secret::new(line))
}

/// Checks that a file holds a password, for the settings' check.
pub fn check_password_file(path: &Path) -> io::Result<()> {
    password(path).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (text, expected) in [
            ("secret", Some("secret")),
            ("secret\n", Some("secret")),
            ("secret\r\nold\n", Some("secret")),
            (" s p \n", Some(" s p ")),
            ("", None),
            ("\nsecret", None),
        ] {
            fs::write(&path, text).unwrap();
            let read = password(&path).ok();
            assert_eq!(read.as_ref().map(Secret::expose), expected, "{text:?}");
            assert_eq!(check_password_file(&path).is_ok(), expected.is_some());
        }
        fs::write(&path, "x".repeat(PASSWORD_FILE_BYTES_MAX + 1)).unwrap();
        assert!(password(&path).is_err());
        fs::write(&path, [0xff]).unwrap();
        assert!(password(&path).is_err());
        assert_eq!(password(&folder.path().join("missing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
