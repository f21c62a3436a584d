-- KEYS meeting, nodes, my set, my tails, the key of each stream. ARGV meeting, me, my boot, a boot of mine that is
-- proved dead or '', epoch, phase, streams, '1' if there is an entry, entry.
local meeting, me, boot, previous, had, streams = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[7]
local epoch, was, others = math.max(held, had, 1), nil, nil
local known = r[2] == previous and r[4] == 'held' and held <= had
if r[1] and not (r[1] == me and (r[2] == boot or known)) then
  local i_do = string.find('\n' .. streams, '\nreceiving ', 1, true)
  local it_does = r[4] == 'held' and string.find('\n' .. (r[6] or ''), '\nreceiving ', 1, true)
  local free = r[4] == 'ended'
  if not (free or i_do and (not it_does or had > held)) then
    if r[1] ~= me then redis.call('SREM', KEYS[3], meeting) end
    return {'newer', current()}
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
local told = others and r[4] ~= 'ended' and ARGV[6] ~= 'ended' and current()
if was and told then
  redis.call('HSET', KEYS[1], 'had', r[6], 'had_entry', r[7] or '')
elseif r[9] and not was and had < held then
  -- It does not know its epoch: the answer that said so was lost.
  told = former(r[9], r[10]) or told
elseif r[9] then
  redis.call('HDEL', KEYS[1], 'had', 'had_entry')
end
if told and told[8] ~= '' then return {'ok', epoch, told} end
-- The store has lost the entry, without which no other node can take the meeting.
return {not r[7] and ARGV[8] ~= '1' and ARGV[6] ~= 'ended' and 'bare' or 'ok', epoch}
