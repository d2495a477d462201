/**
 * The port by which brokers reach each other: links that carry whole frames, in order, or end. `tcp-network.ts` is
 * the real one, `testing/sim-network.ts` the one of simulations; test/contract/peer-network.ts says what both do.
 * An adapter exchanges the hellos, so whoever gets a link knows who is at the other end and which version both speak.
 */
import type { Hello } from './peer-protocol.ts'

/** What happens on a link; called one after the other, never from within a call of the link. */
export interface LinkEvents {
  /** A whole frame; its bytes are the receiver's to keep and to change. */
  frame(bytes: Buffer): void
  /** `buffered` was above `LINK_LOW_BYTES` and is not any more. */
  drained(): void
  /** The link is over, whoever ended it; nothing comes any more. Said once. */
  closed(why: string): void
}

/** Above this a sender waits for `drained`; it may pass it by one frame. */
export const LINK_FULL_BYTES = 4 * 1_048_576
/** Who has time waits above this already. */
export const LINK_LOW_BYTES = 2 * 1_048_576

export interface PeerLink {
  /** Who is at the other end. */
  readonly peer: Hello
  /** Of the protocol, spoken by both. */
  readonly version: number
  /** Bytes that were sent and have not left yet. */
  readonly buffered: number
  /** Sends one frame that consists of these parts; they must not change any more. Nothing after the end of the link. */
  send(...parts: readonly Uint8Array[]): void
  /** Ends the link; frames that have not left are lost. `closed` comes after that. */
  close(why: string): void
}

/** Called when the hellos have been exchanged: takes the link, and says who hears of what happens on it. */
export type LinkTaker = (link: PeerLink) => LinkEvents

export interface PeerNetwork {
  /**
   * Reaches a broker and hands the link to `take`. Rejects with `unavailable`, without a link, when nobody answers in
   * time, another broker than expected does, or no version is common.
   */
  dial(peer: { nodeId: string; address: string }, take: LinkTaker): Promise<void>
  /** Takes links that others dial. */
  listen(take: LinkTaker): Promise<Listening>
}

export interface Listening {
  /** Where others reach it. */
  readonly address: string
  /** Takes no more links, and ends those that it took. */
  close(): Promise<void>
}
