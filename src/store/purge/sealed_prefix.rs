//! The prefixes of purges in the purge log, sealed if this node has keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::sealing::SealKeys;
use crate::store::purge::log::{PurgeLog, SEALED_PREFIX};
use crate::store::purge::names::UrlPrefix;
use crate::store::shared::StoreShared;

/// The domain of the seals.
const SEAL_DOMAIN: &[u8] = b"cw-prefix-1";

impl StoreShared {
    /// Returns the text of a prefix for the purge log; `None` if no seal is possible. Equal
    /// prefixes have equal texts, so that the script replaces the earlier one.
    pub(in crate::store) fn logged_prefix(&self, prefix: &UrlPrefix) -> Option<String> {
        let Some(keys) = self.options.entry_keys.get() else { return Some(prefix.to_string()) };
        let sealed = keys.seal_repeatable(&self.prefix_context(), prefix.to_string().as_bytes()).ok()?;
        Some(format!("{SEALED_PREFIX}{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Parses a purge log with the prefixes that the keys of this node open.
    pub(in crate::store) fn parse_log(&self, bytes: &[u8]) -> Option<PurgeLog> {
        let keys = self.options.entry_keys.get();
        PurgeLog::parse_sealed(bytes, |sealed| self.opened_prefix(keys.as_deref()?, sealed))
    }

    fn opened_prefix(&self, keys: &SealKeys, sealed: &str) -> Option<UrlPrefix> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let text = keys.open_value(&self.prefix_context(), &sealed).ok()?;
        UrlPrefix::parse(str::from_utf8(&text).ok()?).ok()
    }

    /// Returns the bytes that the seal of a prefix covers.
    fn prefix_context(&self) -> Vec<u8> {
        [SEAL_DOMAIN, self.namespace_digest.as_bytes()].concat()
    }
}
