// Tests in the suite's form for what its release has none for.

import staleness from './staleness.mjs'
import targeted from './targeted.mjs'

export default [targeted, ...staleness]
