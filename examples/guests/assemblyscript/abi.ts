// How a component's functions pass texts and lists: the canonical ABI of the component model, as far
// as `wit/detector.wit` needs it. A text and a list are an address and a count; a record lies in
// memory field by field, each at a multiple of its own size.
//
// Invariant: what was handed to the host stays as it is until the next call; arguments, until `begin`.

// Memory that came from or goes to the host.
const held: usize[] = [];

// Frees what the last call handed out and this call's arguments: an exported function calls it when it
// has read them, and before it makes room for its answer.
export function begin(): void {
  for (let i = 0; i < held.length; i++) heap.free(held[i]);
  held.length = 0;
}

// Asked by the host for room for an argument.
export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  if (old != 0) trap(); // the host never asks for more of what it has
  return room(size);
}

// Room that the next `begin` frees.
export function room(size: usize): usize {
  const at = heap.alloc(size);
  held.push(at);
  return at;
}

// Gives up: the host disables the detector.
export function trap(): void {
  unreachable();
}

// Reads a text argument.
export function text(at: usize, bytes: usize): string {
  return String.UTF8.decodeUnsafe(at, bytes);
}

// Writes a value into memory from `start` on, field by field.
export class Writer {
  constructor(public at: usize) {}

  u8(value: u8): Writer {
    store<u8>(this.at, value);
    this.at += 1;
    return this;
  }

  u32(value: u32): Writer {
    this.at = (this.at + 3) & ~3;
    store<u32>(this.at, value);
    this.at += 4;
    return this;
  }

  i64(value: i64): Writer {
    this.at = (this.at + 7) & ~7;
    store<i64>(this.at, value);
    this.at += 8;
    return this;
  }

  text(value: string): Writer {
    const bytes = String.UTF8.byteLength(value);
    const at = room(bytes);
    String.UTF8.encodeUnsafe(changetype<usize>(value), value.length, at);
    return this.u32(<u32>at).u32(<u32>bytes);
  }

  // A list whose elements `size` apart begin at the address that this returns.
  list(count: i32, size: usize): Writer {
    const at = room(<usize>count * size);
    this.u32(<u32>at).u32(<u32>count);
    return new Writer(at);
  }
}
