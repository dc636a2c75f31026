import type { Static, TSchema } from 'typebox'

/**
 * What a caller needs: `none`: nobody is asked. `read` and `write`: for the application and user that the request names, or
 * for all where it names none. `admin`: for the application that it names, or for the cluster.
 */
export type Right = 'none' | 'read' | 'write' | 'admin'

/** One thing that the API does. The table's key is its method and path: `GET /api/v1/films/{application}/{user}/{file}`. */
export interface Endpoint {
  readonly summary: string
  readonly right: Right
  readonly query?: TSchema
  /** JSON, unless `bodyType` says otherwise. */
  readonly body?: TSchema
  /** Media types of a body that is content. */
  readonly bodyType?: string
  /** JSON; absent: 204 without content, or what `replyType` says. */
  readonly reply?: TSchema
  readonly replyType?: string
  /** Of success. Default 200, or 204 without a reply. */
  readonly status?: number
}

type SchemaOf<E, K extends string> = E extends { readonly [P in K]: infer S extends TSchema }
  ? Static<S>
  : undefined

export type QueryOf<E> = SchemaOf<E, 'query'>
export type BodyOf<E> = SchemaOf<E, 'body'>
export type ReplyOf<E> = SchemaOf<E, 'reply'>

/** `/films/{application}/{user}` → { application: string; user: string } */
export type ParametersOf<Path extends string> = Path extends `${string}{${infer Name}}${infer Rest}`
  ? { [K in Name]: string } & ParametersOf<Rest>
  : object
