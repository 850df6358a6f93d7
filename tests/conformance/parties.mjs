// The processes of a run: redis-server, the suite's origin, CacheWarp, the suite's client.
//
// Each process listens on a port that the system chooses, or on a socket in the folder of the run,
// and prints a line when it serves, so nothing is polled. `end` stops only the processes that this
// run started.

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const START_TIMEOUT_MS = 30_000
const STOP_TIMEOUT_MS = 5_000

// The number of output lines that an error about a process shows.
const LINES_KEPT = 20

export class Parties {
  #children = []
  // Never resolves; rejects when a serving process has ended.
  #lost = new Promise(() => {})

  static async gather () {
    const parties = new Parties()
    parties.folder = await mkdtemp(join(tmpdir(), 'cachewarp-conformance-'))
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, parties.#interrupted)
    return parties
  }

  // Starts a process and waits until `serving`, called with each of its lines, returns a value.
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

  // Runs a process to its end and returns its standard output. Fails as soon as a serving process
  // has ended.
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
    // The process inherits only PATH: a setting in the caller's environment or folder must not
    // change the verdicts.
    const options = { cwd: this.folder, env: { PATH: process.env.PATH, ...env } }
    const stdio = ['ignore', 'pipe', 'pipe']
    const child = new Child(command, spawn(command, args, { ...options, stdio }))
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
    // Resolves to undefined after a successful end, otherwise to a description of the end.
    this.ended = new Promise(resolve => {
      process.on('error', error => resolve(error.message))
      process.on('close', (code, signal) => resolve(code === 0 ? undefined : `ended by ${signal ?? code}`))
    })
    for (const stream of [process.stdout, process.stderr]) {
      createInterface({ input: stream }).on('line', line => this.#addLine(line))
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
    const killTimer = setTimeout(() => this.process.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await this.ended
    clearTimeout(killTimer)
  }

  #addLine (line) {
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
