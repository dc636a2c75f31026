/** What a test has to take away again, last made first, each even where another one fails. */
import type { TestContext } from 'node:test'

type Undo = () => unknown
const stacks = new WeakMap<TestContext, Undo[]>()

export function cleanUp(t: TestContext, undo: Undo): void {
  let stack = stacks.get(t)
  if (!stack) {
    const made: Undo[] = []
    stack = made
    stacks.set(t, made)
    t.after(async () => {
      const failures: unknown[] = []
      for (let next = made.pop(); next; next = made.pop()) {
        try {
          await next()
        } catch (error) {
          failures.push(error)
        }
      }
      if (failures.length > 0) throw new AggregateError(failures, 'the test could not be cleaned up after')
    })
  }
  stack.push(undo)
}
