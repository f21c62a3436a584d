-- Stands before claim, publish and hand, whose first keys are the meeting and nodes.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'owner', 'boot', 'epoch', 'phase', 'at_ms', 'streams', 'entry', 'was', 'had', 'had_entry')
local held = tonumber(r[3]) or 0
-- No process reads the queue of a name without a row.
local function is_gone(node) return not redis.call('HGET', KEYS[2], node) end
local function record(owner, boot, epoch, phase, at, streams, entry)
  local beat, of = string.match(redis.call('HGET', KEYS[2], owner) or '', '^(%d+)|(%x+)|')
  local silent = of == boot and math.abs(now - beat) or -1
  return {owner, boot, tonumber(epoch), phase, now - at, silent, streams or '', entry or ''}
end
local function current() return record(r[1], r[2], r[3], r[4], r[5], r[6], r[7]) end
local function former(streams, entry)
  local owner, boot, epoch, phase, at = string.match(r[8] or '', '^(.-)|(%x+)|(%d+)|(%l+)|(%d+)$')
  return owner and record(owner, boot, epoch, phase, at, streams, entry)
end
