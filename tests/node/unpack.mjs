// The package has Chromium compressed, with the libraries that it needs if it runs in a place that has none: as there,
// unpack both into node_modules, so that no system package is needed.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = join(import.meta.dirname, "node_modules", "chromium-unpacked");
mkdirSync(folder, { recursive: true });
process.env.TMPDIR = folder;
process.env.AWS_EXECUTION_ENV = `AWS_Lambda_nodejs${process.versions.node.split(".")[0]}.x`;
const { default: chromium } = await import("@sparticuz/chromium");
await chromium.executablePath();
// Its own configuration names folders of the place that it is made for, and a page without fonts has no text.
const own = '<fontconfig><dir prefix="relative">fonts</dir></fontconfig>\n';
writeFileSync(join(folder, "fonts", "fonts.conf"), own);
