// Tests of targeted cache control (RFC 9213): CDN-Cache-Control, and CacheWarp-Cache-Control, which
// precedes it.

import { cached, fetched, says, test } from './build.mjs'

const ALL = 'Cache-Control'
const CDN = 'CDN-Cache-Control'
// CacheWarp removes this field, so the client does not get it.
const ours = value => ['CacheWarp-Cache-Control', value, false]

const reused = (id, name, ...fields) => test(`targeted-${id}`, `Reuses a response with ${name}`, says(...fields), cached)
const not = (id, name, ...fields) =>
  test(`targeted-${id}`, `Does not reuse a response with ${name}`, says(...fields), fetched)

export default {
  name: 'Targeted Cache Control',
  id: 'own-targeted',
  tests: [
    reused('max-age', 'a lifetime', [CDN, 'max-age=3600']),
    reused('over-no-store', 'a lifetime, and `no-store` for other caches', [CDN, 'max-age=3600'], [ALL, 'no-store']),
    reused('over-private', 'a lifetime, and `private` for other caches', [CDN, 'max-age=3600'], [ALL, 'private']),
    reused('over-expires', 'a lifetime, and an Expires in the past', [CDN, 'max-age=3600'], ['Expires', -100]),
    reused('unknown', 'an unknown directive', [CDN, 'foobar, max-age=3600']),
    reused('parameters', 'a parameter behind a value', [CDN, 'max-age=3600;foo=bar']),
    reused('last', 'a directive twice, of which the last counts', [CDN, 'max-age=0, max-age=3600']),
    reused('lines', 'directives on several lines', [CDN, 'foobar'], [CDN, 'max-age=3600']),
    reused('own-first', 'a lifetime for CacheWarp, and `no-store` for other CDN caches', ours('max-age=3600'), [CDN, 'no-store']),
    reused('own-over-all', 'a lifetime for CacheWarp, and `no-store` for all caches', ours('max-age=3600'), [ALL, 'no-store']),
    reused('own-invalid', 'an invalid field for CacheWarp', ours('max age'), [CDN, 'max-age=3600'], [ALL, 'no-store']),
    reused('invalid', 'an invalid structured field', [CDN, 'max-age=, ,'], [ALL, 'max-age=3600']),
    reused('key-case', 'a name in upper case, which is no key', [CDN, 'MAX-AGE=0'], [ALL, 'max-age=3600']),
    reused('empty', 'an empty field', [CDN, ''], [ALL, 'max-age=3600']),
    reused('false', '`no-store` with the value false', [CDN, 'no-store=?0, max-age=3600']),
    not('zero', 'a lifetime of zero, and a longer one for other caches', [CDN, 'max-age=0'], [ALL, 'max-age=3600']),
    not('no-store', '`no-store`', [CDN, 'no-store'], [ALL, 'max-age=3600']),
    not('private', '`private`', [CDN, 'private'], [ALL, 'public, max-age=3600']),
    not('no-cache', '`no-cache`', [CDN, 'no-cache'], [ALL, 'max-age=3600']),
    not('string', 'a lifetime that is a string', [CDN, 'max-age="3600"'], [ALL, 'max-age=3600']),
    not('decimal', 'a lifetime that is no integer', [CDN, 'max-age=3600.5'], [ALL, 'max-age=3600']),
    not('negative', 'a negative lifetime', [CDN, 'max-age=-3600'], [ALL, 'max-age=3600']),
    not('own-no-store', '`no-store` for CacheWarp', ours('no-store'), [CDN, 'max-age=3600'], [ALL, 'max-age=3600']),
    not('invalid-no-store', 'an invalid structured field, and `no-store`', [CDN, 'max-age="'], [ALL, 'no-store']),
    not('age', 'a lifetime that is shorter than its age', [CDN, 'max-age=3600'], ['Age', '7200', false]),
    test('targeted-forwarded', 'Passes on the field for all caches of the operator', says([CDN, 'max-age=3600']), {
      ...cached,
      expected_response_headers: [[CDN, 'max-age=3600']]
    }),
    test('targeted-own-kept', 'Does not pass on the field for CacheWarp', says(ours('max-age=3600')), {
      ...cached,
      expected_response_headers_missing: ['CacheWarp-Cache-Control']
    })
  ]
}
