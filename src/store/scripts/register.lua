-- Reads or changes the registry of nodes; see `fleet/registry.rs` for the format. Returns its value
-- behind the time by the clock of Redis, or 0 if it has no room.
-- ARGV: the change (look, renew, leave, silent); the nodes that it concerns; the birth of a new
-- registry; the time to list a node after it expired; the maximum number of nodes; and to renew a
-- registration, its lifetime, its workers and its name.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local value = redis.pcall('GET', KEYS[1])
local birth, revision, rest
if type(value) == 'string' then birth, revision, rest = string.match(value, '^1 (%x+) (%d+)\n(.*)$') end
if not birth then birth, revision, rest = ARGV[3], '0', '' end
local what, kept, latest = ARGV[1], tonumber(ARGV[4]), now
local lines, ends = {}, {}
for line in string.gmatch(rest, '[^\n]+') do
  local node, expires, silent, workers, name = string.match(line, '^(%x+) (%d+) (%d+) (%d+) (.*)$')
  expires = tonumber(expires or 0)
  if node and string.find(ARGV[2], node, 1, true) then
    if what == 'leave' then expires, workers = math.min(expires, now), '0' end
    if what == 'silent' then silent = string.format('%.0f', tonumber(silent) + 1) end
    if what == 'renew' then expires = 0 end
  end
  if expires + kept > now then
    latest = math.max(latest, expires)
    ends[#ends + 1] = expires
    lines[#lines + 1] = table.concat({ node, string.format('%.0f', expires), silent, workers, name }, ' ')
  end
end
if what == 'renew' then
  -- The first line has the oldest renewal.
  while #lines >= tonumber(ARGV[5]) and ends[1] <= now do
    table.remove(lines, 1)
    table.remove(ends, 1)
  end
  if #lines >= tonumber(ARGV[5]) then return 0 end
  local expires = now + tonumber(ARGV[6])
  latest = math.max(latest, expires)
  lines[#lines + 1] = table.concat({ ARGV[2], string.format('%.0f', expires), '0', ARGV[7], ARGV[8] }, ' ')
end
if what ~= 'look' then revision = string.format('%.0f', tonumber(revision) + 1) end
lines[#lines + 1] = ''
value = '1 ' .. birth .. ' ' .. revision .. '\n' .. table.concat(lines, '\n')
if what ~= 'look' then
  redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', latest - now + kept))
end
return string.format('%.0f', now) .. '\n' .. value
