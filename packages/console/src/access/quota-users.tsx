/** How much of their quotas the users of an application have used; asked for when it is opened. */
import type { ApplicationRules } from '@tributary/gateway/contract'
import { useState } from 'preact/hooks'
import { call } from '../api/api.ts'
import { formatBytes, formatCount } from '../format.ts'
import { sentenceOf } from '../parts/failure.ts'
import { language, texts } from '../settings.ts'
import { QuotaBar } from './quota-bar.tsx'
import { shareOf } from './quota-figures.ts'

/** More are not asked about, one request each. */
const USERS_MAX = 50
const AT_ONCE_MAX = 4

interface Used {
  user: string
  bytes: number
  files: number
}

export function QuotaUsers({ rules }: { rules: ApplicationRules }) {
  const t = texts.value
  const { application, userBytesMax, userFilesMax } = rules
  const [found, setFound] = useState<{ users: readonly Used[]; left: number } | undefined>(undefined)
  const [trouble, setTrouble] = useState('')
  const load = async (): Promise<void> => {
    try {
      setFound(await readUsers(application))
      setTrouble('')
    } catch (error) {
      setTrouble(sentenceOf(error))
    }
  }
  const fullness = ({ bytes, files }: Used): number =>
    Math.max(
      userBytesMax === null ? 0 : shareOf(bytes, userBytesMax),
      userFilesMax === null ? 0 : shareOf(files, userFilesMax)
    )
  const users = found?.users.toSorted((one, other) => fullness(other) - fullness(one))
  return (
    <details
      class="quota-users"
      onToggle={event => {
        if (event.currentTarget.open) void load()
      }}
    >
      <summary>{t.quotaUsers}</summary>
      {trouble !== '' && <p class="facts bad">{trouble}</p>}
      <ul class="plain-list">
        {users?.map(({ user, bytes, files }) => (
          <li key={user}>
            <p class="name" dir="auto">
              {user}
            </p>
            <div class="quota-bars">
              <QuotaBar
                name={t.space}
                of={user}
                used={bytes}
                most={userBytesMax}
                format={figure => formatBytes(figure, language.value)}
              />
              <QuotaBar
                name={t.files}
                of={user}
                used={files}
                most={userFilesMax}
                format={figure => formatCount(figure, language.value)}
              />
            </div>
          </li>
        ))}
      </ul>
      {found && found.left > 0 && (
        <p class="facts">{t.quotaUsersLeft(formatCount(found.left, language.value))}</p>
      )}
    </details>
  )
}

/** @throws {ApiError} */
async function readUsers(application: string): Promise<{ users: Used[]; left: number }> {
  const { owners } = await call('GET /api/v1/owners', {})
  const names = owners.filter(owner => owner.application === application).map(({ user }) => user)
  const asked = names.slice(0, USERS_MAX)
  const users: Used[] = []
  for (let at = 0; at < asked.length; at += AT_ONCE_MAX) {
    const some = asked.slice(at, at + AT_ONCE_MAX).map(async (user): Promise<Used> => {
      const { bytes, files } = await call('GET /api/v1/usage', { query: { application, user } })
      return { user, bytes, files }
    })
    users.push(...(await Promise.all(some)))
  }
  return { users, left: names.length - asked.length }
}
