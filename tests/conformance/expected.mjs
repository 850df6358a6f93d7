// The expected result of each test: expected/PROFILE.json maps test ids to results, and
// expected/checkout/PROFILE.json those of the newest source.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

import { checkout } from './suite.mjs'

const FOLDER = checkout ? 'expected/checkout' : 'expected'
const file = profile => fileURLToPath(new URL(`${FOLDER}/${profile}.json`, import.meta.url))

// Prints the differences. Resolves to the number of tests that passed before and do not pass now.
export async function compare (profile, verdicts) {
  const expected = await read(profile)
  const now = byId(verdicts)
  const ids = [...new Set([...Object.keys(expected), ...Object.keys(now)])]
  const differing = ids.filter(id => expected[id] !== now[id])
  const lost = differing.filter(id => expected[id] === 'pass')
  const gained = differing.filter(id => now[id] === 'pass')
  const other = differing.filter(id => !lost.includes(id) && !gained.includes(id))

  const list = (title, tests) => {
    if (tests.length > 0) console.log(`\n${title}:`)
    for (const id of tests) console.log(`  ${id}: ${expected[id] ?? 'unknown'} → ${now[id] ?? 'gone'}`)
  }
  list('Passed before and does not pass now', lost)
  list('Passes for the first time', gained)
  list('Different result', other)
  const advice = 'If these results are correct, run again with --update.'
  console.log(differing.length > 0 ? `\n${advice}` : '\nAll results are as expected.')
  return lost.length
}

// Writes these verdicts as the expected ones.
export async function update (profile, verdicts) {
  await mkdir(new URL(`${FOLDER}/`, import.meta.url), { recursive: true })
  await writeFile(file(profile), `${JSON.stringify(byId(verdicts), null, 1)}\n`)
  console.log(`\n${FOLDER}/${profile}.json is up to date.`)
}

async function read (profile) {
  try {
    return JSON.parse(await readFile(file(profile), 'utf8'))
  } catch (error) {
    throw new Error(`${FOLDER}/${profile}.json cannot be read (${error.message}); --update creates it`)
  }
}

function byId ({ published, own }) {
  return Object.fromEntries([...published, ...own].map(({ id, result }) => [id, result]))
}
