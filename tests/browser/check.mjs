// node check.mjs FILE.html: what a browser without network makes of a page, as JSON on stdout.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const found = { console: [], requests: [], widths: {} };
// The policy of the page forbids scripts, and axe is one: it alone runs in a page that ignores it.
for (const bypassCSP of [false, true]) {
  const context = await browser.newContext({ offline: true, bypassCSP });
  const page = await context.newPage();
  page.on("console", (message) => found.console.push(message.text()));
  page.on("pageerror", (error) => found.console.push(String(error)));
  page.on("request", (request) => found.requests.push(request.url()));
  await page.goto(pathToFileURL(process.argv[2]).href);
  if (bypassCSP) {
    await page.evaluate(readFileSync(require.resolve("axe-core"), "utf8"));
    const result = await page.evaluate(() => window.axe.run());
    found.violations = result.violations.map((one) => [one.id, one.nodes[0].html.slice(0, 200)]);
    found.passes = result.passes.length;
  } else {
    found.title = await page.title();
    found.figures = await page.$$eval("figure svg", (all) =>
      all.map((one) => [one.getBoundingClientRect().width, one.getBoundingClientRect().height]));
    found.headings = await page.$$eval("h1, h2, h3", (all) => all.map((one) => one.tagName));
    found.pages = (await page.pdf({ preferCSSPageSize: true })).toString("latin1")
      .match(/\/Type\s*\/Page\b/g).length;
    for (const width of [1200, 360]) {
      await page.setViewportSize({ width, height: 900 });
      found.widths[width] = await page.evaluate(() => document.documentElement.scrollWidth);
    }
  }
  await context.close();
}
await browser.close();
console.log(JSON.stringify(found));
