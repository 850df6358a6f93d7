//! Secrets, each from its setting or from a file.

use std::path::Path;

use crate::config::reporting::error::ConfigError;
use crate::config::reporting::located::SettingSource;
use crate::config::resolve::resolver::{FileChecks, Resolver};
use crate::config::resolve::values;
use crate::config::table::Name;
use crate::secret::Secret;

impl Resolver<'_> {
    /// Reads a secret from its setting, or from the first line of the file that `file` names. Both
    /// may be set if they are equal.
    pub(in crate::config) fn secret(&mut self, name: Name, file: Name) -> Option<Option<Secret>> {
        let own = self.take(name, |text| match text {
            "" => Ok(None),
            token => values::token(token).map(Some),
        })?;
        let Some(path) = self.file(file)? else { return Some(own) };
        let Some(secret) = self.secret_of_file(file, &path) else { return Some(own) };
        if self.raw.of(name).source == SettingSource::Default {
            return Some(Some(secret));
        }
        match own {
            Some(own) if own != secret => {
                self.note(file, ConfigError::OtherSecret(name));
                Some(Some(own))
            }
            Some(_) | None => Some(Some(secret)),
        }
    }

    /// Reads the token of a file, or notes an error.
    fn secret_of_file(&mut self, file: Name, path: &Path) -> Option<Secret> {
        if self.files == FileChecks::Unopened {
            return None;
        }
        let read = Secret::read(path).map_err(|error| ConfigError::File(format!("cannot be read: {error}")));
        let token = read.and_then(|secret| {
            let invalid = |_| ConfigError::File("its first line is no token".to_owned());
            values::token(secret.expose()).map_err(invalid)
        });
        token.map_err(|error| self.note(file, error)).ok()
    }
}
