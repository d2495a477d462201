/**
 * Who answers for a topic: this broker, or another one of the cluster. A port: a broker that is alone has none, since
 * everything is its own. The edge (src/server) asks it before anything of a request is looked at.
 */

export interface Elsewhere {
  readonly isHere: false
  readonly nodeId: string
  /** Where that broker serves its clients. */
  readonly url: string
}

/** `isHere`: this broker leads it, or nobody has it yet and it would be made here. */
export type Route = { readonly isHere: true } | Elsewhere

export interface Routing {
  readonly nodeId: string
  /** As far as this broker knows; null: only the coordinator's store can tell, or nobody leads it at the moment. */
  known(topic: string): Route | null
  /**
   * After a look into the store, and a wait of some seconds at most where a leader is still to be found. Rejects with
   * `no_leader`.
   */
  find(topic: string): Promise<Route>
  /**
   * Calls back once, a moment after the broker of the route has ceased to lead the topic: what was passed on to it and is
   * not answered by then never may be. Answers how to stop it.
   */
  watch(topic: string, route: Elsewhere, moved: () => void): () => void
}
