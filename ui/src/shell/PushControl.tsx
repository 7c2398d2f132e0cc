// Owns the Push data button: starts the demo feed and shows how far a feed has come.
import { useState } from "react";
import { pushDemo } from "../api/client";
import type { Feed } from "../api/types";
import { liveData, useLive } from "../live/LiveData";

/** The feed to show: one that runs, else the one that was started here. */
export function feedToShow(feeds: readonly Feed[], mine: string | null): Feed | undefined {
  return (
    feeds.findLast((feed) => feed.state === "running") ?? feeds.find((feed) => feed.id === mine)
  );
}

export function PushControl() {
  const feeds = useLive((state) => state.status?.feeds);
  const [keep, setKeep] = useState(false);
  const [mine, setMine] = useState<string | null>(null);
  const [starting, setStarting] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const feed = feedToShow(feeds ?? [], mine);
  const running = feed?.state === "running";

  const push = async () => {
    setStarting(true);
    setError(null);
    try {
      setMine(await pushDemo(!keep));
      liveData().refresh();
    } catch (cause) {
      setError(cause instanceof Error ? cause.message : String(cause));
    } finally {
      setStarting(false);
    }
  };

  const failure = error ?? (feed?.state === "failed" ? (feed.error ?? "The feed failed.") : null);
  return (
    <div className="push">
      {feed !== undefined && failure === null && (
        <span className="feed" data-testid="feed-progress">
          <progress
            aria-label={`Feed ${feed.source}`}
            {...(feed.rows_total === null ? {} : { value: feed.rows_sent, max: Math.max(1, feed.rows_total) })}
          />
          <span>
            {feed.rows_sent}
            {feed.rows_total === null ? "" : `/${feed.rows_total}`} rows{running ? "" : " sent"}
          </span>
        </span>
      )}
      {failure !== null && (
        <span className="failure" role="alert">
          {failure}
        </span>
      )}
      <label className="keep">
        <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.target.checked)} />
        keep the engine’s windows (do not clear first)
      </label>
      <button
        type="button"
        className="primary"
        data-testid="push-data"
        disabled={starting || running}
        title="Feed the ten demo orders, two rows a second"
        onClick={() => void push()}
      >
        Push data
      </button>
    </div>
  );
}
