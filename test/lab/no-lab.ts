import { whyNoLab } from '../../lab/lab.ts'

/** Why tests in a lab cannot run here, if so. @throws where nothing may be skipped. */
export function noLab(): string | undefined {
  const reason = whyNoLab()
  if (reason !== undefined && (process.env['CI'] || process.env['TRIBUTARY_NO_SKIP'])) throw new Error(reason)
  return reason
}
