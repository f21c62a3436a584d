-- beat 1
-- KEYS fleet, nodes. ARGV node, boot, row ('': remove it), a boot proved dead or '', era of an empty store, layout.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local before = redis.call('HGET', KEYS[2], ARGV[1])
local at, boot = string.match(before or '', '^(%d+)|(%x+)|')
if ARGV[3] == '' then
  if boot == ARGV[2] then redis.call('HDEL', KEYS[2], ARGV[1]) end
  return {'removed'}
end
if at and boot ~= ARGV[2] and boot ~= ARGV[4] and math.abs(now - at) < 5000 then return {'taken', now, before} end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'era', ARGV[5], 'born_ms', now, 'v', ARGV[6])
end
redis.call('HSET', KEYS[2], ARGV[1], string.format('%.0f|%s|%s', now, ARGV[2], ARGV[3]))
return {'beat', now, redis.call('HGET', KEYS[1], 'era'), before, redis.call('HGETALL', KEYS[2])}
