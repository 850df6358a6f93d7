//! Who we are to a server, found out anew for each connection.
//!
//! A password in a file may change while we run: whoever rotates it writes the file, and from then on new connections
//! log in with the new one, while those that are up go on. So nothing has to be told, and nothing restarted. A refused
//! password is answered by the next attempt, which reads the file again.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::limits::PASSWORD_FILE_BYTES_MAX;
use crate::redis::error::ConnectError;
use crate::redis::options::{Options, PasswordFile};
use crate::resp::{Credentials, RedisLogin};
use crate::secret::Secret;

/// What `CLIENT LIST` shows.
const CLIENT_NAME: &str = "cachewarp";

/// How to log in.
pub(in crate::redis) struct LoginSource {
    /// Complete, but for the password of the file.
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

    /// What to say now. Reading the file is a thread's work of its own: where it is a mounted secret, nobody knows how
    /// long that takes.
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

/// The first line of a file.
fn password(path: &Path) -> io::Result<Secret> {
    let mut text = String::new();
    File::open(path)?.take(PASSWORD_FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || text.len() > PASSWORD_FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is no password"));
    }
    Ok(Secret::new(line))
}

/// Whether a file holds a password: for whoever checks settings.
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
