// Prints verdicts: the number of passed tests by group and kind, then each other test with the
// suite's reason.
//
// As a program, it prints saved results: node score.mjs results/open.json

import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

import { overruled, reversed } from './overruled.mjs'
import { checkout, judge } from './suite.mjs'

// A check has no right answer: "yes" is no better than "no".
const KINDS = { required: 'pass', optimal: 'pass', check: 'yes' }

export function print (profile, { published, own }) {
  console.log(`\nProfile ${profile}\n`)
  printTable(published)
  console.log('\nCacheWarp\'s own tests\n')
  printTable(own)
  const verdicts = [...published, ...own]
  const unpassed = verdicts.filter(({ kind, result }) => kind !== 'check' && result !== 'pass')
  const outdated = checkout ? [] : unpassed.filter(({ id }) => reversed.includes(id))
  const open = unpassed.filter(test => !(test.id in overruled) && !outdated.includes(test))
  const refused = unpassed.filter(({ id }) => id in overruled)
  printTests('Not passed', open, ({ reason }) => reason)
  printTests('Not passed, reversed in the newest source', outdated, ({ reason }) => reason)
  printTests('Not passed, on purpose', refused, ({ id }) => overruled[id])
}

function printTable (verdicts) {
  const groups = [...new Set(verdicts.map(({ group }) => group))]
  const width = Math.max(...groups.map(name => name.length))
  const line = (name, cells) => console.log(name.padEnd(width), ...cells.map(cell => cell.padStart(12)))
  line('', Object.keys(KINDS))
  for (const name of groups) line(name, counts(verdicts.filter(({ group }) => group === name)))
  line('all', counts(verdicts))
}

function counts (verdicts) {
  return Object.entries(KINDS).map(([wanted, good]) => {
    const ofKind = verdicts.filter(({ kind }) => kind === wanted)
    const passed = ofKind.filter(({ result }) => result === good)
    return ofKind.length > 0 ? `${passed.length} of ${ofKind.length}` : ''
  })
}

function printTests (title, verdicts, why) {
  if (verdicts.length === 0) return
  console.log(`\n${title}: ${verdicts.length}`)
  for (const verdict of verdicts) {
    const { id, kind, result, name } = verdict
    console.log(`\n  ${id} (${kind}, ${result})\n    ${name}\n    ${why(verdict)}`)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const file of process.argv.slice(2)) {
    print(basename(file, '.json'), judge(JSON.parse(await readFile(file, 'utf8'))))
  }
}
