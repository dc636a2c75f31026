import { sql } from 'kysely'
import { insertNew, statement, type Control } from './control.ts'
import { safeIntegerOf } from './file-row.ts'

export interface PlayCounts {
  starts: number
  seconds: number
  reached25: number
  reached50: number
  reached75: number
  reached95: number
}

export interface PlaySumRow extends PlayCounts {
  application: string
  user: string
  file: string
  generation: string
  /** Days since 1970, UTC. */
  day: number
}

/** How often films were begun and how far they were seen, by day. */
export class Plays {
  readonly #control: Control

  constructor(control: Control) {
    this.#control = control
  }

  /** All of them are added, or none. */
  async add(sums: readonly PlaySumRow[]): Promise<void> {
    const { queries } = this.#control
    const statements = sums.flatMap(sum => {
      const { application, user, file, generation, day } = sum
      const row = { application, user, file, generation, day }
      const nothing = { starts: 0, seconds: 0, reached_25: 0, reached_50: 0, reached_75: 0, reached_95: 0 }
      return [
        statement(insertNew(this.#control, 'plays', { ...row, ...nothing })),
        statement(
          queries
            .updateTable('plays')
            .set({
              starts: sql<number>`starts + ${sum.starts}`,
              seconds: sql<number>`seconds + ${sum.seconds}`,
              reached_25: sql<number>`reached_25 + ${sum.reached25}`,
              reached_50: sql<number>`reached_50 + ${sum.reached50}`,
              reached_75: sql<number>`reached_75 + ${sum.reached75}`,
              reached_95: sql<number>`reached_95 + ${sum.reached95}`
            })
            .where('application', '=', application)
            .where('user', '=', user)
            .where('file', '=', file)
            .where('day', '=', day)
            .where('generation', '=', generation)
        )
      ]
    })
    if (statements.length > 0) await this.#control.change(...statements)
  }

  /** The newest day first. */
  async ofFilm(
    { application, user, file }: { application: string; user: string; file: string },
    daysMax: number
  ): Promise<({ day: number } & PlayCounts)[]> {
    const rows = await this.#control.queries
      .selectFrom('plays')
      .select([
        'day',
        sql<number>`sum(starts)`.as('starts'),
        sql<number>`sum(seconds)`.as('seconds'),
        sql<number>`sum(reached_25)`.as('reached25'),
        sql<number>`sum(reached_50)`.as('reached50'),
        sql<number>`sum(reached_75)`.as('reached75'),
        sql<number>`sum(reached_95)`.as('reached95')
      ])
      .where('application', '=', application)
      .where('user', '=', user)
      .where('file', '=', file)
      .groupBy('day')
      .orderBy('day', 'desc')
      .limit(sql.lit(daysMax))
      .execute()
    return rows.map(row => ({
      day: safeIntegerOf(row.day),
      starts: safeIntegerOf(row.starts),
      seconds: safeIntegerOf(row.seconds),
      reached25: safeIntegerOf(row.reached25),
      reached50: safeIntegerOf(row.reached50),
      reached75: safeIntegerOf(row.reached75),
      reached95: safeIntegerOf(row.reached95)
    }))
  }

  /** Days before this one. */
  async forget(beforeDay: number): Promise<void> {
    await this.#control.change(
      statement(this.#control.queries.deleteFrom('plays').where('day', '<', beforeDay))
    )
  }
}
