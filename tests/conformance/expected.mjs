// What each test is expected to result in: expected/PROFILE.json, test id → result.

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const file = profile => fileURLToPath(new URL(`expected/${profile}.json`, import.meta.url))

// Tells what differs. Resolves to the number of tests that passed before and do not now.
export async function compare (profile, verdicts) {
  const expected = await read(profile)
  const now = byId(verdicts)
  const ids = [...new Set([...Object.keys(expected), ...Object.keys(now)])]
  const differing = ids.filter(id => expected[id] !== now[id])
  const lost = differing.filter(id => expected[id] === 'pass')
  const gained = differing.filter(id => now[id] === 'pass')
  const other = differing.filter(id => !lost.includes(id) && !gained.includes(id))

  const tell = (title, tests) => {
    if (tests.length > 0) console.log(`\n${title}:`)
    for (const id of tests) console.log(`  ${id}: ${expected[id] ?? 'unknown'} → ${now[id] ?? 'gone'}`)
  }
  tell('Passed before and does not now', lost)
  tell('Passes for the first time', gained)
  tell('Another result than before', other)
  const advice = 'If this is how it should be, run again with --update.'
  console.log(differing.length > 0 ? `\n${advice}` : '\nAs expected.')
  return lost.length
}

// Makes these verdicts the expected ones.
export async function update (profile, verdicts) {
  await mkdir(new URL('expected/', import.meta.url), { recursive: true })
  await writeFile(file(profile), `${JSON.stringify(byId(verdicts), null, 1)}\n`)
  console.log(`\nexpected/${profile}.json is up to date.`)
}

async function read (profile) {
  try {
    return JSON.parse(await readFile(file(profile), 'utf8'))
  } catch (error) {
    throw new Error(`expected/${profile}.json cannot be read (${error.message}); --update makes it`)
  }
}

function byId ({ published, own }) {
  return Object.fromEntries([...published, ...own].map(({ id, result }) => [id, result]))
}
