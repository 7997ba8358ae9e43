import { createHash } from 'node:crypto';
import type { RedisScript } from './redis-commands.ts';

/*
 * One hash per record: `v` version, `p` payload, `t` tombstone; `l` id of the lease's holder, `e` end of the lease in
 * the server's milliseconds, `n` how many leases there have been. A script touches this one key, so that it works on a
 * cluster, and is atomic: the state lives where the lease lives. JSON stays text; `cjson` would change it.
 */

const NOW = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`;

/** Answers `{ state, version, payload, ttl }`. */
export const LOAD: RedisScript = script(`local r = redis.call('HMGET', KEYS[1], 'v', 'p', 't')
if r[3] then return {'tombstone'} end
if not r[1] then return {'absent'} end
return {'present', r[1], r[2], redis.call('PTTL', KEYS[1])}
`);

/**
 * Loads, and takes the lease when the record is still at the version the caller has seen and nobody holds it.
 *
 * ARGV: version seen, id of the lease, its length, number of the lease that the caller waits for or 0.
 * Answers as LOAD and then: `newer`; `held` or, where the lease of another ran out, `takeover`, and the number of the
 * lease. Else `{ 'busy', ms, number }`, or `{ 'forgotten' }` when the server, which counts leases, has not got as far
 * as the one waited for: it came back with older data, and the holder of that lease may be about to commit.
 */
export const LOAD_OR_LOCK: RedisScript = script(`${NOW}
local r = redis.call('HMGET', KEYS[1], 'v', 'p', 't', 'l', 'e', 'n')
if r[3] then return {'tombstone'} end
if not r[1] then return {'absent'} end
local ttl = redis.call('PTTL', KEYS[1])
if tonumber(r[1]) > tonumber(ARGV[1]) then return {'present', r[1], r[2], ttl, 'newer'} end
local n = tonumber(r[6] or '0')
if r[4] and tonumber(r[5]) > now then return {'busy', tonumber(r[5]) - now, n} end
if n < tonumber(ARGV[4]) then return {'forgotten'} end
redis.call('HSET', KEYS[1], 'l', ARGV[2], 'e', now + tonumber(ARGV[3]), 'n', n + 1)
return {'present', r[1], r[2], ttl, r[4] and 'takeover' or 'held', n + 1}
`);

/**
 * Compare-and-set. ARGV: version expected, payload, time to live. A payload that stands there already is committed, and
 * so is one made from a newer record than stands there: the server came back with older data.
 */
export const COMMIT: RedisScript = script(`local r = redis.call('HMGET', KEYS[1], 'v', 'p', 't')
if r[3] then return 'tombstone' end
if r[1] and r[2] == ARGV[2] then return 'committed' end
if tonumber(r[1] or '0') > tonumber(ARGV[1]) or (not r[1] and ARGV[1] ~= '0') then return 'newer' end
redis.call('HSET', KEYS[1], 'v', tonumber(ARGV[1]) + 1, 'p', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'committed'
`);

/** Lets a record live on while it is at this version. ARGV: version, time to live. */
export const RENEW: RedisScript =
  script(`if redis.call('HGET', KEYS[1], 'v') == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
`);

/** Leaves a tombstone. ARGV: its time to live. Answers as LOAD what was there. */
export const REMOVE: RedisScript = script(`local r = redis.call('HMGET', KEYS[1], 'v', 'p', 't')
if r[3] then return {'tombstone'} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 't', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if not r[1] then return {'absent'} end
return {'present', r[1], r[2], 0}
`);

/**
 * Keeps the lease for another while, if it is still the holder's, or if the server forgot it and nobody else took it.
 * ARGV: id, length, number.
 */
export const EXTEND: RedisScript = script(`${NOW}
local r = redis.call('HMGET', KEYS[1], 'v', 'l', 'n')
local forgotten = r[1] and not r[2] and tonumber(r[3] or '0') < tonumber(ARGV[3])
if r[2] ~= ARGV[1] and not forgotten then return 0 end
redis.call('HSET', KEYS[1], 'l', ARGV[1], 'e', now + tonumber(ARGV[2]), 'n', ARGV[3])
return 1
`);

/** Gives the lease back, if it is still the holder's. ARGV: id. */
export const RELEASE: RedisScript = script(`if redis.call('HGET', KEYS[1], 'l') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'l', 'e')
return 1
`);

/** Marks a transaction as taken, once. ARGV: how long it stays readable. Answers its payload, or nothing. */
export const TAKE: RedisScript = script(`local p = redis.call('HMGET', KEYS[1], 'p', 'taken')
if not p[1] or p[2] then return false end
redis.call('HSET', KEYS[1], 'taken', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return p[1]
`);

/** ARGV: payload, time to live. */
export const PUT: RedisScript = script(`redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'p', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
`);

/**
 * Puts an entry under its field, with the server's milliseconds at which it ends. Above the most there may be, what has
 * ended goes, and then what ends first. ARGV: field, entry, time to live, the most.
 */
export const INDEX_ADD: RedisScript = script(`${NOW}
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + tonumber(ARGV[3])) .. ' ' .. ARGV[2])
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then
  local all = redis.call('HGETALL', KEYS[1])
  local first, firstEnd
  for i = 1, #all, 2 do
    local ends = tonumber(string.match(all[i + 1], '^%d+'))
    if ends <= now then redis.call('HDEL', KEYS[1], all[i])
    elseif not firstEnd or ends < firstEnd then first, firstEnd = all[i], ends end
  end
  if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then redis.call('HDEL', KEYS[1], first) end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
`);

/** The entries that have not ended. */
export const INDEX_LIST: RedisScript = script(`${NOW}
local found = {}
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
  local ends, entry = string.match(value, '^(%d+) (.*)$')
  if tonumber(ends) > now then found[#found + 1] = entry end
end
return found
`);

function script(text: string): RedisScript {
  return { text, sha1: createHash('sha1').update(text).digest('hex') };
}
