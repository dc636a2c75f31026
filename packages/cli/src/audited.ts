/** What the command changes about access is in the audit log, too. */
import { randomBytes } from 'node:crypto'
import { userInfo } from 'node:os'
import type { ClientRun } from './client-command.ts'

const ID_BYTES = 8

/**
 * Notes what was done. It stands for itself: where the log cannot be written, that is said, and the change stays.
 *
 * @param what    as in `token.create`
 * @param subject what it was done to: an application, or an id
 */
export async function noteAudit(run: ClientRun, what: string, subject: string): Promise<void> {
  const isApplication = what.startsWith('application.')
  const entry = {
    id: randomBytes(ID_BYTES).toString('hex'),
    atMs: Date.now(),
    who: `command line, ${nameOfUser()}`,
    token: '',
    what,
    application: isApplication ? subject : '',
    user: '',
    file: isApplication ? '' : subject,
    address: '',
    outcome: 'done' as const,
    code: ''
  }
  try {
    await run.client.index('audit.write', { entries: [entry] }, { signal: run.signal })
  } catch {
    run.remark('it is not in the audit log: that could not be written')
  }
}

/** As the system calls who runs the command. */
function nameOfUser(): string {
  try {
    return userInfo().username.slice(0, 100)
  } catch {
    return 'somebody' // a number without a name, as in a container
  }
}
