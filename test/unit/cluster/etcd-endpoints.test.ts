import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EndpointChoice, GRPC, judge, type Outcome } from '../../../src/cluster/etcd-endpoints.ts'
import { connectionProblem, refusalProblem } from '../../../src/cluster/etcd-problem.ts'

const refused = (code: number): Outcome => ({ kind: 'refused', refusal: { code, message: '' } })
const lost = (sent: boolean): Outcome => ({ kind: 'lost', sent, problem: '' })
const UNAVAILABLE = 14

describe('the outcome of a call to etcd', () => {
  const write = { mayRepeat: false, mayLogIn: false }
  const read = { mayRepeat: true, mayLogIn: false }

  it('is not known for a write that may have been sent, and is never asked again', () => {
    expect(judge(lost(true), write)).toBe('unknown')
    expect(judge(refused(UNAVAILABLE), write)).toBe('unknown')
    expect(judge(lost(false), write)).toBe('elsewhere')
    fc.assert(
      fc.property(fc.nat({ max: 20 }), fc.boolean(), (code, mayLogIn) => {
        const definite: number[] = Object.values(GRPC)
        const verdict = judge(refused(code), { mayRepeat: false, mayLogIn })
        expect(verdict).not.toBe('elsewhere')
        if (!definite.includes(code)) expect(verdict).toBe('unknown')
      }),
    )
  })

  it('sends a read elsewhere', () => {
    for (const outcome of [lost(true), lost(false), refused(UNAVAILABLE)]) {
      expect(judge(outcome, read)).toBe('elsewhere')
    }
    expect(judge({ kind: 'answer', answer: {} }, read)).toBe('done')
  })

  it('logs in where a token may have run out, once', () => {
    for (const code of [GRPC.unauthenticated, GRPC.invalidArgument]) {
      expect(judge(refused(code), { ...write, mayLogIn: true })).toBe('log in')
      expect(judge(refused(code), write)).toBe('refused')
    }
    expect(judge(refused(GRPC.permissionDenied), { ...write, mayLogIn: true })).toBe('refused')
  })
})

describe('the choice of an endpoint', () => {
  it('stays with one that answers', () => {
    const choice = new EndpointChoice(3)
    expect(choice.pick(0)).toEqual({ index: 0, waitMs: 0 })
    choice.failed(0, 0)
    expect(choice.pick(0)).toEqual({ index: 1, waitMs: 0 })
    choice.answered(1)
    expect(choice.pick(100_000)).toEqual({ index: 1, waitMs: 0 })
  })

  it('waits for the one that has rested longest when all failed, longer each time', () => {
    const choice = new EndpointChoice(2)
    choice.failed(0, 0)
    choice.failed(1, 100)
    expect(choice.pick(100)).toEqual({ index: 0, waitMs: 150 })
    choice.failed(0, 250)
    expect(choice.pick(350)).toEqual({ index: 1, waitMs: 0 })
    for (let i = 0; i < 40; i++) choice.failed(0, 250)
    choice.failed(1, 250)
    expect(choice.pick(250).waitMs).toBeLessThanOrEqual(1000)
    choice.answered(0)
    expect(choice.pick(250)).toEqual({ index: 0, waitMs: 0 })
  })

  it('finds the one that answers among others that do not, whatever came before', () => {
    const events = fc.array(fc.record({ index: fc.nat({ max: 3 }), isUp: fc.boolean(), ms: fc.nat({ max: 3000 }) }))
    fc.assert(
      fc.property(events, fc.nat({ max: 3 }), (history, good) => {
        const choice = new EndpointChoice(4)
        let now = 0
        for (const { index, isUp, ms } of history) {
          now += ms
          if (isUp) choice.answered(index)
          else choice.failed(index, now)
        }
        let tries = 0
        for (; tries < 20; tries++) {
          const { index, waitMs } = choice.pick(now)
          now += waitMs
          if (index === good) break
          choice.failed(index, now)
        }
        expect(tries).toBeLessThan(20)
      }),
    )
  })
})

describe('a problem with etcd', () => {
  it('says what to do', () => {
    const problem = (code: string): string => connectionProblem('http://e:1', Object.assign(new Error('x'), { code }))
    expect(problem('ECONNREFUSED')).toBe('http://e:1: nothing listens there: is etcd running?')
    expect(problem('UNABLE_TO_VERIFY_LEAF_SIGNATURE')).toContain('--etcd-ca')
    expect(problem('EODD')).toBe('http://e:1: x')
    expect(connectionProblem('http://e:1', 'gone')).toBe('http://e:1: gone')
  })

  it('names the user and the prefix where a role is missing, and asks for a user where there is none', () => {
    const denied = { code: GRPC.permissionDenied, message: 'permission denied' }
    expect(refusalProblem('http://e:1', denied, 'bob')).toMatch(/the user bob: permission denied; .*--etcd-prefix/)
    const unnamed = { code: GRPC.invalidArgument, message: 'user name is empty' }
    expect(refusalProblem('http://e:1', unnamed, null)).toContain('--etcd-user')
    expect(refusalProblem('http://e:1', unnamed, 'bob')).not.toContain('--etcd-user')
  })
})
