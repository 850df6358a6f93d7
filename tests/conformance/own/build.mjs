// What our own tests are put together from. Their bodies are JSON, so that they are stored in every profile.

const json = (...fields) => [['Content-Type', 'application/json'], ...fields]
const BODY = '{"own":true}'

// A test of two requests, or more.
export const test = (id, name, first, ...others) =>
  ({ id: `own-${id}`, name, requests: [{ ...first, setup: true }, ...others] })

// A response with these fields. The third member of a field is `false` where the client does not get to see it.
export const says = (...fields) => ({ response_headers: json(...fields), response_body: BODY })

// A request that takes three seconds until the next.
export const later = request => ({ ...request, pause_after: true })

// What becomes of a request.
export const cached = { expected_type: 'cached', expected_status: 200, expected_response_text: BODY }
export const fetched = { expected_type: 'not_cached', ...says() }
export const fails = { response_status: [503, 'Service Unavailable'], response_body: BODY }
export const refuses = { disconnect: true }

// That the answer is the one which the origin gave to its so-manieth request.
export const from = number => ({ expected_response_headers: [['Server-Request-Count', String(number)]] })
