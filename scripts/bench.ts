/** `npm run bench -- name [options]`, or `--only name`, runs a file of bench/; without a name it says which there are. */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = new URL('../bench/', import.meta.url);
const names = readdirSync(folder).flatMap((file) => (file.endsWith('.ts') ? [file.slice(0, -'.ts'.length)] : []));
const [name = '', ...args] = process.argv.slice(process.argv[2] === '--only' ? 3 : 2);
if (names.includes(name)) {
  const file = fileURLToPath(new URL(`${name}.ts`, folder));
  const child = spawn(process.execPath, ['--import', 'tsx', file, ...args], { stdio: 'inherit' });
  child.once('exit', (code) => {
    process.exitCode = code ?? 1;
  });
} else {
  console.log(`npm run bench -- ${names.join(' | ')}`);
  process.exitCode = name === '' ? 0 : 1;
}
