/**
 * The states of a consumer's connection and what leads from one to the next, as a table with every cell filled
 * in. A decision: connection.ts brings the events and does what a step asks for, in that order.
 *
 * A life: new → connecting → open → (lost) waiting → connecting → open → draining → closing → closed.
 */

export type ConnectionState = 'new' | 'connecting' | 'open' | 'waiting' | 'draining' | 'closing' | 'closed'

export type ConnectionEvent =
  | 'start'
  | 'opened'
  /** The connection ended, or did not come about, for a reason that passes. */
  | 'lost'
  /** It ended for a reason that does not pass. */
  | 'refused'
  /** It is there and no use: silent for too long, not open in time, or talking nonsense. */
  | 'broken'
  /** The wait before the next attempt is over. */
  | 'due'
  /** No new messages; what is here is finished over this connection, and no other is made. */
  | 'drain'
  | 'stop'

export type ConnectionEffect =
  /** Open a socket, and watch that it opens in time. */
  | 'connect'
  /** Cut the socket off; nothing more is heard of it. */
  | 'terminate'
  /** Start the wait before the next attempt. */
  | 'rest'
  | 'cancelRest'
  /** Messages may come: tell the subscription. */
  | 'welcome'
  /** What was delivered over this connection does not lie here any more: tell the subscription. */
  | 'leave'
  /** Ask the broker for no more messages. */
  | 'pause'
  /** Begin the closing handshake, and watch that it ends in time. */
  | 'goodbye'
  /** The end, with the error that brought it about. */
  | 'fail'
  /** The end that was asked for. */
  | 'finish'

export interface Step {
  readonly to: ConnectionState
  readonly effects: readonly ConnectionEffect[]
}

function go(to: ConnectionState, ...effects: ConnectionEffect[]): Step {
  return { to, effects }
}

/** What cannot happen in a state, or means nothing there, changes nothing. */
function ignore(state: ConnectionState): Record<ConnectionEvent, Step> {
  const step = go(state)
  return { start: step, opened: step, lost: step, refused: step, broken: step, due: step, drain: step, stop: step }
}

export const CONNECTION_TABLE: Readonly<Record<ConnectionState, Readonly<Record<ConnectionEvent, Step>>>> = {
  new: {
    ...ignore('new'),
    start: go('connecting', 'connect'),
    drain: go('closed', 'finish'),
    stop: go('closed', 'finish'),
  },
  connecting: {
    ...ignore('connecting'),
    opened: go('open', 'welcome'),
    lost: go('waiting', 'rest'),
    refused: go('closed', 'fail'),
    broken: go('waiting', 'terminate', 'rest'),
    drain: go('closed', 'terminate', 'finish'),
    stop: go('closed', 'terminate', 'finish'),
  },
  open: {
    ...ignore('open'),
    lost: go('waiting', 'leave', 'rest'),
    refused: go('closed', 'leave', 'fail'),
    broken: go('waiting', 'terminate', 'leave', 'rest'),
    drain: go('draining', 'pause'),
    stop: go('closing', 'goodbye'),
  },
  waiting: {
    ...ignore('waiting'),
    due: go('connecting', 'connect'),
    drain: go('closed', 'cancelRest', 'finish'),
    stop: go('closed', 'cancelRest', 'finish'),
  },
  draining: {
    ...ignore('draining'),
    lost: go('closed', 'leave', 'finish'),
    refused: go('closed', 'leave', 'finish'),
    broken: go('closed', 'terminate', 'leave', 'finish'),
    stop: go('closing', 'goodbye'),
  },
  closing: {
    ...ignore('closing'),
    lost: go('closed', 'leave', 'finish'),
    refused: go('closed', 'leave', 'finish'),
    broken: go('closed', 'terminate', 'leave', 'finish'),
  },
  closed: ignore('closed'),
}
