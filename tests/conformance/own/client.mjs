// Runs CacheWarp's own groups with the suite's engine: node client.mjs, with the same options as
// the suite's client.
//
// Prints the results as JSON; for a single test, prints all message heads first.

import fetch from 'node-fetch'
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs'

import groups from './groups.mjs'

const { npm_config_base: url, npm_config_id: id } = process.env

const wanted = groups.map(group => ({
  ...group,
  tests: group.tests.filter(test => !id || test.id === id).map(test => ({ ...test, dump: Boolean(id) }))
}))
await runTests(wanted, fetch, false, url)
console.log(JSON.stringify(getResults(), null, 2))
