// Owns what is said of processes that do not answer.
import type { Peer } from "../api/types";

/** The roles that are waited for, and a line for each; nothing while all answer. */
export function awayOf(peers: readonly Peer[]): { readonly roles: string; readonly why: string } | undefined {
  const away = peers.filter((peer) => peer.state === "waiting");
  if (away.length === 0) return undefined;
  const line = ({ role, address, since, why }: Peer) =>
    `${role} at ${address} since ${since}: ${why ?? "it does not answer"}`;
  return { roles: away.map((peer) => peer.role).join(", "), why: away.map(line).join("\n") };
}
