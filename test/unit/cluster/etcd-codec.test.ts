import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  AnswerError,
  decodeGrant,
  decodeHeader,
  decodeKeepAlive,
  decodeRefusal,
  decodeToken,
  EtcdCodec,
  grantRequest,
  isLease,
  parseAnswer,
} from '../../../src/cluster/etcd-codec.ts'

const codec = new EtcdCodec('/t/')
const base64 = (text: string): string => Buffer.from(text).toString('base64')
const header = { cluster_id: '9936239848842411879', member_id: '1', revision: '9007199254740991', raft_term: '2' }
const kv = (key: string, value: string): object => ({
  key: base64(key),
  value: base64(value),
  create_revision: '3',
  mod_revision: '5',
  version: '2',
})
const requestOf = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>

describe('what is asked of etcd', () => {
  it('puts the prefix before every key, and ends a range before the first key behind it', () => {
    expect(requestOf(codec.getRequest('topics/ž'))).toEqual({ key: base64('/t/topics/ž') })
    expect(requestOf(codec.listRequest('topics/', { limit: 2, after: null, revision: 0 }))).toEqual({
      key: base64('/t/topics/'),
      range_end: base64('/t/topics0'),
      limit: '2',
      revision: '0',
    })
    expect(requestOf(codec.listRequest('topics/', { limit: 2, after: 'topics/a', revision: 7 }))).toMatchObject({
      key: base64('/t/topics/a\0'),
      revision: '7',
    })
    expect(requestOf(new EtcdCodec('').listRequest('', { limit: 1, after: null, revision: 0 }))).toMatchObject({
      key: base64('\0'),
      range_end: base64('\0'),
    })
  })

  it('covers with a range exactly the keys with the prefix', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 8 })
    fc.assert(
      fc.property(text, text, (prefix, key) => {
        const { key: from, range_end: to } = requestOf(
          codec.listRequest(prefix, { limit: 1, after: null, revision: 0 }),
        )
        const bytes = Buffer.from(`/t/${key}`)
        const isIn =
          bytes.compare(Buffer.from(String(from), 'base64')) >= 0 &&
          bytes.compare(Buffer.from(String(to), 'base64')) < 0
        expect(isIn).toBe(bytes.subarray(0, Buffer.byteLength(`/t/${prefix}`)).equals(Buffer.from(`/t/${prefix}`)))
      }),
    )
  })

  it('states guards, and writes of each kind', () => {
    const guards = [
      { key: 'a', modRevision: 0 },
      { key: 'b', createRevision: 12 },
    ]
    const writes = [
      { put: 'a', value: '1' },
      { put: 'b', value: '2', lease: '77' },
      { delete: 'c' },
      { deleteUnder: 'd/' },
    ]
    expect(requestOf(codec.transactRequest(guards, writes))).toEqual({
      compare: [
        { key: base64('/t/a'), result: 'EQUAL', target: 'MOD', mod_revision: '0' },
        { key: base64('/t/b'), result: 'EQUAL', target: 'CREATE', create_revision: '12' },
      ],
      success: [
        { request_put: { key: base64('/t/a'), value: base64('1') } },
        { request_put: { key: base64('/t/b'), value: base64('2'), lease: '77' } },
        { request_delete_range: { key: base64('/t/c') } },
        { request_delete_range: { key: base64('/t/d/'), range_end: base64('/t/d0') } },
      ],
    })
  })

  it('watches from the revision behind the one that is known', () => {
    expect(requestOf(codec.watchRequest('', 0))).toEqual({
      create_request: {
        key: base64('/t/'),
        range_end: base64('/t0'),
        start_revision: '1',
        progress_notify: true,
        fragment: true,
      },
    })
  })

  it('asks for whole seconds, never for fewer than wanted', () => {
    expect([1, 1000, 1001, 9000].map((ms) => requestOf(grantRequest(ms))['TTL'])).toEqual(['1', '1', '2', '9'])
  })

  it('takes only what etcd could have given for a lease', () => {
    for (const lease of ['1', '4111120217115576073', '9223372036854775807']) expect(isLease(lease), lease).toBe(true)
    for (const lease of ['', '0', '-1', '01', 'never-was', '1.5', '9223372036854775808', '99999999999999999999'])
      expect(isLease(lease), lease).toBe(false)
  })
})

