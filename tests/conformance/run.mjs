// Tests a binary: node run.mjs BINARY [--update] [--only TEST] [PROFILE...]
//
// Exits with 0 if every test that passed before still passes, with 1 if one fails, with 2 if the
// suite could not run.

import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

import { compare, update } from './expected.mjs'
import { Parties } from './parties.mjs'
import { profiles } from './profiles.mjs'
import { print } from './score.mjs'
import * as suite from './suite.mjs'

const RESULTS = fileURLToPath(new URL('results', import.meta.url))

try {
  process.exitCode = await main()
} catch (error) {
  console.error(`conformance: ${error.message}`)
  process.exitCode = 2
}

async function main () {
  const { values, positionals: [binary, ...named] } = parseArgs({
    allowPositionals: true,
    options: { update: { type: 'boolean' }, only: { type: 'string' } }
  })
  if (!binary) throw new Error('name the binary to test')
  const wanted = named.length > 0 ? named : Object.keys(profiles)
  const unknown = wanted.find(profile => !(profile in profiles))
  if (unknown) throw new Error(`unknown profile ${unknown}; the profiles are ${Object.keys(profiles).join(', ')}`)

  let regressions = 0
  for (const profile of wanted) {
    if (values.only) {
      console.log(await withProxy(binary, profile, (parties, url) => suite.runOne(parties, url, values.only)))
      continue
    }
    const results = await withProxy(binary, profile, suite.runAll)
    await keep(profile, results)
    const verdicts = suite.judge(results)
    print(profile, verdicts)
    if (values.update) await update(profile, verdicts)
    else regressions += await compare(profile, verdicts)
  }
  return regressions > 0 ? 1 : 0
}

// Starts Redis, the origin and the binary with a profile's settings, and stops them at the end of
// `use`, also after an error.
async function withProxy (binary, profile, use) {
  const parties = await Parties.gather()
  try {
    const socket = join(parties.folder, 'redis.sock')
    const redisArgs = ['--port', '0', '--unixsocket', socket, '--save', '']
    await parties.serve('redis-server', redisArgs, {}, line => line.includes('eady to accept connections'))
    const settings = {
      LISTEN_ADDR: '127.0.0.1:0',
      ADMIN_ADDR: 'off',
      ORIGIN_URL: await suite.serveOrigin(parties),
      REDIS_URL: `unix://${socket}`,
      // On a busy machine a slow Redis would cause misses, and these tests do not judge that.
      REDIS_TIMEOUT: '5s',
      LOG_FORMAT: 'json',
      ...profiles[profile]
    }
    const addr = await parties.serve(resolve(binary), [], settings, servingAddr)
    return await use(parties, `http://${addr}`)
  } finally {
    await parties.end()
  }
}

// Returns the address in the log line "serving".
function servingAddr (line) {
  return line.includes('"serving"') && /"addr":"([^"]+)"/.exec(line)?.[1]
}

async function keep (profile, results) {
  await mkdir(RESULTS, { recursive: true })
  await writeFile(join(RESULTS, `${profile}.json`), `${JSON.stringify(results, null, 1)}\n`)
}
