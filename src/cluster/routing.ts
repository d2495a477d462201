/**
 * Who answers for a topic: this broker, or another one of the cluster. A port: a broker that is alone has none, since
 * everything is its own. The edge (src/server) asks it before anything of a request is looked at.
 */

export type Route =
  /** This broker leads it, or nobody has it yet and it would be made here. */
  | { readonly isHere: true }
  /** `url`: where that broker serves its clients. */
  | { readonly isHere: false; readonly nodeId: string; readonly url: string }

export interface Routing {
  readonly nodeId: string
  /** As far as this broker knows; null: only the coordinator's store can tell, or nobody leads it at the moment. */
  known(topic: string): Route | null
  /**
   * After a look into the store, and a wait of some seconds at most where a leader is still to be found. Rejects with
   * `no_leader`.
   */
  find(topic: string): Promise<Route>
}
