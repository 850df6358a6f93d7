// The building blocks of CacheWarp's own tests. Their bodies are JSON, so that every profile stores
// them.

const json = (...fields) => [['Content-Type', 'application/json'], ...fields]
const BODY = '{"own":true}'

// Returns a test of two or more requests.
export const test = (id, name, first, ...others) =>
  ({ id: `own-${id}`, name, requests: [{ ...first, setup: true }, ...others] })

// Returns a request whose response has these fields. The third member of a field is `false` if the
// client does not get the field.
export const says = (...fields) => ({ response_headers: json(...fields), response_body: BODY })

// Returns a request with a pause of three seconds after it.
export const later = request => ({ ...request, pause_after: true })

// The expected result of a request, and the failures of the origin.
export const cached = { expected_type: 'cached', expected_status: 200, expected_response_text: BODY }
export const fetched = { expected_type: 'not_cached', ...says() }
export const fails = { response_status: [503, 'Service Unavailable'], response_body: BODY }
export const refuses = { disconnect: true }

// Expects the origin's response to its request with this number.
export const from = number => ({ expected_response_headers: [['Server-Request-Count', String(number)]] })
