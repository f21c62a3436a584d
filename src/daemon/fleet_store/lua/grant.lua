-- grant 1
-- KEYS grant. ARGV what ('read', 'lock', 'put', 'restore', 'forget'), boot; to put also gen, access, expires_ms, refresh.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local what, boot = ARGV[1], ARGV[2]
local g = redis.call('HMGET', KEYS[1], 'gen', 'access', 'expires_ms', 'refresh', 'lock', 'lock_until_ms', 'forgotten', 'by')
local gen, left = tonumber(g[1]) or 0, (tonumber(g[6]) or 0) - now
local locked = g[5] and left > 0 and left <= 45000
local said = 'read'
if what == 'lock' then
  said = 'locked'
  if locked and g[5] ~= boot then said = 'busy' end
  if said == 'locked' then
    locked, g[5], left = true, boot, 45000
    redis.call('HSET', KEYS[1], 'lock', boot, 'lock_until_ms', now + left)
  end
elseif what == 'put' or what == 'restore' then
  local new = tonumber(ARGV[3])
  if new == gen and g[8] == boot and not g[7] then return {'put'} end
  local may = what == 'put' and new == gen + 1 and locked and g[5] == boot or what == 'restore' and new > gen and not g[7]
  if not may then return {'refused', gen} end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'gen', new, 'access', ARGV[4], 'expires_ms', ARGV[5], 'refresh', ARGV[6], 'by', boot)
  return {'put'}
elseif what == 'forget' then
  redis.call('HDEL', KEYS[1], 'access', 'expires_ms', 'refresh', 'lock', 'lock_until_ms')
  redis.call('HSET', KEYS[1], 'gen', gen, 'forgotten', '1')
  redis.call('PEXPIRE', KEYS[1], 7776000000)
  return {'forgotten'}
end
return {said, gen, g[2] or '', g[3] or '0', g[4] or '', locked and g[5] or '', locked and left or 0, g[7] and 1 or 0}
