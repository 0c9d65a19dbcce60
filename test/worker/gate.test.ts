import { expect, test } from 'vitest';
import { createGate } from '../../src/worker/gate.ts';

const open = new AbortController().signal;

test('no more than the limit is inside; whoever leaves lets the next one in', async () => {
  const gate = createGate(2);
  const order: string[] = [];
  const enter = (name: string) =>
    gate.enter('rows', open).then((leave) => {
      order.push(name);
      return leave;
    });
  const [first, second] = await Promise.all([enter('a'), enter('b')]);
  const third = enter('c');
  const fourth = enter('d');
  await Promise.resolve();
  expect(order).toEqual(['a', 'b']);
  first?.();
  (await third)();
  second?.();
  (await fourth)();
  expect(order).toEqual(['a', 'b', 'c', 'd']);
});

test('interactive jobs go before rows that waited longer', async () => {
  const gate = createGate(1);
  const order: string[] = [];
  const leave = await gate.enter('rows', open);
  const waiting = (['rows', 'rows', 'interactive', 'interactive'] as const).map(async (queue, i) => {
    const done = await gate.enter(queue, open);
    order.push(`${queue} ${i}`);
    done();
  });
  leave();
  await Promise.all(waiting);
  expect(order).toEqual(['interactive 2', 'interactive 3', 'rows 0', 'rows 1']);
});

test('a place is given back once, however often it is called', async () => {
  const gate = createGate(1);
  const leave = await gate.enter('rows', open);
  leave();
  const second = await gate.enter('rows', open);
  leave();
  let inside = false;
  const third = gate.enter('rows', open).then((done) => {
    inside = true;
    return done;
  });
  await Promise.resolve();
  expect(inside).toBe(false);
  second();
  (await third)();
});

test('a signal ends the waiting, and the place goes to the next in line', async () => {
  const gate = createGate(1);
  const stop = new AbortController();
  const leave = await gate.enter('rows', open);
  const given = gate.enter('interactive', stop.signal);
  const next = gate.enter('rows', open);
  stop.abort(new Error('stop'));
  await expect(given).rejects.toThrow('stop');
  await expect(gate.enter('rows', stop.signal)).rejects.toThrow('stop');
  leave();
  (await next)();
});

test('a signal after the entry changes nothing', async () => {
  const gate = createGate(1);
  const stop = new AbortController();
  const leave = await gate.enter('rows', open);
  const second = gate.enter('rows', stop.signal);
  leave();
  const done = await second;
  stop.abort();
  done();
  (await gate.enter('rows', open))();
});

test('asked to slow down it halves its room, and takes it back one by one', async () => {
  const gate = createGate(8);
  gate.slow();
  expect(gate.room()).toBe(4);
  for (let i = 0; i < 5; i++) gate.slow();
  expect(gate.room()).toBe(1);
  const leave = await gate.enter('rows', open);
  let inside = 0;
  const waiting = [1, 2].map(() =>
    gate.enter('rows', open).then((done) => {
      inside++;
      return done;
    }),
  );
  await Promise.resolve();
  expect(inside).toBe(0);
  gate.well();
  expect(gate.room()).toBe(2);
  (await waiting[0])?.();
  (await waiting[1])?.();
  leave();
  for (let i = 0; i < 100; i++) gate.well();
  expect(gate.room()).toBe(8);
});
