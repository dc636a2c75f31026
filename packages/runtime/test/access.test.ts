import { equal, ok, throws } from 'node:assert/strict'
import { describe, it } from 'node:test'
import { AllowList, isLoopbackHost, NetworkSyntaxError, plainAddress } from '../src/index.ts'

describe('an allow list', () => {
  it('knows the loopback in every spelling', () => {
    const list = AllowList.parse(['loopback'])
    for (const ip of [
      '127.0.0.1',
      '127.9.9.9',
      '::1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '0:0:0:0:0:ffff:7f00:0001'
    ]) {
      equal(list.allows(ip), true, ip)
    }
    for (const ip of ['128.0.0.1', '::2', '::ffff:10.0.0.1', '', 'localhost', '127.1', 'fe80::1%lo']) {
      equal(list.allows(ip), false, ip)
    }
  })

  it('knows networks by their prefix, IPv4 and IPv6', () => {
    const list = AllowList.parse(['10.1.0.0/16', '2001:db8::/32', '192.0.2.7', '::ffff:198.51.100.0/120'])
    for (const ip of ['10.1.255.255', '2001:db8:ffff::1', '192.0.2.7', '::ffff:10.1.2.3', '198.51.100.9']) {
      equal(list.allows(ip), true, ip)
    }
    for (const ip of ['10.2.0.0', '2001:db9::1', '192.0.2.8', '198.51.101.1'])
      equal(list.allows(ip), false, ip)
  })

  it('knows private networks, link-local ones with their zone as well', () => {
    const list = AllowList.parse(['private'])
    for (const ip of ['192.168.7.7', '172.31.0.1', '10.0.0.1', 'fd12::1', 'fe80::1%eth0'])
      equal(list.allows(ip), true, ip)
    for (const ip of ['172.32.0.1', '127.0.0.1', '8.8.8.8', '2600::1']) equal(list.allows(ip), false, ip)
  })

  it('does not let an IPv4 peer of a dual-stack socket in through an IPv6 network', () => {
    equal(AllowList.parse(['::/0']).allows('::ffff:8.8.8.8'), false)
    equal(AllowList.parse(['any']).allows('::ffff:8.8.8.8'), true)
  })

  it('allows nobody when empty', () => {
    equal(AllowList.parse([]).allows('127.0.0.1'), false)
  })

  it('refuses what is no network', () => {
    for (const text of [
      '',
      'local',
      '10.0.0.0/33',
      '10.0.0.0/',
      '::/129',
      '10.0.0',
      '10.0.0.0/8/8',
      '::ffff:1.2.3.4/8',
      'constructor'
    ]) {
      throws(() => AllowList.parse([text]), NetworkSyntaxError, text)
    }
  })

  it('gives the same answer again, and to more addresses than it remembers', () => {
    const list = AllowList.parse(['10.0.0.0/8'])
    for (let i = 0; i < 3_000; i++)
      equal(list.allows(`${i % 2 ? 10 : 11}.0.${i >> 8}.${i & 255}`), i % 2 === 1)
    equal(list.allows('10.0.0.1') && list.allows('10.0.0.1'), true)
  })
})

describe('a plain address', () => {
  it('leaves real IPv6 alone', () => {
    for (const ip of ['::1', 'fe80::ffff:1', '1::ffff:a00:1', '::ffff:a00']) equal(plainAddress(ip), ip)
    equal(plainAddress('::FFFF:a00:1'), '10.0.0.1')
  })
})

describe('a host that only this machine reaches', () => {
  it('is told from what looks like it', () => {
    for (const host of [
      '127.0.0.1',
      '127.255.0.1',
      '::1',
      '::ffff:127.0.0.1',
      'localhost',
      'LOCALHOST',
      'a.localhost',
      'localhost.'
    ]) {
      ok(isLoopbackHost(host), host)
    }
    for (const host of [
      '',
      '0.0.0.0',
      '::',
      '128.0.0.1',
      'localhost.example',
      '127.0.0.1.example',
      '127.1',
      '2130706433'
    ]) {
      ok(!isLoopbackHost(host), host)
    }
  })
})
