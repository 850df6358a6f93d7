// Tests that CacheWarp fails on purpose, each with its reason. They count against it like all
// others.
//
// The release of the suite is older than RFC 9111, and CacheWarp follows the RFC. "Reversed" marks
// a test for which a later version of the suite expects the behaviour of the RFC.

const AGE_INVALID = 'RFC 9111 §5.1: a cache should ignore an Age that is not a number; it makes no response stale.'
const AGE_LIST = 'RFC 9111 §5.1: a cache uses the first of several values and discards the others.'
const NO_SUCH_ANSWER = 'The origin closes the connection, and the test expects the origin\'s own response. No cache can have it.'
const SHORT_PART = 'RFC 9110 §14.4: bytes 4-9 are six bytes, and the origin sends five. CacheWarp does not store the response.'
const COOKIE = 'CacheWarp stores a response without its Set-Cookie, so that no client gets the cookie of another.'

export const overruled = {
  'age-parse-nonnumeric': `${AGE_INVALID} Reversed.`,
  'age-parse-negative': `${AGE_INVALID} Reversed.`,
  'age-parse-float': `${AGE_INVALID} Reversed.`,
  'age-parse-parameter': AGE_INVALID,
  'age-parse-numeric-parameter': AGE_INVALID,
  'age-parse-prefix-twoline': `${AGE_LIST} Reversed.`,
  'age-parse-dup-0': `${AGE_LIST} Reversed.`,
  'age-parse-dup-0-twoline': `${AGE_LIST} Reversed.`,
  'age-parse-dup-old': `${AGE_LIST} Reversed.`,
  'stale-close-must-revalidate': NO_SUCH_ANSWER,
  'stale-close-proxy-revalidate': NO_SUCH_ANSWER,
  'stale-close-no-cache': NO_SUCH_ANSWER,
  'stale-close-s-maxage=2': NO_SUCH_ANSWER,
  'conditional-lm-fresh-no-lm': 'RFC 9111 §4.3.2: without Last-Modified, the cache compares with Date, which is later.',
  'vary-normalise-lang-select': 'RFC 9111 §4.1: these requests differ in meaning; the origin may have a French representation.',
  'headers-store-Transfer-Encoding': 'In an unknown coding without a length, a truncated response looks like a complete one.',
  'headers-store-Set-Cookie': COOKIE,
  '304-etag-update-response-ETag': 'RFC 9111 §4.3.4: a 304 with another strong ETag updates nothing.',
  '304-etag-update-response-Set-Cookie': COOKIE,
  'partial-store-partial-reuse-partial': SHORT_PART,
  'partial-store-partial-reuse-partial-byterange': SHORT_PART,
  'partial-store-partial-reuse-partial-absent': SHORT_PART,
  'partial-store-partial-reuse-partial-suffix': SHORT_PART,
  'vary-normalise-space': 'RFC 9111 §4.1: a cache may remove white space only if the syntax of the field allows it. CacheWarp knows the syntax of Accept, not that of this field.',
  'partial-store-partial-complete': 'RFC 9111 §3.4: a cache combines parts only by a strong validator, and the origin sends none. CacheWarp stores complete responses only.'
}
