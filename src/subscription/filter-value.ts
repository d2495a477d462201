/**
 * A JSON value as the expression language takes it: numbers are doubles, objects are maps. What lies within
 * is converted when it is asked for, and once, so that a large value costs by what is looked at. Used
 * for one evaluation of a filter; takes over the value.
 */
import { type CelInput, type CelMap, celList, celMap, isCelList, isCelMap } from './cel.ts'
import type { Meter } from './filter-meter.ts'

/** To make a map takes several steps, before anybody looks into it. */
const MAP_STEPS = 8

export function celJson(value: unknown, meter: Meter): CelInput {
  if (typeof value !== 'object' || value === null) return value as string | number | boolean | null
  if (Array.isArray(value)) return celList(new Proxy(value, new LazyElements(meter)))
  return mapOf(value, meter)
}

function mapOf(object: object, meter: Meter): CelMap {
  meter.charge(MAP_STEPS)
  return celMap(new JsonObject(object, meter))
}

/** Elements are replaced by what they become when somebody looks at them. */
class LazyElements implements ProxyHandler<unknown[]> {
  readonly #meter: Meter

  constructor(meter: Meter) {
    this.#meter = meter
  }

  get(elements: unknown[], name: string | symbol): unknown {
    const element: unknown = Reflect.get(elements, name)
    if (typeof element !== 'object' || element === null || isCelMap(element) || isCelList(element)) return element
    const made = celJson(element, this.#meter)
    Reflect.set(elements, name, made)
    return made
  }
}

/** The map itself holds what was asked for so far. */
class JsonObject extends Map<string, CelInput> {
  readonly #object: object
  readonly #meter: Meter
  #isWhole = false

  constructor(object: object, meter: Meter) {
    super()
    this.#object = object
    this.#meter = meter
  }

  override get(key: string): CelInput | undefined {
    const known = super.get(key)
    if (known !== undefined || typeof key !== 'string' || !Object.hasOwn(this.#object, key)) return known
    const value = celJson((this.#object as Record<string, unknown>)[key], this.#meter)
    super.set(key, value)
    return value
  }

  override get size(): number {
    this.#fill()
    return super.size
  }

  override keys(): MapIterator<string> {
    this.#fill()
    return super.keys()
  }

  override values(): MapIterator<CelInput> {
    this.#fill()
    return super.values()
  }

  override entries(): MapIterator<[string, CelInput]> {
    this.#fill()
    return super.entries()
  }

  #fill(): void {
    if (!this.#isWhole) {
      for (const key of Object.keys(this.#object)) {
        this.#meter.charge(2)
        this.get(key)
      }
      this.#isWhole = true
    }
    // Whoever asks for all of them goes through them.
    this.#meter.charge(1 + super.size / 4)
  }
}
