-- Records a purge in the purge log; see `purge/log.rs` for the format.
-- ARGV: a new epoch, used if there is no log; the time to keep the log; the scope (look, tag, all,
-- prefix); the strength (h, s); the time; the prefix; the time before which purges by prefix are
-- dropped; the maximum number of purges by prefix.
local value = redis.pcall('GET', KEYS[1])
local epoch, count, soft, at, rest
if type(value) == 'string' then
  epoch, count, soft, at, rest = string.match(value, '^1 (%x+) (%d+) (%d+) (%d+)\n(.*)$')
end
local begun = not epoch
if begun then epoch, count, soft, at, rest = ARGV[1], '0', '0', '0', '' end
local what = ARGV[3]
if what == 'look' and not begun then
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) * 0.75 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return value
end
if what ~= 'look' then count = string.format('%.0f', tonumber(count) + 1) end
if what == 'all' and ARGV[4] == 'h' then
  epoch, count, soft, at, rest = ARGV[1], '0', '0', '0', ''
elseif what == 'all' then
  soft, at = count, ARGV[5]
elseif what == 'prefix' then
  local kept = {}
  for line in string.gmatch(rest, '[^\n]+') do
    local how, when, prefix = string.match(line, '^%d+ (%a) (%d+) (.*)$')
    local replaced = prefix == ARGV[6] and (ARGV[4] == 'h' or how == 's')
    if not replaced and tonumber(when) >= tonumber(ARGV[7]) then kept[#kept + 1] = line end
  end
  if #kept >= tonumber(ARGV[8]) then return 0 end
  kept[#kept + 1] = count .. ' ' .. ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6]
  rest = table.concat(kept, '\n') .. '\n'
end
value = '1 ' .. epoch .. ' ' .. count .. ' ' .. soft .. ' ' .. at .. '\n' .. rest
redis.call('SET', KEYS[1], value, 'PX', ARGV[2])
return value
