import { expect, test } from '@jest/globals';
import { Breaker } from '../../src/tokens/breaker.ts';
import { recordEvents } from '../storage/engine-support.ts';

function open() {
  let now = 1_800_000_000;
  const events = recordEvents();
  const breaker = new Breaker({ now: () => now }, events);
  const fail = (times: number) => {
    for (let time = 0; time < times; time += 1) breaker.failed();
  };
  /** Whether the next call may be made. */
  const lets = () => {
    try {
      breaker.check();
      return true;
    } catch (error) {
      expect(error).toMatchObject({ name: 'ProviderUnavailableError', status: 503 });
      return false;
    }
  };
  const pass = (seconds: number) => {
    now += seconds;
  };
  return { breaker, events, fail, lets, pass };
}

test('nineteen failures in a row do not open it, and one answer makes them forgotten', () => {
  const { breaker, fail, lets, events } = open();
  fail(19);
  expect(lets()).toBe(true);
  breaker.succeeded();
  fail(19);
  expect(lets()).toBe(true);
  expect(events.seen).toEqual([]);
});

test('twenty open it; then one call in a while tries, at longer and longer intervals, half a minute at most', () => {
  const { fail, lets, pass, events } = open();
  fail(20);
  for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
    expect(lets()).toBe(false);
    pass(seconds - 0.1);
    expect(lets()).toBe(false);
    pass(0.1);
    expect([lets(), lets()]).toEqual([true, false]);
    fail(1);
  }
  expect(events.seen.map(({ details }) => details)).toEqual(
    [1, 2, 4, 8, 16, 30, 30, 30].map((seconds) => ({ forMs: seconds * 1000 })),
  );
});

test('calls that were under way when it opened do not make it wait longer', () => {
  const { fail, lets, pass, events } = open();
  fail(200);
  expect(events.seen).toEqual([{ name: 'breakerOpened', details: { forMs: 1000 } }]);
  pass(1);
  expect(lets()).toBe(true);
});

test('an answer closes it, once', () => {
  const { breaker, fail, lets, events, pass } = open();
  fail(20);
  pass(1);
  expect(lets()).toBe(true);
  breaker.succeeded();
  breaker.succeeded();
  expect([lets(), lets()]).toEqual([true, true]);
  expect(events.count('breakerClosed')).toBe(1);
  fail(19);
  expect(lets()).toBe(true);
  fail(1);
  expect(lets()).toBe(false);
  expect(events.seen.at(-1)).toEqual({ name: 'breakerOpened', details: { forMs: 1000 } });
});

test('a clock that is set back does not keep it open', () => {
  const { fail, lets, pass } = open();
  fail(20);
  pass(-3600);
  expect(lets()).toBe(true);
});
