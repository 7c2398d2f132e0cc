// Owns how a severity looks: its number and its grade in a word, in the grade's colour.

export type Grade = "low" | "medium" | "high" | "critical";

/** The grade of a score from 0 to 100, as the server words it. */
export function gradeOf(score: number): Grade {
  if (score < 40) return "low";
  if (score < 60) return "medium";
  return score < 80 ? "high" : "critical";
}

interface SeverityProps {
  readonly score: number;
  /** Why it was expected: then it is no call to act, and says so instead of its grade. */
  readonly suppressed?: string | undefined;
}

export function Severity({ score, suppressed }: SeverityProps) {
  const grade = gradeOf(score);
  const quiet = suppressed !== undefined;
  return (
    <span
      className={`severity ${quiet ? "suppressed" : grade}`}
      title={quiet ? `${grade}, suppressed: ${suppressed}` : undefined}
    >
      <b>{score}</b> {quiet ? "suppressed" : grade}
    </span>
  );
}
