/** What axe finds in a page that keeps somebody from using it. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'

const AXE = fileURLToPath(import.meta.resolve('axe-core/axe.min.js'))
let code: string | undefined

interface Violation {
  id: string
  impact: string
  help: string
  nodes: { target: string[]; failureSummary: string }[]
}

/** Serious and critical ones, each with where it is. The page's own policy keeps axe's code out, so that it is evaluated from outside. */
export async function seriousViolations(page: Page): Promise<string[]> {
  code ??= await readFile(AXE, 'utf8')
  await page.evaluate(code)
  const { violations } = (await page.evaluate(() =>
    (globalThis as any).axe.run({ resultTypes: ['violations'] })
  )) as { violations: Violation[] }
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(
      ({ id, help, nodes }) =>
        `${id}: ${help}: ${nodes.map(({ target, failureSummary }) => `${target.join(' ')} (${failureSummary})`).join('; ')}`
    )
}

/** How many pixels of the page lie beyond the window's right edge. */
export function overflow(page: Page): Promise<number> {
  return page.evaluate(() => {
    const root = (globalThis as any).document.documentElement
    return Math.max(0, root.scrollWidth - root.clientWidth) as number
  })
}
