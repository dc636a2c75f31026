/** Who the visitor is, and what of the console is for them. */
import { computed, signal } from '@preact/signals'
import type { Session } from '@tributary/gateway/contract'
import { reachOf } from '../access/tabs.ts'
import { call } from './api.ts'

export const session = signal<Session | undefined>(undefined)

/** Which parts of the page of access are for the visitor. */
export const reach = computed(() => reachOf(session.value?.grants ?? []))
/** Somewhere; the server decides for each request. */
export const mayWrite = computed(() =>
  (session.value?.grants ?? []).some(({ rights }) => rights.includes('write') || rights.includes('admin'))
)
export const isLoggedIn = computed(() => session.value?.kind === 'token')

export async function readSession(): Promise<void> {
  session.value = await call('GET /api/v1/session', {})
}

/** @throws {ApiError} 401: not a valid token. */
export async function logIn(token: string): Promise<void> {
  session.value = await call('POST /api/v1/session', { body: { token } })
}

export async function logOut(): Promise<void> {
  await call('DELETE /api/v1/session', {})
  await readSession()
}
