// The settings that CacheWarp is judged with. What is not named here has its default.

export const profiles = {
  // As it is installed: 200 and JSON alone are stored. The suite's bodies are text, so this shows what is
  // never stored or shared, and nothing about hits.
  default: {},
  // Everything that RFC 9111 lets a shared cache store. It knows no cookies (§7.3 leaves them to the origin), so none is
  // taken for a credential here; they are kept from the origin and from the store all the same.
  open: {
    CACHE_CONTENT_TYPES: '*',
    CACHE_STATUSES: '*',
    ORDINARY_COOKIES: '*'
  }
}
