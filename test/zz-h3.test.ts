import { it } from 'vitest';
import { names, startRunBackends } from './kit/run-backends.ts';
it('probe', async () => {
  const scene = await startRunBackends();
  await scene.worker();
  const ids = names('x', 1100);
  await scene.addUsers('acme', ids);
  const t = performance.now();
  const id = await scene.run('acme', ids.map((user) => ({ user })));
  const timer = setInterval(async () => { const v = await scene.view(id); console.log(Math.round(performance.now() - t), v.state, v.reason, v.finished, v.inflight, await scene.redis.zcard(scene.keys.line('rows')), await scene.redis.zcard(`${scene.keys.bullPrefix}:rows:delayed`)); }, 1000);
  await scene.until(id, 'completed', 60000);
  clearInterval(timer);
  console.log('done', performance.now() - t, scene.lines.filter((l) => !/"level":20/.test(l)).slice(0, 10).join(''));
}, 90000);
