// Checks the stream's reconnecting, frames, and exact JSON.
import { describe, expect, it } from "vitest";
import { parseExact } from "./json";
import { backoff, readFrame, Stream, type Socket, type StreamState } from "./stream";
import type { Frame } from "./types";

function harness() {
  const sockets: (Socket & { closed: boolean })[] = [];
  const waits: { run: () => void; millis: number; cancelled: boolean }[] = [];
  const states: StreamState[] = [];
  const frames: Frame[] = [];
  const stream = new Stream({
    url: "ws://test",
    onFrame: (frame) => frames.push(frame),
    onState: (state) => states.push(state),
    open: () => {
      const socket = { onopen: null, onmessage: null, onclose: null, closed: false, close() { this.closed = true; } };
      sockets.push(socket);
      return socket;
    },
    schedule: (run, millis) => {
      const wait = { run, millis, cancelled: false };
      waits.push(wait);
      return () => { wait.cancelled = true; };
    },
    random: () => 1,
  });
  return { stream, sockets, waits, states, frames };
}

describe("stream", () => {
  it("hands out frames and ignores what it cannot read", () => {
    const { stream, sockets, frames } = harness();
    stream.start();
    sockets[0]?.onopen?.();
    sockets[0]?.onmessage?.({ data: '{"table":"orders","rows":[]}' });
    sockets[0]?.onmessage?.({ data: "{" });
    sockets[0]?.onmessage?.({ data: new ArrayBuffer(1) });
    expect(frames).toEqual([{ table: "orders", rows: [] }]);
  });

  it("reconnects with growing delays and starts over after a success", () => {
    const { stream, sockets, waits, states } = harness();
    stream.start();
    sockets[0]?.onopen?.();
    sockets[0]?.onclose?.();
    waits[0]?.run();
    sockets[1]?.onclose?.();
    waits[1]?.run();
    sockets[2]?.onclose?.();
    expect(waits.map((wait) => wait.millis)).toEqual([500, 1000, 2000]);
    waits[2]?.run();
    sockets[3]?.onopen?.();
    sockets[3]?.onclose?.();
    expect(waits[3]?.millis).toBe(500);
    expect(states.slice(0, 3)).toEqual(["connecting", "live", "reconnecting"]);
  });

  it("stays down once stopped", () => {
    const { stream, sockets, waits } = harness();
    stream.start();
    const [socket] = sockets;
    socket?.onopen?.();
    stream.stop();
    expect(socket?.closed).toBe(true);
    socket?.onclose?.();
    expect(waits).toEqual([]);
  });

  it("cancels a planned attempt when stopped, and restarts at once", () => {
    const { stream, sockets, waits } = harness();
    stream.start();
    sockets[0]?.onclose?.();
    stream.restart();
    expect(waits[0]?.cancelled).toBe(true);
    expect(sockets.length).toBe(2);
  });

  it("caps and spreads the delay", () => {
    expect(backoff(50, 1)).toBe(15_000);
    expect(backoff(50, 0)).toBe(7_500);
    expect(backoff(0, 0)).toBe(250);
  });

  it("knows its tables", () => {
    expect(readFrame('{"table":"alerts","rows":[]}')).not.toBeNull();
    expect(readFrame('{"table":"quotes","rows":[]}')).toBeNull();
    expect(readFrame('{"table":"orders"}')).toBeNull();
    expect(readFrame("null")).toBeNull();
  });
});

describe("exact JSON", () => {
  it("gives numbers as text and leaves the rest", () => {
    expect(parseExact('[{"n":20,"x":"1.25","b":true,"z":null}]')).toEqual([
      { n: "20", x: "1.25", b: true, z: null },
    ]);
  });
});
