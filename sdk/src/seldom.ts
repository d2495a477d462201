/**
 * What most programs never use: a browser loads it when it is used first (browser.ts), everywhere else it is there from
 * the start. client.ts waits for it, and nothing else uses it.
 */
import { Asking } from './asking.ts'
import { acknowledgedThrough } from './subscription-state.ts'

export { Asking, acknowledgedThrough }

export type Seldom = { Asking: typeof Asking; acknowledgedThrough: typeof acknowledgedThrough }
