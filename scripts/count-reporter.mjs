// A reporter for `node --test`: writes, as lines of JSON for scripts/test.mjs to add up, `{"failure"}` for every test
// that failed, and at the end `{"counts"}`, the run's own totals.

/** Of an error's text; a difference of two long values goes on and on. */
const TEXT_LENGTH_MAX = 1_500

/** @param {AsyncIterable<{ type: string, data: any }>} source */
export default async function* countReporter(source) {
  for await (const { type, data } of source) {
    if (type === 'test:fail' && !isFailureWithin(data)) yield line({ failure: failureOf(data) })
    // one summary comes per file, and one without a file for the whole run
    if (type === 'test:summary' && data.file === undefined) yield line({ counts: data.counts })
  }
}

/** A suite or a file that failed because a test in it did; that one is told of by itself. */
function isFailureWithin({ details }) {
  return details.error?.failureType === 'subtestsFailed'
}

function failureOf({ name, file, line: fileLine, details }) {
  const error = details.error?.cause ?? details.error
  const text = typeof error === 'string' ? error : (error?.stack ?? String(error))
  return {
    name,
    place: file === undefined ? '' : `${file}:${fileLine}`,
    text: text.slice(0, TEXT_LENGTH_MAX)
  }
}

const line = value => `${JSON.stringify(value)}\n`
