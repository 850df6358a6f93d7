// The windows of RFC 5861, and what forbids them; and the suite's own tests of the latter, repaired: where the origin
// hangs up there is no answer of its, so that its status cannot be asked for.

import { cached, fails, fetched, from, later, refuses, says, test } from './build.mjs'

const lives = (...directives) => later(says(['Cache-Control', ['max-age=1', ...directives].join(', ')]))
const FORBIDDING = ['must-revalidate', 'proxy-revalidate', 'no-cache', 's-maxage=1']

export default [
  {
    name: 'Stale While Revalidate',
    id: 'own-swr',
    tests: [
      test('swr-within', 'Serves what is stale within the window, and refreshes it', lives('stale-while-revalidate=60'),
        later({ ...says(['Cache-Control', 'max-age=3600']), ...cached, ...from(1) }),
        { ...cached, ...from(2) }),
      test('swr-past', 'Does not serve it past the window', lives('stale-while-revalidate=1'), fetched),
      test('swr-none', 'Does not serve what is stale without one', lives(), fetched),
      test('swr-zero', 'Does not serve it in a window of no length', lives('stale-while-revalidate=0'), fetched),
      test('swr-invalid', 'Does not serve it in a window that cannot be read', lives('stale-while-revalidate=1m'), fetched),
      test('swr-targeted', 'Heeds the window of a targeted field',
        later(says(['CDN-Cache-Control', 'max-age=1, stale-while-revalidate=60'], ['Cache-Control', 'max-age=1'])), cached),
      test('swr-request-no-cache', 'Does not serve it to a client that wants news', lives('stale-while-revalidate=60'),
        { ...fetched, request_headers: [['Cache-Control', 'no-cache']] }),
      test('swr-request-max-age', 'Does not serve it to a client that wants nothing so old',
        lives('stale-while-revalidate=60'), { ...fetched, request_headers: [['Cache-Control', 'max-age=1']] }),
      ...FORBIDDING.map(directive => test(`swr-${directive}`, `Does not serve it against \`${directive}\``,
        lives('stale-while-revalidate=60', directive), fetched))
    ]
  },
  {
    name: 'Stale If Error',
    id: 'own-sie',
    tests: [
      test('sie-503', 'Serves what is stale in place of an error', lives('stale-if-error=60'), { ...fails, ...cached }),
      test('sie-close', 'Serves what is stale where there is no answer', lives('stale-if-error=60'),
        { ...refuses, ...cached }),
      test('sie-past', 'Does not serve it past the window', lives('stale-if-error=1'),
        { ...fails, expected_type: 'not_cached' }),
      test('sie-404', 'Does not serve it in place of what is no failure', lives('stale-if-error=60'),
        { response_status: [404, 'Not Found'], expected_type: 'not_cached' }),
      ...FORBIDDING.map(directive => test(`sie-${directive}`, `Does not serve it against \`${directive}\``,
        lives('stale-if-error=60', directive), { ...fails, expected_type: 'not_cached' })),
      ...FORBIDDING.map(directive => test(`close-${directive}`,
        `Does not serve it against \`${directive}\` where there is no answer`, lives(directive),
        { ...refuses, expected_status: 502, check_body: false, expected_response_headers_missing: ['Server-Request-Count'] }))
    ]
  }
]
