// Owns the small pop-up menus of the grids: opened by a button, closed by Escape, a choice or a
// press elsewhere; the arrow keys move through the items.
import { useEffect, useId, useLayoutEffect, useRef, useState, type ReactNode } from "react";
import { createPortal } from "react-dom";

interface MenuProps {
  readonly label: string;
  readonly className: string;
  readonly face: ReactNode;
  /** The items; `close` is for items that end the menu. */
  readonly children: (close: () => void) => ReactNode;
}

const ITEMS = "button:not(:disabled), input:not(:disabled)";

export function Menu({ label, className, face, children }: MenuProps) {
  const [open, setOpen] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const id = useId();

  const close = () => {
    setOpen(false);
    button.current?.focus();
  };

  useLayoutEffect(() => {
    if (!open || panel.current === null || button.current === null) return;
    const anchor = button.current.getBoundingClientRect();
    const box = panel.current.getBoundingClientRect();
    const left = Math.min(anchor.left, window.innerWidth - box.width - 8);
    const below = anchor.bottom + 4;
    const top = below + box.height > window.innerHeight - 8 ? anchor.top - box.height - 4 : below;
    panel.current.style.left = `${Math.max(8, left)}px`;
    panel.current.style.top = `${Math.max(8, top)}px`;
    panel.current.querySelector<HTMLElement>(ITEMS)?.focus();
  }, [open]);

  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      const target = event.target as Node;
      if (panel.current?.contains(target) || button.current?.contains(target)) return;
      setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("scroll", outside, true);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("scroll", outside, true);
    };
  }, [open]);

  const move = (step: number) => {
    const items = [...(panel.current?.querySelectorAll<HTMLElement>(ITEMS) ?? [])];
    const now = items.indexOf(document.activeElement as HTMLElement);
    items[(now + step + items.length) % items.length]?.focus();
  };

  return (
    <>
      <button
        ref={button}
        type="button"
        className={className}
        aria-label={label}
        title={label}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        onClick={() => setOpen(!open)}
      >
        {face}
      </button>
      {open &&
        createPortal(
          <div
            ref={panel}
            id={id}
            className="menu"
            role="group"
            aria-label={label}
            onKeyDown={(event) => {
              if (event.key === "Escape") {
                event.stopPropagation();
                close();
              } else if (event.key === "ArrowDown") {
                event.preventDefault();
                move(1);
              } else if (event.key === "ArrowUp") {
                event.preventDefault();
                move(-1);
              }
            }}
          >
            {children(close)}
          </div>,
          document.body,
        )}
    </>
  );
}
