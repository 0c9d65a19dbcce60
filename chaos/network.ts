import { setTimeout as sleep } from 'node:timers/promises';
import { type FaultProxy, startProxy } from '../test/kit/proxy.ts';

const faults = ['cut', 'cut', 'drop', 'drop', 'hole'] as const;

/** Five ways that can be harmed apart from each other: each has a fault proxy. */
export async function startNetwork(real: { redis: string; postgres: string; v2: string }) {
  const ways: FaultProxy[] = [];
  const counts = { cuts: 0, holes: 0 };

  async function through(target: string): Promise<string> {
    const url = new URL(target);
    const proxy = await startProxy({ targetHost: url.hostname, targetPort: Number(url.port) });
    ways.push(proxy);
    url.hostname = '127.0.0.1';
    url.port = String(proxy.port);
    return url.href.replace(/\/$/, '');
  }

  return {
    urls: {
      producerRedis: await through(real.redis),
      workersRedis: await through(real.redis),
      postgres: await through(real.postgres),
      v2: await through(real.v2),
    },
    /** The producer's address as callers have it: its good answers can get lost too (P1). */
    callers: through,

    /** One fault of one way, chosen by two numbers from 0 to 1, for as long as `ms`; all flows again afterwards. */
    async harm(where: number, how: number, ms: number): Promise<void> {
      const way = ways[Math.floor(where * ways.length)] as FaultProxy;
      const fault = faults[Math.floor(how * faults.length)];
      if (fault === 'drop') {
        way.dropReplies(3);
        await sleep(ms);
        return;
      }
      counts[fault === 'cut' ? 'cuts' : 'holes']++;
      if (fault === 'cut') way.cut();
      else way.blackhole();
      await sleep(ms);
      await way.restore();
    },
    /** `dropped`: replies that were swallowed after the request had its effect. */
    counts: () => ({ ...counts, dropped: ways.reduce((sum, way) => sum + way.dropped(), 0) }),
    async calm(): Promise<void> {
      for (const way of ways) await way.restore();
    },
  };
}
