/** One thing in a description that cannot work, or that will disappoint; complete enough to be mended without the manual. */
export interface Finding {
  /** An error renders nothing; a warning is told and accepted. */
  severity: 'error' | 'warning'
  /** `groups.group001.members`; things of a list are named by their name. */
  key: string
  /** As it was given; empty where there is none. Never a secret. */
  value: string
  /** Completes "expected …". */
  expected: string
}

/** One line for people. */
export function findingText({ severity, key, value, expected }: Finding): string {
  return `${severity}: ${key}${value === '' ? '' : ` = ${value}`}: expected ${expected}`
}

/** The description cannot be rendered; says everything that is wrong with it. */
export class DescriptionError extends Error {
  readonly findings: readonly Finding[]
  constructor(source: string, findings: readonly Finding[]) {
    super(
      [`${source} cannot be a cluster:`, ...findings.map(finding => `  ${findingText(finding)}`)].join('\n')
    )
    this.name = 'DescriptionError'
    this.findings = findings
  }
}
