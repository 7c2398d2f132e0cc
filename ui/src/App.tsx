// Owns the page: header, tabs (kept in the address after #), and the words for screen readers.
import { useEffect, useState } from "react";
import { DeadLettersTab } from "./deadletters/DeadLettersTab";
import { LiveTab } from "./live/LiveTab";
import { liveData, useLive } from "./live/LiveData";
import { Header, TABS, type TabId } from "./shell/Header";
import { SqlTab } from "./sql/SqlTab";
import { TradersTab } from "./traders/TradersTab";

function tabFromAddress(): TabId {
  const wanted = window.location.hash.slice(1);
  return TABS.find((tab) => tab.id === wanted)?.id ?? "live";
}

export function App() {
  const [tab, setTab] = useState(tabFromAddress);
  /** Whose alerts alone are shown. */
  const [trader, setTrader] = useState<string | null>(null);
  const announcement = useLive((state) => state.announcement);

  useEffect(() => {
    liveData().start();
    return () => liveData().stop();
  }, []);

  useEffect(() => {
    const changed = () => setTab(tabFromAddress());
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);

  const show = (next: TabId) => {
    window.location.hash = next === "live" ? "" : next;
    setTab(next);
  };

  // All tabs stay mounted, so that filters, groups and queries survive a change of tab.
  const panel = (id: TabId, content: React.ReactNode) => (
    <div
      key={id}
      className="tab-panel"
      role="tabpanel"
      id={`panel-${id}`}
      aria-labelledby={`tab-${id}`}
      hidden={tab !== id}
    >
      {content}
    </div>
  );

  return (
    <>
      <Header tab={tab} onTab={show} />
      <main>
        {panel("live", <LiveTab trader={trader} onTrader={setTrader} />)}
        {panel(
          "traders",
          <TradersTab
            active={tab === "traders"}
            onTrader={(chosen) => {
              setTrader(chosen);
              show("live");
            }}
          />,
        )}
        {panel("sql", <SqlTab />)}
        {panel("dead-letters", <DeadLettersTab active={tab === "dead-letters"} />)}
      </main>
      <div className="sr-only" aria-live="polite" data-testid="announcement">
        {announcement}
      </div>
    </>
  );
}
