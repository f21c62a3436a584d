-- route 1
-- KEYS queue of the expected owner, meeting, nodes; only the queue: whatever its node owns.
-- ARGV message, me, my boot, expected owner or '', silence in ms after which an owner is dead.
if KEYS[2] then
  local r = redis.call('HMGET', KEYS[2], 'owner', 'boot', 'phase')
  if not r[1] then return {'none'} end
  if r[1] == ARGV[2] and r[2] == ARGV[3] then return {'mine'} end
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local at, boot = string.match(redis.call('HGET', KEYS[3], r[1]) or '', '^(%d+)|(%x+)|')
  local dead = boot ~= r[2] or math.abs(now - at) >= tonumber(ARGV[5])
  if dead and r[3] == 'ended' then return {'none'} end
  if r[1] ~= ARGV[4] then return {'moved', r[1]} end
  if dead then return {'dead'} end
end
if redis.call('XLEN', KEYS[1]) >= 8192 then return {'full'} end
redis.call('XADD', KEYS[1], '*', 'm', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 86400000)
return {'queued'}
