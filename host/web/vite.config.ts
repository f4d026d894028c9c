import { defineConfig } from "vite";

// Fixed names: the server gives each file a tag of its content, and a rebuild of the same sources gives the same bytes.
export default defineConfig({
  build: {
    outDir: "dist",
    target: "es2022",
    modulePreload: false,
    cssCodeSplit: false,
    rolldownOptions: {
      input: "src/viewer.ts",
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "[name].js",
        assetFileNames: "viewer[extname]",
      },
    },
  },
});
