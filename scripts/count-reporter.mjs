// A reporter for `node --test`: writes the run's own totals as one line of JSON, for scripts/test.mjs to add up.

/** @param {AsyncIterable<{ type: string, data: any }>} source */
export default async function* countReporter(source) {
  for await (const { type, data } of source) {
    // one summary comes per file, and one without a file for the whole run
    if (type === 'test:summary' && data.file === undefined) yield `${JSON.stringify(data.counts)}\n`
  }
}
