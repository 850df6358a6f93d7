// Tests of the windows of RFC 5861 and of the directives that forbid them, and repaired versions of
// the suite's tests of these directives: if the origin closes the connection, it sends no response,
// and a test cannot expect its status.

import { cached, fails, fetched, from, later, refuses, says, test } from './build.mjs'

const lives = (...directives) => later(says(['Cache-Control', ['max-age=1', ...directives].join(', ')]))
const FORBIDDING = ['must-revalidate', 'proxy-revalidate', 'no-cache', 's-maxage=1']

export default [
  {
    name: 'Stale While Revalidate',
    id: 'own-swr',
    tests: [
      test('swr-within', 'Serves a stale response within the window, and refreshes it', lives('stale-while-revalidate=60'),
        later({ ...says(['Cache-Control', 'max-age=3600']), ...cached, ...from(1) }),
        { ...cached, ...from(2) }),
      test('swr-past', 'Does not serve it past the window', lives('stale-while-revalidate=1'), fetched),
      test('swr-none', 'Does not serve a stale response without a window', lives(), fetched),
      test('swr-zero', 'Does not serve it in a window of no length', lives('stale-while-revalidate=0'), fetched),
      test('swr-invalid', 'Does not serve it with an invalid window', lives('stale-while-revalidate=1m'), fetched),
      test('swr-targeted', 'Uses the window of a targeted field',
        later(says(['CDN-Cache-Control', 'max-age=1, stale-while-revalidate=60'], ['Cache-Control', 'max-age=1'])), cached),
      test('swr-request-no-cache', 'Does not serve it to a request with `no-cache`', lives('stale-while-revalidate=60'),
        { ...fetched, request_headers: [['Cache-Control', 'no-cache']] }),
      test('swr-request-max-age', 'Does not serve it to a request whose `max-age` it exceeds',
        lives('stale-while-revalidate=60'), { ...fetched, request_headers: [['Cache-Control', 'max-age=1']] }),
      ...FORBIDDING.map(directive => test(`swr-${directive}`, `Does not serve it against \`${directive}\``,
        lives('stale-while-revalidate=60', directive), fetched))
    ]
  },
  {
    name: 'Stale If Error',
    id: 'own-sie',
    tests: [
      test('sie-503', 'Serves a stale response instead of an error', lives('stale-if-error=60'), { ...fails, ...cached }),
      test('sie-close', 'Serves a stale response if the origin sends none', lives('stale-if-error=60'),
        { ...refuses, ...cached }),
      test('sie-past', 'Does not serve it past the window', lives('stale-if-error=1'),
        { ...fails, expected_type: 'not_cached' }),
      test('sie-404', 'Does not serve it instead of a response that is no failure', lives('stale-if-error=60'),
        { response_status: [404, 'Not Found'], expected_type: 'not_cached' }),
      ...FORBIDDING.map(directive => test(`sie-${directive}`, `Does not serve it against \`${directive}\``,
        lives('stale-if-error=60', directive), { ...fails, expected_type: 'not_cached' })),
      ...FORBIDDING.map(directive => test(`close-${directive}`,
        `Does not serve it against \`${directive}\` if the origin sends no response`, lives(directive),
        { ...refuses, expected_status: 502, check_body: false, expected_response_headers_missing: ['Server-Request-Count'] }))
    ]
  }
]
