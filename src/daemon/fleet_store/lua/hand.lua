-- KEYS meeting, nodes, my set and tails, the heir's set, tails and queue. ARGV meeting, me, my boot, epoch, heir,
-- its boot, entry, message, then each stream and its tail.
local meeting, me, boot, heir, its = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local epoch = tonumber(ARGV[4])
if r[1] == heir and r[2] == its and held == epoch + 1 then return {'ok', held} end
if r[1] and not (r[1] == me and r[2] == boot and held == epoch and r[4] ~= 'ended') then return {'newer', current()} end
if is_gone(heir) or redis.call('XLEN', KEYS[7]) >= 8192 then return {'full'} end
local was = table.concat({me, boot, ARGV[4], 'handing', string.format('%.0f', now)}, '|')
redis.call('HSET', KEYS[1], 'owner', heir, 'boot', its, 'epoch', epoch + 1, 'phase', 'handing', 'at_ms', now,
  'entry', ARGV[7], 'was', was)
redis.call('PEXPIRE', KEYS[1], 10800000)
redis.call('SREM', KEYS[3], meeting)
redis.call('SADD', KEYS[5], meeting)
redis.call('PEXPIRE', KEYS[5], 10800000)
for i = 9, #ARGV, 2 do
  redis.call('HDEL', KEYS[4], ARGV[i])
  redis.call('HSET', KEYS[6], ARGV[i], ARGV[i + 1])
  redis.call('PEXPIRE', KEYS[6], 86400000)
end
redis.call('XADD', KEYS[7], '*', 'm', ARGV[8])
redis.call('PEXPIRE', KEYS[7], 86400000)
return {'ok', epoch + 1}
