/**
 * To whom a redriven copy goes, as its header says: pure. A name alone does not say it: a subscription
 * of a topic and one of a pattern that matches it may have the same name. So it is the topic or
 * pattern, a slash, which no name may have, and the name. Copies of brokers that knew no better have the name alone.
 * redrive.ts writes it, screen.ts asks it.
 */

/** A subscription as others see it. */
export interface Reader {
  readonly name: string
  /** Its topic, or the pattern that it follows. */
  readonly topic: string
}

export function addresseeOf({ topic, name }: Reader): string {
  return `${topic}/${name}`
}

/** Whether the header's value names this reader. */
export function isAddressedTo(value: string, reader: Reader): boolean {
  return value === addresseeOf(reader) || value === reader.name
}
