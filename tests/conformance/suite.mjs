// The adapter for the public suite, http-cache-tests, and for CacheWarp's own tests in its form: it
// runs and judges them. Only this file and `own/client.mjs` depend on the suite's internals.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

import own from './own/groups.mjs'

const RUN_TIMEOUT_MS = 180_000

// The suite's result symbols, as words. The suite has separate symbols for a failed required test
// and a failed optimal one; here a test's kind and result are separate.
const WORDS = {
  '✅': 'pass',
  '⛔️': 'fail',
  '⚠️': 'fail',
  Y: 'yes',
  N: 'no',
  '⚪️': 'dependency',
  '🔹': 'setup',
  '↻': 'retry',
  '⁉️': 'harness',
  '-': 'untested'
}

// The checkout of the suite's source whose tests run. Without one, the tests of the npm release run.
export const checkout = process.env.CACHE_TESTS_DIR

// The paths in the npm release, and in a checkout, which has the engine in a folder of its own.
const FILES = checkout
  ? { tests: 'tests/index.mjs', judge: 'test-engine/lib/results.mjs', server: 'test-engine/server/server.mjs', client: 'test-engine/cli.mjs' }
  : { tests: 'tests/index.mjs', judge: 'lib/display.mjs', server: 'server/server.mjs', client: 'cli.mjs' }

const release = createRequire(import.meta.url).resolve
const path = file => checkout ? join(checkout, FILES[file]) : release(`http-cache-tests/${FILES[file]}`)
const { default: published } = await import(pathToFileURL(path('tests')))
const { determineTestResult } = await import(pathToFileURL(path('judge')))

const LISTED = ['--no-warnings', '--import', new URL('listed.mjs', import.meta.url).href]
const SERVER = [...LISTED, path('server')]
const CLIENT = [...LISTED, path('client')]
const OWN_CLIENT = [...LISTED, fileURLToPath(new URL('own/client.mjs', import.meta.url))]

// Starts the suite's origin and returns its URL.
export function serveOrigin (parties) {
  const options = { protocol: 'http', port: '0', pidfile: '/dev/null' }
  return parties.serve(process.execPath, SERVER, environment(options), line => {
    const port = /^Listening on .*:(\d+)\/$/.exec(line)?.[1]
    return port && `http://127.0.0.1:${port}`
  })
}

// Runs all tests against a cache. Returns, for each id, `true` or the suite's
// `[kind of failure, reason]`.
export async function runAll (parties, url) {
  const all = { base: url, id: '' }
  const results = await Promise.all([CLIENT, OWN_CLIENT].map(client => runClient(parties, client, all)))
  return Object.assign({}, ...results.map(result => JSON.parse(result)))
}

// Runs one test and returns the suite's dump of all message heads.
export function runOne (parties, url, id) {
  const has = groups => groups.some(group => group.tests.some(test => test.id === id))
  if (!has(published) && !has(own)) throw new Error(`no test ${id}`)
  return runClient(parties, has(own) ? OWN_CLIENT : CLIENT, { base: url, id })
}

// Returns the verdict on every test for shared caches, in the suite's order and by the suite's own
// judge: a test is not judged if a test that it depends on did not pass. The own tests are
// separate, so that the counts of the published tests are comparable with other caches'.
export function judge (results) {
  return { published: verdicts(published, results), own: verdicts(own, results) }
}

function verdicts (groups, results) {
  return groups.flatMap(group => group.tests.filter(test => !test.browser_only).map(test => ({
    id: test.id,
    group: group.name,
    kind: test.kind ?? 'required',
    name: test.name,
    result: WORDS[determineTestResult(groups, test.id, results)[2]],
    reason: results[test.id]?.[1] ?? ''
  })))
}

function runClient (parties, client, options) {
  return parties.finish(process.execPath, client, environment(options), RUN_TIMEOUT_MS)
}

// The suite reads its options from the variables that `npm run` sets; it reads an empty option from
// the second prefix.
function environment (options) {
  const prefixes = ['npm_config_', 'npm_package_config_']
  return Object.fromEntries(prefixes.flatMap(prefix =>
    Object.entries(options).map(([name, value]) => [prefix + name, value])))
}
