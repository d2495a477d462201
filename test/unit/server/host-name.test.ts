import { describe, expect, it } from 'vitest'
import { HostNames } from '../../../src/server/host-name.ts'

describe('the names of a broker that listens for its own machine', () => {
  const names = new HostNames('127.0.0.1', ['Broker.Example.com'])

  it.each([
    undefined,
    'localhost',
    'localhost:7070',
    'LOCALHOST.:7070',
    '127.0.0.1:7070',
    '[::1]:7070',
    '[::ffff:127.0.0.1]:7070',
    'app.localhost:7070',
    'tidings:7070',
    '192.168.1.9',
    'broker.example.com',
    'BROKER.example.com.:80',
  ])('are good: %s', (host) => {
    expect(() => names.check(host)).not.toThrow()
  })

  it.each([
    'evil.example',
    'evil.example:7070',
    'localhost.evil.example',
    '127.0.0.1.nip.io',
    'x.broker.example.com',
    'evil.example.',
  ])('are not: %s', (host) => {
    expect(() => names.check(host)).toThrow(expect.objectContaining({ code: 'permission_denied' }))
  })
})

describe('the names of a broker that others reach', () => {
  it('are no matter', () => {
    expect(() => new HostNames('0.0.0.0', []).check('tidings.prod.svc.cluster.local')).not.toThrow()
  })
})
