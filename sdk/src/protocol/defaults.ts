/** What counts where a request does not say, on both sides. */

export const DEFAULT_TYPE = 'shared'
export const DEFAULT_ACK_DEADLINE_MS = 30_000
export const DEFAULT_PREFETCH = 256
export const DEFAULT_PULL_COUNT = 100
export const DEFAULT_READ_COUNT = 100
export const DEFAULT_REDRIVE_COUNT = 10_000
