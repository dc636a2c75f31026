import type { Findings } from './finding.ts'

/** NTP keeps clocks within some milliseconds. */
const WARNING_MS = 1_000
const PROBLEM_MS = 30_000
const ADVICE = 'Run a time service (chrony or systemd-timesyncd) on both machines.'

export function addClock(findings: Findings, subject: string, aheadMs: number): void {
  const apartMs = Math.round(Math.abs(aheadMs))
  const found =
    apartMs < WARNING_MS
      ? `${apartMs} ms from this machine's`
      : `${(apartMs / 1000).toFixed(1)} s ${aheadMs > 0 ? 'ahead of' : 'behind'} this machine's`
  if (apartMs < WARNING_MS) findings.ok(subject, found)
  else if (apartMs < PROBLEM_MS) findings.warning(subject, found, ADVICE)
  else findings.problem(subject, found, ADVICE)
}
