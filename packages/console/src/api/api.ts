/** The HTTP API, typed by the gateway's own table of endpoints: a path or a field that it does not have does not compile. */
import type {
  BodyOf,
  EndpointName,
  EndpointOf,
  ParametersOf,
  QueryOf,
  ReplyOf
} from '@tributary/gateway/contract'
import { encodeId } from '../router.ts'
import { ask, type Asked } from './http.ts'

type PathOf<Name> = Name extends `${string} ${infer Path}` ? Path : never
type Query<Name extends EndpointName> = QueryOf<EndpointOf<Name>>
type Body<Name extends EndpointName> = BodyOf<EndpointOf<Name>>
type Content<Name extends EndpointName> =
  EndpointOf<Name> extends { bodyType: string } ? { content: Blob; type: string } : object

export type Given<Name extends EndpointName> = ParametersOf<PathOf<Name>> & {
  query?: Query<Name>
  /** Stands in front of the path: a signature. */
  prefix?: string
  signal?: AbortSignal
} & (Body<Name> extends undefined ? object : { body: Body<Name> }) &
  Content<Name>

/**
 * @example call('GET /api/v1/films/{application}/{user}/{file}', film)
 * @throws {ApiError}
 */
export function call<Name extends EndpointName>(
  name: Name,
  given: Given<Name>
): Promise<ReplyOf<EndpointOf<Name>>> {
  const [method, template] = name.split(' ') as [Asked['method'], string]
  const values = given as unknown as Record<string, string> & {
    query?: Asked['query']
    prefix?: string
    signal?: AbortSignal
    body?: unknown
    content?: Blob
    type?: string
  }
  const path = template.replaceAll(/\{(\w+)\}/g, (_, parameter: string) => encodeId(values[parameter]!))
  const asked: Asked = { method: method! }
  if (values.query) asked.query = values.query
  if (values.signal) asked.signal = values.signal
  if (values.content) {
    asked.body = values.content
    asked.type = values.type!
  } else if (values.body !== undefined) asked.json = values.body
  return ask((values.prefix ?? '') + path, asked)
}
