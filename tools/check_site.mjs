// Check the site for accessibility: axe-core on every page, as desktop, phone and in dark mode, and no
// page or figure wider than the phone.
//
//     make site
//     npm install --prefix build/axe axe-core puppeteer-core @sparticuz/chromium
//     node tools/check_site.mjs [build/site]
//
// Prints each finding once, with its impact, and fails on a serious one. CHROME names a browser of yours.

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const site = path.resolve(process.argv[2] ?? 'build/site');
if (process.argv[2] === '--help' || !fs.existsSync(site)) {
  console.log('usage: node tools/check_site.mjs [FOLDER]   (after: make site; see the top of this file)');
  process.exit(process.argv[2] === '--help' ? 0 : 2);
}
const require = createRequire(path.resolve('build/axe/package.json'));
const load = async (name) => (await import(pathToFileURL(require.resolve(name)))).default;
const [chromium, puppeteer] = [await load('@sparticuz/chromium'), await load('puppeteer-core')];
const axe = fs.readFileSync(require.resolve('axe-core'), 'utf8');

const VIEWS = {
  desktop: { width: 1280, dark: 'light' },
  phone: { width: 375, dark: 'light' },
  dark: { width: 1280, dark: 'dark' },
};
const tooWide = () => {
  const wide = [...document.querySelectorAll('article img')].filter(
    (img) => img.getBoundingClientRect().right > window.innerWidth + 1);
  return document.documentElement.scrollWidth > window.innerWidth + 1 || wide.length > 0;
};

const browser = await puppeteer.launch({
  args: chromium.args,
  executablePath: process.env.CHROME ?? (await chromium.executablePath()),
  headless: 'shell',
});
const pages = fs.readdirSync(site, { recursive: true })
  .filter((name) => name.endsWith('.html') && !/^_|genindex|search|index/.test(name)).sort();
const findings = new Map();
const note = (impact, rule, where, element) => {
  const key = `${impact}: ${rule}`;
  const places = findings.get(key) ?? findings.set(key, []).get(key);
  places.push(`${where}: ${element}`);
};
for (const name of pages) {
  for (const [view, { width, dark }] of Object.entries(VIEWS)) {
    const page = await browser.newPage();
    await page.setBypassCSP(true);
    await page.setViewport({ width, height: 800 });
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: dark }]);
    await page.goto(pathToFileURL(path.join(site, name)));
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run());
    for (const { impact, id, nodes } of violations) {
      for (const { html } of nodes) note(impact, id, `${name}, ${view}`, html.slice(0, 100));
    }
    if (view === 'phone' && (await page.evaluate(tooWide))) note('serious', 'wider than a phone', name, '');
    await page.close();
  }
}
await browser.close();
for (const [key, places] of findings) {
  console.log(`${key}, ${places.length} times, first in ${places[0]}`);
}
const serious = [...findings.keys()].some((key) => /^(serious|critical)/.test(key));
console.log(`${pages.length} pages, each in ${Object.keys(VIEWS).length} views: `
  + (serious ? 'serious findings' : 'no serious finding'));
process.exit(serious ? 1 : 0);
