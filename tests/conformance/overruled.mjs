// Tests that CacheWarp fails on purpose, each with its reason. They count against it like all
// others.

const SHORT_PART = 'RFC 9110 §14.4: bytes 4-9 are six bytes, and the origin sends five. CacheWarp does not store the response.'

// These reasons hold for the newest source of the suite, and for its npm release if it has the test.
export const overruled = {
  'conditional-lm-fresh-no-lm': 'RFC 9111 §4.3.2: without Last-Modified, the cache compares with Date, which is later.',
  'vary-normalise-lang-select': 'RFC 9111 §4.1: these requests differ in meaning; the origin may have a French representation.',
  'vary-normalise-space': 'RFC 9111 §4.1: a cache may remove white space only if the syntax of the field allows it. CacheWarp knows the syntax of Accept, not that of this field.',
  'headers-store-Transfer-Encoding': 'In an unknown coding without a length, a truncated response looks like a complete one.',
  'headers-store-Set-Cookie': 'CacheWarp stores a response without its Set-Cookie, so that no client gets the cookie of another.',
  'partial-store-partial-reuse-partial': SHORT_PART,
  'partial-store-partial-reuse-partial-byterange': SHORT_PART,
  'partial-store-partial-reuse-partial-absent': SHORT_PART,
  'partial-store-partial-reuse-partial-suffix': SHORT_PART,
  'partial-store-partial-complete': 'RFC 9111 §3.4: a cache combines parts only by a strong validator, and the origin sends none. CacheWarp stores complete responses only.'
}

// Tests of the npm release, which is older than RFC 9111, that the newest source has with another
// expectation, or as a check.
export const reversed = [
  'age-parse-nonnumeric',
  'age-parse-negative',
  'age-parse-float',
  'age-parse-parameter',
  'age-parse-numeric-parameter',
  'age-parse-prefix-twoline',
  'age-parse-dup-0',
  'age-parse-dup-0-twoline',
  'age-parse-dup-old',
  'stale-close-must-revalidate',
  'stale-close-proxy-revalidate',
  'stale-close-no-cache',
  'stale-close-s-maxage=2',
  '304-etag-update-response-ETag',
  '304-etag-update-response-Set-Cookie'
]
