import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../src/embedded/find-program.ts';
import { tempDir } from './files.ts';

export interface Visit {
  /** The page once its scripts have run. */
  dom: string;
  /** Lines of its console, refusals of its policy among them. */
  console: string[];
  /** Every address that the page asked for, itself not; what the browser does for itself is not counted. */
  requests: string[];
  /** A picture of it, PNG. */
  screenshot: Buffer;
}

export function findBrowser(): string | undefined {
  return findProgram(['chromium', 'chromium-browser', 'google-chrome']);
}

/** Opens a page without a window; no name but 127.0.0.1 leads anywhere. Error: the browser ended badly. */
export async function visit(browser: string, url: string): Promise<Visit> {
  const dir = tempDir();
  const [netLog, picture] = [join(dir, 'net.json'), join(dir, 'page.png')];
  const child = spawn(
    browser,
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
      ...['--disable-component-update', `--user-data-dir=${join(dir, 'profile')}`, '--enable-logging=stderr'],
      ...['--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', `--log-net-log=${netLog}`],
      ...['--virtual-time-budget=20000', '--window-size=1200,1600', `--screenshot=${picture}`, '--dump-dom', url],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], timeout: 50_000 },
  );
  let dom = '';
  let log = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    dom += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    log += text;
  });
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  if (code !== 0) throw new Error(`the browser ended with ${code}: ${log.slice(-2_000)}`);
  const { events } = JSON.parse(readFileSync(netLog, 'utf8')) as {
    events: { params?: { url?: string; initiator?: string } }[];
  };
  return {
    dom,
    console: log.split('\n').filter((line) => line.includes(':CONSOLE')),
    requests: events.flatMap(({ params: { url, initiator } = {} }) =>
      url && initiator && initiator !== 'not an origin' ? [url] : [],
    ),
    screenshot: readFileSync(picture),
  };
}
