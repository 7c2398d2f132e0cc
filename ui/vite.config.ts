// Owns how the page is built, served while developing, and unit-tested.
// `npm run dev` proxies the API to a running server: TAPEWATCH_URL, or the default below.
import react from "@vitejs/plugin-react";
import { loadEnv } from "vite";
import { defineConfig } from "vitest/config";

export default defineConfig(({ mode }) => {
  const target = loadEnv(mode, ".", "TAPEWATCH_")["TAPEWATCH_URL"] ?? "http://127.0.0.1:9090";
  return {
    // Relative addresses, so that the page works below a path prefix of a reverse proxy too.
    base: "./",
    plugins: [react()],
    // Everything is a file of its own: the server's policy is default-src 'self' (no data: URLs).
    build: { assetsInlineLimit: 0, target: "es2022", sourcemap: false, reportCompressedSize: false },
    server: { proxy: { "/api": { target, ws: true } } },
    test: { include: ["src/**/*.test.ts"], environment: "node" },
  };
});
