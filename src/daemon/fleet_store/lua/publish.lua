-- publish 1
-- KEYS meeting, nodes, my set, my tails, the key of each stream. ARGV meeting, me, my boot, a boot of mine that is
-- proved dead or '', epoch, phase, streams, '1' if there is an entry, entry.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local meeting, me, boot, previous, streams = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[7]
local r = redis.call('HMGET', KEYS[1], 'owner', 'boot', 'epoch', 'phase', 'at_ms', 'streams', 'entry')
local held, had = tonumber(r[3]) or 0, tonumber(ARGV[5])
local epoch = math.max(held, had, 1)
local was, others
local function before()
  local beat, of = string.match(redis.call('HGET', KEYS[2], r[1]) or '', '^(%d+)|(%x+)|')
  local silent = of == r[2] and math.abs(now - beat) or -1
  return {r[1], r[2], held, r[4], now - r[5], silent, r[6] or '', r[7] or ''}
end
local known = r[2] == previous and r[4] == 'held' and held <= had
if r[1] and not (r[1] == me and (r[2] == boot or known)) then
  local i_do = string.find('\n' .. streams, '\nreceiving ', 1, true)
  local it_does = r[4] == 'held' and string.find('\n' .. (r[6] or ''), '\nreceiving ', 1, true)
  local free = r[4] == 'ended'
  if not (free or i_do and (not it_does or had > held)) then
    if r[1] ~= me then redis.call('SREM', KEYS[3], meeting) end
    return {'newer', before()}
  end
  epoch = math.max(held, had) + 1
  was = table.concat({r[1], r[2], r[3], r[4], r[5]}, '|')
end
redis.call('HSET', KEYS[1], 'owner', me, 'boot', boot, 'epoch', epoch, 'phase', ARGV[6], 'at_ms', now, 'streams', streams)
if ARGV[8] == '1' then redis.call('HSET', KEYS[1], 'entry', ARGV[9]) end
if was then redis.call('HSET', KEYS[1], 'was', was) end
redis.call('PEXPIRE', KEYS[1], 10800000)
for i = 5, #KEYS do redis.call('SET', KEYS[i], meeting, 'PX', 10800000) end
for id in string.gmatch(r[6] or '', '%l+ ([^\n]+)\n') do
  if not string.find(streams, ' ' .. id .. '\n', 1, true) then others = redis.call('HDEL', KEYS[4], id) end
end
redis.call(ARGV[6] == 'ended' and 'SREM' or 'SADD', KEYS[3], meeting)
redis.call('PEXPIRE', KEYS[3], 10800000)
-- The record listed streams that this publish does not: who publishes may never have heard of them.
return {'ok', epoch, others and r[4] ~= 'ended' and ARGV[6] ~= 'ended' and before() or nil}
