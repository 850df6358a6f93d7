// Runs our own groups with the suite's engine: node client.mjs, told what to do as the suite's client is.
//
// Prints the results as JSON; of one test alone, every head that was seen first.

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
