import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { isAlive } from './is-alive.ts';

/**
 * Two servers on one append-only file destroy it. Given the configuration that a former start left behind: ends the server
 * that still runs on it, when the process that owned it is gone.
 *
 * @returns false when the server runs and its owner lives (or it does not end within 10 s): keep away.
 */
export async function endLeftover(configuration: string): Promise<boolean> {
  const port = Number(/^port (\d+)$/m.exec(configuration)?.[1]);
  const password = /^requirepass ([0-9a-f]+)$/m.exec(configuration)?.[1];
  const owner = Number(/^# owner (\d+)$/m.exec(configuration)?.[1]);
  if (!port || !password) return true;
  // Whoever takes this password is the server of this folder and nobody else.
  const info = await ask(port, `AUTH ${password}\r\nINFO server\r\n`, 'tcp_port:');
  const pid = Number(/^process_id:(\d+)\r?$/m.exec(info)?.[1]);
  if (!pid) return true;
  if (owner && isAlive(owner)) return false;
  process.kill(pid, 'SIGTERM');
  const deadline = Date.now() + 10_000;
  while (isAlive(pid)) {
    if (Date.now() > deadline) return false;
    await pause(20);
  }
  return true;
}

/** What the server answers to inline commands, up to `until`; empty when nobody listens. */
function ask(port: number, commands: string, until: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(commands));
    socket.setTimeout(2_000, () => socket.destroy());
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      answer += text;
      if (answer.includes(until) || answer.includes('-WRONGPASS') || answer.includes('-ERR')) socket.destroy();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
  });
}
