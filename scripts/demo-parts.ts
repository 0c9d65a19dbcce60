import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Up } from '../src/cli/up.ts';

const cli = ['--import', 'tsx', 'src/cli/main.ts'];

export const say = (text: string) => process.stdout.write(`${text}\n`);
export const step = (text: string) => say(`\n── ${text}`);

export type DemoParts = ReturnType<typeof demoParts>;

/** What every story does; each throws when it does not go as it should. @param folder data of the running parts. */
export function demoParts(folder: string) {
  return {
    async command(expected: number, ...args: string[]): Promise<void> {
      say(`   $ passferry ${args.join(' ')}`);
      const child = spawn(process.execPath, [...cli, ...args], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...process.env, PASSFERRY_DATA: folder },
      });
      const code = await new Promise<number | null>((resolve, reject) => {
        child.on('error', reject);
        child.on('exit', resolve);
      });
      if (code !== expected) throw new Error(`it ended with exit code ${code}, expected ${expected}`);
    },

    async request(at: Up, user: string, org: string, password: string, headers: Record<string, string> = {}) {
      const token = readFileSync(at.tokenFile, 'utf8').trim();
      const path = `/management/v1/users/${user}/password`;
      const answer = await fetch(at.url + path, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'x-zitadel-orgid': org, ...headers },
        body: JSON.stringify({ password }),
      });
      say(`   POST ${path}  (organization ${org})`);
      say(`   ${answer.status} ${await answer.text()}`);
      if (!answer.ok) throw new Error('the request failed');
      return answer;
    },

    /** A login as an application does it: a session with a password check. */
    async sessionLogin(url: string, userId: string, password: string): Promise<boolean> {
      const token = readFileSync(join(folder, 'v2-token'), 'utf8').trim();
      const answer = await fetch(`${url}/v2/sessions`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ checks: { user: { userId }, password: { password } } }),
      });
      return answer.ok;
    },
  };
}
