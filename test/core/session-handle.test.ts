import { expect, test } from '@jest/globals';
import { readHandle } from '../../src/core/session-handle.ts';
import { fc } from '../support/properties.ts';

const handle = {
  ref: 'r',
  key: 'k',
  issuer: 'i',
  subject: 's',
  client: 'c',
  epoch: 1,
  claims: { iss: 'i', sub: 's' },
};

test('a handle is read as it was written', () => {
  expect(readHandle(JSON.parse(JSON.stringify(handle)))).toEqual(handle);
});

test('one wrong field and it is none', () => {
  for (const name of Object.keys(handle))
    for (const wrong of [undefined, null, '', 1.5, true, []])
      expect(readHandle({ ...handle, [name]: wrong })).toBeUndefined();
});

test('anything else that the app put there is none', () => {
  fc.assert(fc.property(fc.anything(), (value) => expect(readHandle(value)).toBeUndefined()));
});
