/** What clients and operators of a simulated broker do, drawn one at a time. */

/** What happens when clients act, by how often. */
const ACTIONS = {
  publish: 3,
  produce: 1.5,
  repeat: 0.5,
  retry: 1,
  client: 4,
  arrival: 1,
  seek: 1,
  look: 1,
  redrive: 0.5,
  park: 0.5,
  wait: 0.5,
  cancel: 0.5,
}
export const ACTION_LIST: readonly string[] = Object.entries(ACTIONS).flatMap(([action, times]) =>
  Array.from({ length: times * 2 }, () => action),
)
