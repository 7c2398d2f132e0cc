// Checks what is said of processes that do not answer.
import { describe, expect, it } from "vitest";
import type { Peer } from "../api/types";
import { awayOf } from "./away";

const peer = (role: string, state: Peer["state"], why?: string): Peer => ({
  role,
  address: `${role}:5013`,
  state,
  since: "2024-01-05T09:00:00.000000000Z",
  ...(why === undefined ? {} : { why }),
});

describe("processes that do not answer", () => {
  it("are named with the reason, and nothing is said while all answer", () => {
    const journal = peer("journal", "connected");
    expect(awayOf([])).toBeUndefined();
    expect(awayOf([journal])).toBeUndefined();
    expect(awayOf([journal, peer("engine", "waiting", "refused"), peer("recent", "waiting")])).toEqual({
      roles: "engine, recent",
      why:
        "engine at engine:5013 since 2024-01-05T09:00:00.000000000Z: refused\n" +
        "recent at recent:5013 since 2024-01-05T09:00:00.000000000Z: it does not answer",
    });
  });
});
