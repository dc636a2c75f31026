/** What people want to be told: webhooks, the audit log, plays. */
import { randomBytes } from 'node:crypto'
import { makeAccessId } from '@tributary/client'
import type { AuditEntry, DeliveryEntry, WebhookEntry } from '@tributary/calls'
import { checkFileKey } from '@tributary/protocol'
import type { AllowList } from '@tributary/runtime'
import type { Door } from '../access/door.ts'
import { webhookUrlFault } from '../access/webhook-sender.ts'
import type { Plays } from '../contract/index.ts'
import type { FileService } from '../file-service.ts'
import { HttpProblem } from '../problem.ts'
import { checkAccessId, dateOf } from './access-view.ts'
import type { ApiHandlers } from './api.ts'

type ReportEndpoint = Extract<
  keyof ApiHandlers,
  `${string} /api/v1/webhooks${string}` | `${string} /api/v1/audit` | `${string}/plays`
>

export interface ReportHandlersOptions {
  files: Pick<FileService, 'index'>
  door: Door
  /** Networks of ours that webhooks may go to. */
  webhookNetworks: AllowList
}

const DAY_MS = 86_400_000
const AUDIT_LIMIT_DEFAULT = 50
const DELIVERY_ID_BYTES = 16
const SECRET_BYTES = 32
/** Reports of one address: a player sends one every ten seconds or so. */
const REPORTS_PER_S = 2
const REPORTS_BURST = 60

export function reportHandlers({
  files,
  door,
  webhookNetworks
}: ReportHandlersOptions): Pick<ApiHandlers, ReportEndpoint> {
  const { copy, plays } = door

  return {
    'GET /api/v1/webhooks': async () => {
      const { webhooks } = await files.index('webhooks.list', {})
      return { webhooks: await Promise.all(webhooks.map(webhookView)) }
    },

    'POST /api/v1/webhooks': async ({ body: { url, application = '', events } }) => {
      const fault = webhookUrlFault(url, webhookNetworks)
      if (fault !== undefined) throw new HttpProblem(400, `the URL of a webhook: ${fault}`)
      const id = makeAccessId()
      const secret = randomBytes(SECRET_BYTES).toString('hex')
      await files.index('webhooks.create', { id, url, secret, events, application })
      await copy.refresh()
      const { webhooks } = await files.index('webhooks.list', {})
      return { webhook: await webhookView(webhooks.find(each => each.id === id)!), secret }
    },

    'DELETE /api/v1/webhooks/{id}': async ({ parameters: { id } }) => {
      await files.index('webhooks.remove', { id: checkAccessId(id) })
      await copy.refresh()
    },

    'POST /api/v1/webhooks/{id}/test': async ({ parameters: { id } }) => {
      const delivery = randomBytes(DELIVERY_ID_BYTES).toString('hex')
      await files.index('webhooks.test', { id: checkAccessId(id), delivery })
    },

    'GET /api/v1/audit': async ({ query: { outcome, after, limit = AUDIT_LIMIT_DEFAULT } }) => {
      await door.audit.flush() // what was just done here is in it
      const page = await files.index('audit.list', {
        ...(outcome !== undefined && { outcome }),
        ...(after !== undefined && { after }),
        limit
      })
      return { entries: page.entries.map(auditView), next: page.next ?? null }
    },

    'POST /api/v1/plays': async ({ body, exchange }) => {
      door.limitReports(exchange.request, REPORTS_PER_S, REPORTS_BURST)
      const { application, user, file, generation, started = false, playedS, position, before } = body
      const film = checkFileKey({ application, user, file })
      if (!/^[0-9a-f]{32}$/.test(generation)) {
        throw new HttpProblem(400, 'a generation is 32 hexadecimal digits')
      }
      if (!door.isOpen(application)) await door.admitRead(exchange, film)
      plays.add({ ...film, generation, started, playedS, position, before })
    },

    'GET /api/v1/films/{application}/{user}/{file}/plays': async ({ parameters }) => {
      await plays.flush() // what was just reported here is in it
      const { application, user, file } = checkFileKey(parameters)
      const { days } = await files.index('plays.film', { application, user, file })
      const sum: Plays = { starts: 0, playedS: 0, reached: [], days: [] }
      for (const { day, starts, seconds, reached } of days) {
        sum.starts += starts
        sum.playedS += seconds
        sum.reached = reached.map((count, tenth) => count + (sum.reached[tenth] ?? 0))
        sum.days.push({ day: new Date(day * DAY_MS).toISOString().slice(0, 10), starts })
      }
      return sum
    }
  }

  async function webhookView({ id, url, application, events, createdAtMs, waiting }: WebhookEntry) {
    const [last] = (await files.index('deliveries.list', { webhook: id, limit: 1 })).deliveries
    return {
      id,
      url,
      application: application === '' ? null : application,
      events,
      createdAt: dateOf(createdAtMs)!,
      lastStatus: last ? statusOf(last) : null,
      lastDelivery: last ? deliveryView(last) : null,
      waiting
    }
  }
}

function statusOf({ state, failure, tries }: DeliveryEntry): string {
  if (state === 'done') return 'delivered'
  if (failure === '') return 'waiting'
  return state === 'failed' ? `given up after ${tries} tries: ${failure}` : failure
}

function deliveryView({ event, state, tries, failure, dueAtMs }: DeliveryEntry) {
  return { event, state, tries, failure, at: dateOf(dueAtMs)! }
}

function auditView({ atMs, who, address, what, application, user, file, outcome, code }: AuditEntry) {
  return {
    at: dateOf(atMs)!,
    who,
    address,
    what: code === '' ? what : `${what}: ${code}`,
    target: [application, user, file].filter(part => part !== '').join('/'),
    outcome
  }
}
