import { sql, type RawBuilder } from 'kysely'
import { PLAY_TENTHS, type PlaysTable } from './access-schema.ts'
import { insertNew, statement, type Control } from './control.ts'
import { safeIntegerOf } from './file-row.ts'

export interface PlayCounts {
  starts: number
  seconds: number
  /** Viewings that came so far: none of the film, a tenth, two … all of it. */
  reached: number[]
}

export interface PlaySumRow extends PlayCounts {
  application: string
  user: string
  file: string
  generation: string
  /** Days since 1970, UTC. */
  day: number
}

type Reached = `reached_${number}` & keyof PlaysTable
const REACHED = Array.from({ length: PLAY_TENTHS }, (_, tenth) => `reached_${tenth}` as Reached)

/** How often films were begun and how far they were seen, by day. */
export class Plays {
  readonly #control: Control

  constructor(control: Control) {
    this.#control = control
  }

  /** All of them are added, or none. */
  async add(sums: readonly PlaySumRow[]): Promise<void> {
    const { queries } = this.#control
    const nothing = Object.fromEntries(REACHED.map(column => [column, 0])) as Record<Reached, number>
    const statements = sums.flatMap(
      ({ application, user, file, generation, day, starts, seconds, reached }) => {
        const more = Object.fromEntries(
          REACHED.map((column, tenth) => [column, sql<number>`${sql.ref(column)} + ${reached[tenth] ?? 0}`])
        ) as Record<Reached, RawBuilder<number>>
        return [
          statement(
            insertNew(this.#control, 'plays', {
              application,
              user,
              file,
              generation,
              day,
              starts: 0,
              seconds: 0,
              ...nothing
            } as never)
          ),
          statement(
            queries
              .updateTable('plays')
              .set({
                starts: sql<number>`starts + ${starts}`,
                seconds: sql<number>`seconds + ${seconds}`,
                ...more
              })
              .where('application', '=', application)
              .where('user', '=', user)
              .where('file', '=', file)
              .where('day', '=', day)
              .where('generation', '=', generation)
          )
        ]
      }
    )
    if (statements.length > 0) await this.#control.change(...statements)
  }

  /** The newest day first, whatever was the film of that name then. */
  async ofFilm(
    { application, user, file }: { application: string; user: string; file: string },
    rowsMax: number
  ): Promise<({ day: number } & PlayCounts)[]> {
    const rows = await this.#control.queries
      .selectFrom('plays')
      .selectAll()
      .where('application', '=', application)
      .where('user', '=', user)
      .where('file', '=', file)
      .orderBy('day', 'desc')
      .limit(sql.lit(rowsMax))
      .execute()
    const days = new Map<number, { day: number } & PlayCounts>()
    for (const row of rows) {
      const day = safeIntegerOf(row.day)
      const sum = days.get(day) ?? { day, starts: 0, seconds: 0, reached: REACHED.map(() => 0) }
      sum.starts += safeIntegerOf(row.starts)
      sum.seconds += safeIntegerOf(row.seconds)
      sum.reached = sum.reached.map((count, tenth) => count + safeIntegerOf(row[REACHED[tenth]!]))
      days.set(day, sum)
    }
    return [...days.values()]
  }

  /** Days before this one. */
  async forget(beforeDay: number): Promise<void> {
    await this.#control.change(
      statement(this.#control.queries.deleteFrom('plays').where('day', '<', beforeDay))
    )
  }
}
