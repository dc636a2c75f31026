/**
 * What every server's Node is started with; `packaging/tributary` has the same.
 *
 * Young objects have 4 MB instead of 32: most are garbage within a request. With more, what many small uploads leave behind
 * counts, with its buffers, until the whole heap is marked for it, several times a second: a sixth of a data worker's CPU time, and
 * 20 MB more of memory in each process.
 */
export const SERVER_NODE_FLAGS: readonly string[] = ['--max-semi-space-size=4']
