// Owns reading JSON without losing digits: every number becomes its own source text, so a 64-bit
// integer or a long decimal in an answer is shown as the server wrote it.

type Reviver = (key: string, value: unknown, context?: { source?: string }) => unknown;
type Parse = (text: string, reviver: Reviver) => unknown;

/**
 * Parses JSON with numbers as text. Where the browser does not hand out the source text of a
 * number, integers that a double cannot hold exactly come out rounded.
 */
export function parseExact(text: string): unknown {
  return (JSON.parse as Parse)(text, (_key, value, context) =>
    typeof value === "number" ? (context?.source ?? String(value)) : value,
  );
}
