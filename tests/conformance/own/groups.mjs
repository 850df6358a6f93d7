// CacheWarp's own tests, in the suite's form, for features that the suite's release does not cover.

import staleness from './staleness.mjs'
import targeted from './targeted.mjs'

export default [targeted, ...staleness]
