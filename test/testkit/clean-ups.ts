/** Undoing what a test set up, last thing first: node:test runs `after` hooks in the order they were given. */

export interface After {
  after(callback: () => unknown): void
}

/** @returns takes what is to be done when the test has ended; each is done, whatever became of the others. */
export function cleanUps(t: After): (undo: () => unknown) => void {
  const undos: (() => unknown)[] = []
  t.after(async () => {
    const failures: unknown[] = []
    for (const undo of undos.splice(0).reverse()) {
      try {
        await undo()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'not everything could be undone')
  })
  return undo => undos.push(undo)
}
