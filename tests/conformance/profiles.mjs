// The settings of each profile. Every other setting has its default.

export const profiles = {
  // The defaults: CacheWarp stores only JSON with status 200. The suite's bodies are text, so this
  // profile shows only that nothing is stored or shared that must not be.
  default: {},
  // CacheWarp stores everything that RFC 9111 lets a shared cache store. The suite gives cookies no
  // meaning (§7.3 leaves them to the origin), so none counts as a credential here; CacheWarp still
  // removes cookies from shared fetches and from stored responses.
  open: {
    CACHE_CONTENT_TYPES: '*',
    CACHE_STATUSES: '*',
    IGNORED_COOKIES: '*'
  }
}
