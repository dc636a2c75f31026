// One line per long step. It goes to standard error: standard output belongs to the program started.

/** @returns {string} for example `3.4 s` or `2 min 5 s` */
export function formatDuration(ms) {
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}

/**
 * Shows `title` while `work` runs, with a running clock on a terminal, and the time taken at its end.
 *
 * @template T
 * @param {string} title
 * @param {() => Promise<T>} work
 * @returns {Promise<T>} what `work` returns; its failure passes through
 */
export async function withProgress(title, work) {
  const startMs = performance.now()
  const elapsed = () => formatDuration(performance.now() - startMs)
  const terminal = process.stderr.isTTY
  const show = () => process.stderr.write(`\r${title} … ${elapsed()} `)
  if (terminal) show()
  else process.stderr.write(`${title} …\n`)
  const ticking = terminal ? setInterval(show, 500) : undefined
  let outcome = 'failed after'
  try {
    const result = await work()
    outcome = 'done in'
    return result
  } finally {
    clearInterval(ticking)
    process.stderr.write(`${terminal ? '\r' : ''}${title} … ${outcome} ${elapsed()}\n`)
  }
}
