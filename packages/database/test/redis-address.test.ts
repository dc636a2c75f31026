import { deepEqual, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { redisAddressOf } from '../src/redis-address.ts'

describe('the address of a cache', () => {
  it('is a server', () => {
    for (const url of [
      'redis://10.0.0.9:6379',
      'rediss://user:geheim@cache.example.org',
      'redis://:geheim@[fd00::1]:6379'
    ]) {
      deepEqual(redisAddressOf(url), { kind: 'server', url })
    }
  })

  it('is Sentinels and the name of what they watch', () => {
    deepEqual(redisAddressOf('redis-sentinel://:ge%2Fheim@10.0.0.1:26379,cache2,[fd00::1]:1/tributary'), {
      kind: 'sentinels',
      sentinels: [
        { host: '10.0.0.1', port: 26_379 },
        { host: 'cache2', port: 26_379 },
        { host: 'fd00::1', port: 1 }
      ],
      name: 'tributary',
      user: undefined,
      password: 'ge/heim'
    })
  })

  it('is nothing else, and no refusal shows a password', () => {
    for (const url of [
      '',
      'memcached://a:1',
      'redis://',
      'redis-sentinel://:geheim@a:26379',
      'redis-sentinel://:geheim@a:26379/',
      'redis-sentinel://:geheim@a:70000/x',
      'redis-sentinel://:geheim@a:0/x',
      'redis-sentinel://:geheim@a,,b/x',
      'redis-sentinel://:geheim@a b/x',
      `redis-sentinel://:geheim@${'a,'.repeat(40)}a/x`
    ]) {
      throws(
        () => redisAddressOf(url),
        (error: Error) => error.message.startsWith('redis://') && !error.message.includes('geheim')
      )
    }
  })
})
