// The processes of a run: redis-server, the suite's origin, CacheWarp, the suite's client.
//
// Each listens on a port that the system chooses, or on a socket in the folder of the run, and says by itself
// that it serves; nothing is polled. `end` stops those that were started here and no others.

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const START_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 5_000

// Of what a process says, the last lines are kept for the error that tells why it did not do its part.
const LINES_KEPT = 20

export class Parties {
  #children = []
  // Resolves never; rejects when one that serves has ended.
  #lost = new Promise(() => {})

  static async gather () {
    const parties = new Parties()
    parties.folder = await mkdtemp(join(tmpdir(), 'cachewarp-conformance-'))
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, parties.#interrupted)
    return parties
  }

  // Starts a process and waits until `serving`, which is given each of its lines, finds what it looks for.
  async serve (command, args, env, serving) {
    const child = this.#start(command, args, env)
    const found = new Promise(resolve => child.onLine(line => {
      const answer = serving(line)
      if (answer) resolve(answer)
    }))
    const lost = child.ended.then(how => { throw child.failed(how ?? 'ended') })
    this.#lost = Promise.race([this.#lost, lost])
    this.#lost.catch(() => {})
    return within(START_TIMEOUT_MS, Promise.race([found, lost]), () => child.failed('does not serve'))
  }

  // Runs a process to its end and returns what it wrote to its standard output. Fails as soon as one that
  // serves has ended.
  async finish (command, args, env, timeoutMs) {
    const child = this.#start(command, args, env)
    const pieces = []
    child.process.stdout.on('data', piece => pieces.push(piece))
    const end = Promise.race([child.ended, this.#lost])
    const failure = await within(timeoutMs, end, () => child.failed(`not done in ${timeoutMs} ms`))
    if (failure) throw child.failed(failure)
    return Buffer.concat(pieces).toString()
  }

  async end () {
    for (const signal of ['SIGINT', 'SIGTERM']) process.off(signal, this.#interrupted)
    await Promise.all(this.#children.map(child => child.stop()))
    await rm(this.folder, { recursive: true, force: true })
  }

  #interrupted = () => this.end().then(() => process.exit(130))

  #start (command, args, env) {
    // PATH alone is inherited: a setting in the caller's environment or folder must not change what is
    // judged.
    const surroundings = { cwd: this.folder, env: { PATH: process.env.PATH, ...env } }
    const stdio = ['ignore', 'pipe', 'pipe']
    const child = new Child(command, spawn(command, args, { ...surroundings, stdio }))
    this.#children.push(child)
    return child
  }
}

class Child {
  #name
  #lines = []
  #listeners = []

  constructor (name, process) {
    this.#name = name
    this.process = process
    // Resolves to nothing if it ended well, otherwise to how it ended.
    this.ended = new Promise(resolve => {
      process.on('error', error => resolve(error.message))
      process.on('close', (code, signal) => resolve(code === 0 ? undefined : `ended by ${signal ?? code}`))
    })
    for (const stream of [process.stdout, process.stderr]) {
      createInterface({ input: stream }).on('line', line => this.#hear(line))
    }
  }

  onLine (listener) {
    this.#listeners.push(listener)
  }

  failed (how) {
    return new Error([`${this.#name}: ${how}`, ...this.#lines].join('\n  | '))
  }

  async stop () {
    this.process.kill('SIGTERM')
    const patience = setTimeout(() => this.process.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await this.ended
    clearTimeout(patience)
  }

  #hear (line) {
    this.#lines.push(line)
    if (this.#lines.length > LINES_KEPT) this.#lines.shift()
    for (const listener of this.#listeners) listener(line)
  }
}

async function within (timeoutMs, promise, error) {
  let deadline
  const late = new Promise((resolve, reject) => { deadline = setTimeout(() => reject(error()), timeoutMs) })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(deadline)
  }
}
