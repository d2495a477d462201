import { describe, expect, it } from 'vitest'
import { Attendance } from '../../../src/subscription/attendance.ts'

describe('the attendance of a subscription', () => {
  it('is over when nobody came for as long as it may be', () => {
    const attendance = new Attendance(1000)
    expect(attendance.isOver(500, 1499)).toBe(false)
    expect(attendance.isOver(500, 1500)).toBe(true)
    expect(attendance.isOver(501, 1500)).toBe(false)
    expect(attendance.isOver(null, 1e15)).toBe(false)
  })

  it('is not over while somebody is there, and counts from when the last one left', () => {
    const attendance = new Attendance(0)
    attendance.changed(true, 10)
    expect(attendance.isOver(5, 10_000)).toBe(false)
    attendance.changed(true, 20_000)
    attendance.changed(false, 30_000)
    expect(attendance.isOver(5, 30_004)).toBe(false)
    expect(attendance.isOver(5, 30_005)).toBe(true)
  })

  it('does not count anew for a change that brings nobody', () => {
    const attendance = new Attendance(0)
    attendance.changed(false, 4)
    expect(attendance.isOver(5, 5)).toBe(true)
  })

  it('takes a change of settings for a sign of life', () => {
    const attendance = new Attendance(0)
    attendance.seen(4)
    expect(attendance.isOver(5, 8)).toBe(false)
    expect(attendance.isOver(5, 9)).toBe(true)
  })
})
