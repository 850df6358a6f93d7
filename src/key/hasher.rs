//! The hash behind cache keys: BLAKE3 over length-prefixed fields.

use crate::key::name_key::NameKey;

/// Bytes of a key's digest.
pub const DIGEST_BYTES: usize = 32;

/// Size of the gather buffer: most keys are computed from fewer bytes, and almost all others from a
/// few more.
pub(super) const GATHERED_BYTES: usize = 256;

/// A hasher of length-prefixed fields.
///
/// It gathers the fields and hashes them in one call: an incremental hasher has two kilobytes of
/// state, too much for messages of a hundred bytes. It is used only for longer messages.
pub struct FieldHasher<'k> {
    /// The key of the hash, if it may have one.
    key: Option<&'k NameKey>,
    gathered: [u8; GATHERED_BYTES],
    /// Number of gathered bytes.
    filled: usize,
    /// The incremental hasher of a message that exceeds the buffer; boxed, because it is large and
    /// rarely needed.
    hasher: Option<Box<blake3::Hasher>>,
}

impl FieldHasher<'static> {
    /// Begins a message. The domain separates it from every other use of the hash.
    pub fn new(domain: &[u8]) -> Self {
        Self::begin(domain, None)
    }
}

impl<'k> FieldHasher<'k> {
    /// Begins a message that names a value in Redis.
    pub fn keyed(domain: &[u8], key: &'k NameKey) -> Self {
        Self::begin(domain, Some(key))
    }

    fn begin(domain: &[u8], key: Option<&'k NameKey>) -> Self {
        let mut fields = Self { key, gathered: [0; GATHERED_BYTES], filled: 0, hasher: None };
        fields.add(domain);
        fields
    }

    /// Adds a field.
    pub fn field(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_be_bytes();
        let end = self.filled + length.len() + bytes.len();
        if let Some((head, rest)) =
            self.gathered.get_mut(self.filled..end).and_then(<[u8]>::split_first_chunk_mut)
        {
            *head = length;
            rest.copy_from_slice(bytes);
            self.filled = end;
        } else {
            self.add(&length);
            self.add(bytes);
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Some(room) = self.gathered.get_mut(self.filled..self.filled + bytes.len()) {
            room.copy_from_slice(bytes);
            self.filled += bytes.len();
            return;
        }
        let mut hasher = self
            .hasher
            .take()
            .unwrap_or_else(|| Box::new(self.key.map_or_else(blake3::Hasher::new, NameKey::hasher)));
        hasher.update(self.gathered());
        hasher.update(bytes);
        self.hasher = Some(hasher);
        self.filled = 0;
    }

    fn gathered(&self) -> &[u8] {
        self.gathered.get(..self.filled).unwrap_or_default()
    }

    /// Returns the digest of all fields.
    pub fn finish(&mut self) -> [u8; DIGEST_BYTES] {
        let digest = match self.hasher.take() {
            None => match self.key {
                None => blake3::hash(self.gathered()),
                Some(key) => key.hash(self.gathered()),
            },
            Some(mut hasher) => hasher.update(self.gathered()).finalize(),
        };
        *digest.as_bytes()
    }
}
