//! The keys of a running process, which a reload replaces.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::keys::SealKeys;

/// The keys of a process, if it has a key file. Clones share them.
#[derive(Clone, Default)]
pub struct SharedSealKeys(Arc<RwLock<KeysInUse>>);

#[derive(Default)]
struct KeysInUse {
    file: Option<PathBuf>,
    keys: Option<Arc<SealKeys>>,
}

impl SharedSealKeys {
    /// Creates the keys of a process, with the file that they were read from.
    pub fn of_file(file: &Path, keys: SealKeys) -> Self {
        let keys = KeysInUse { file: Some(file.to_owned()), keys: Some(Arc::new(keys)) };
        Self(Arc::new(RwLock::new(keys)))
    }

    /// Returns the current keys.
    pub fn get(&self) -> Option<Arc<SealKeys>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    /// Returns the file that the keys were read from.
    pub fn file(&self) -> Option<PathBuf> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).file.clone()
    }

    /// Replaces the keys and their file for every clone. A key that stays keeps its count of seals.
    pub fn set(&self, file: &Path, keys: Arc<SealKeys>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = &current.keys {
            keys.continue_counts(before);
        }
        *current = KeysInUse { file: Some(file.to_owned()), keys: Some(keys) };
    }
}

impl fmt::Debug for SharedSealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedSealKeys").field(&self.get()).finish()
    }
}
