-- KEYS meeting, nodes; then of the new owner its set and queue, of the expected owner its set and tails, and
-- the tails of the new owner. ARGV silence in ms after which an owner is dead ('free': claims what has no owner;
-- 'read': claims nothing), meeting, new owner, its boot, the phase it gets, expected owner or '', messages.
local before = r[1] and current()
if ARGV[1] == 'read' then return before and {'held', before} or {'none'} end
local meeting, to, boot, phase, expected = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local same, free = r[1] == to and r[2] == boot, not r[1] or r[4] == 'ended'
if not (same or free) then
  if r[1] ~= expected then
    if expected ~= '' then redis.call('SREM', KEYS[5], meeting) end
    return {'held', before}
  end
  local late = (r[4] == 'placed' or r[4] == 'handing') and math.abs(now - r[5]) >= 3000
  local limit = tonumber(ARGV[1])
  if not limit or not (late or before[6] < 0 or before[6] >= limit) then return {'held', before} end
end
if #ARGV > 6 and (is_gone(to) or redis.call('XLEN', KEYS[4]) + #ARGV - 6 > 8192) then return {'full'} end
local epoch, tails = held, {}
for id in string.gmatch(r[6] or '', '%l+ ([^\n]+)\n') do
  local tail = redis.call('HGET', KEYS[6], id)
  if tail then
    tails[#tails + 1], tails[#tails + 2] = id, tail
    if phase == 'placed' then
      redis.call('HSET', KEYS[7], id, tail)
      redis.call('PEXPIRE', KEYS[7], 86400000)
    end
  end
end
-- Who claims does not receive yet: until it does, a node that receives may take the record.
r[6] = string.sub(string.gsub('\n' .. (r[6] or ''), '\nreceiving ', '\nlost '), 2)
if before then before[7] = r[6] end
if same and not free then
  -- Again, or what another node has placed here. Who had it before is in the record.
  before = former(r[6], r[7]) or r[7] and before
  if phase == 'held' and r[4] ~= 'held' then
    redis.call('HSET', KEYS[1], 'phase', phase, 'at_ms', now, 'streams', r[6])
  end
else
  if not same then epoch = epoch + 1 end
  local was = r[1] and table.concat({r[1], r[2], r[3], r[4], r[5]}, '|') or ''
  redis.call('HSET', KEYS[1], 'owner', to, 'boot', boot, 'epoch', epoch, 'phase', phase, 'at_ms', now, 'was', was,
    'streams', r[6])
  redis.call('SREM', KEYS[5], meeting)
end
redis.call('PEXPIRE', KEYS[1], 10800000)
redis.call('SADD', KEYS[3], meeting)
redis.call('PEXPIRE', KEYS[3], 10800000)
for i = 7, #ARGV do redis.call('XADD', KEYS[4], '*', 'm', ARGV[i]) end
if #ARGV > 6 then redis.call('PEXPIRE', KEYS[4], 86400000) end
return {'claimed', epoch, before, tails}
