/** Rules of the applications that the visitor may see. */
import type { ApplicationRules } from '@tributary/gateway/contract'
import { call } from '../api/api.ts'
import type { Reach } from './tabs.ts'

/** @throws {ApiError} */
export async function readRules({ applications }: Reach): Promise<readonly ApplicationRules[]> {
  if (applications === '*') return (await call('GET /api/v1/applications', {})).applications
  const answers = await Promise.all(
    applications.map(application => call('GET /api/v1/applications', { query: { application } }))
  )
  return answers.flatMap(({ applications }) => applications)
}