describe('what etcd answers', () => {
  it('takes the prefix off, and reads what is left out as empty', () => {
    const range = {
      header,
      kvs: [
        { ...kv('/t/', ''), value: undefined },
        { ...kv('/t/a', 'ž'), lease: '77' },
      ],
      more: true,
    }
    expect(codec.decodeRange(range)).toEqual({
      entries: [
        { key: '', value: '', createRevision: 3, modRevision: 5, lease: null },
        { key: 'a', value: 'ž', createRevision: 3, modRevision: 5, lease: '77' },
      ],
      more: true,
    })
    expect(codec.decodeRange({ header })).toEqual({ entries: [], more: false })
    expect(decodeHeader({ header })).toEqual({ clusterId: '9936239848842411879', revision: 9007199254740991 })
  })

  it('keeps every text through a put and a read', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (key, value) => {
        fc.pre(![key, value].some((text) => /\p{Surrogate}/u.test(text)))
        const { success } = requestOf(codec.transactRequest([], [{ put: key, value }]))
        const { request_put: put } = (success as { request_put: object }[])[0]!
        const { entries } = codec.decodeRange({ kvs: [{ ...put, create_revision: '1', mod_revision: '1' }] })
        expect(entries).toEqual([{ key, value, createRevision: 1, modRevision: 1, lease: null }])
      }),
    )
  })

  it('tells what a transaction came to', () => {
    expect(codec.decodeTransact({ header, succeeded: true })).toEqual({ ok: true, revision: 9007199254740991 })
    expect(codec.decodeTransact({ header })).toMatchObject({ ok: false })
  })

  it('reads every kind of message of a watch', () => {
    const read = (result: object): object => codec.decodeWatch({ result: { header, ...result } })
    expect(read({ created: true })).toEqual({ kind: 'created' })
    expect(read({ canceled: true, created: true, cancel_reason: 'no permission' })).toEqual({
      kind: 'ended',
      reason: 'no permission',
    })
    expect(read({ canceled: true, compact_revision: '4' })).toEqual({ kind: 'lost' })
    expect(read({})).toEqual({ kind: 'changes', changes: [], revision: 9007199254740991, more: false })
    const events = [{ kv: kv('/t/a', '1') }, { type: 'DELETE', kv: { key: base64('/t/b'), mod_revision: '6' } }]
    expect(read({ events, fragment: true })).toMatchObject({
      kind: 'changes',
      changes: [{ put: { key: 'a', value: '1', modRevision: 5 } }, { deleted: 'b', revision: 6 }],
      revision: 6,
      more: true,
    })
    expect(codec.decodeWatch({ error: { grpc_code: 14, message: 'no leader' } })).toEqual({
      kind: 'ended',
      reason: 'no leader',
    })
  })

  it('reads grants, keep-alives and tokens', () => {
    expect(decodeGrant({ header, ID: '4111120217115576073', TTL: '5' })).toBe('4111120217115576073')
    expect(decodeKeepAlive({ result: { header, ID: '77', TTL: '5' } })).toBe(true)
    expect(decodeKeepAlive({ result: { header, ID: '77' } })).toBe(false)
    expect(decodeToken({ header, token: 'abc.9' })).toBe('abc.9')
  })

  it('reads the errors of older and newer gateways, and of streams', () => {
    const refusal = { code: 5, message: 'requested lease not found' }
    expect(decodeRefusal({ error: refusal.message, ...refusal })).toEqual(refusal)
    expect(decodeRefusal({ ...refusal, details: [] })).toEqual(refusal)
    expect(decodeRefusal({ error: { grpc_code: 5, http_code: 404, message: refusal.message } })).toEqual(refusal)
    expect(decodeRefusal({ error: refusal })).toEqual(refusal)
  })

  const notOurs = kv('/other/a', '1')
  const noText = { ...kv('/t/a', '1'), value: Buffer.from([0xff, 0xfe]).toString('base64') }
  it.each<[string, () => unknown]>([
    ['a page of a proxy', () => parseAnswer('<html>')],
    ['no object', () => parseAnswer('[]')],
    ['no header', () => decodeHeader({})],
    ['a revision that no number holds', () => decodeHeader({ header: { ...header, revision: '9007199254740993' } })],
    ['revision 0', () => decodeHeader({ header: { ...header, revision: '0' } })],
    ['a key that was not asked for', () => codec.decodeRange({ kvs: [notOurs] })],
    ['a value that is no text', () => codec.decodeRange({ kvs: [noText] })],
    ['a key that is no text', () => codec.decodeRange({ kvs: [{ ...noText, key: noText.value }] })],
    ['a list that is none', () => codec.decodeRange({ kvs: {} })],
    [
      'an event that never was',
      () => codec.decodeWatch({ result: { header, events: [{ type: 'MOVE', kv: notOurs }] } }),
    ],
    ['a lease that is none', () => decodeGrant({ ID: '0' })],
    ['a token with a line break', () => decodeToken({ token: 'a\r\nb' })],
    ['an error without a code', () => decodeRefusal({ error: 'Bad Gateway' })],
  ])('refuses %s', (_, decode) => {
    expect(decode).toThrow(AnswerError)
  })
})
