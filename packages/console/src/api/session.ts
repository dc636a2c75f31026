/** Who the visitor is, and what of the console is for them. */
import { computed, signal } from '@preact/signals'
import type { Session } from '@tributary/gateway/contract'
import { call } from './api.ts'

export const session = signal<Session | undefined>(undefined)

export const isAdmin = computed(() => mayAnywhere('admin'))
export const mayWrite = computed(() => mayAnywhere('write'))
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

/** Whether some grant has it; the server decides for each request. */
function mayAnywhere(right: 'read' | 'write' | 'admin'): boolean {
  const grants = session.value?.grants ?? []
  return grants.some(({ rights }) => rights.includes(right) || rights.includes('admin'))
}
