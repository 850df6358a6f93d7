-- Records a purge in the purge log; see `purge/log.rs` for the format.
-- ARGV: a new epoch, used if there is no log; the time to keep the log; the scope (look, tag, all,
-- prefix); the strength (h, s); the time; the prefix; the time before which purges by prefix are
-- dropped; the maximum number of purges by prefix.
-- A key of another type is another client's: it stays, and the error names it. Any other string
-- can be a damaged log, which must not keep purges from the fleet: a new log replaces it.
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'table' then return value end
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

-- Returns the longest common prefix of any two purges, at least their origin; '' if there is none.
-- In sorted order, the two are neighbours.
local function closest(purges)
  local sorted = {}
  for number, purge in ipairs(purges) do sorted[number] = purge.prefix end
  table.sort(sorted)
  local found = ''
  for number = 2, #sorted do
    local one, other = sorted[number - 1], sorted[number]
    local low, high = 0, math.min(#one, #other)
    while low < high do
      local middle = math.ceil((low + high) / 2)
      if string.sub(one, 1, middle) == string.sub(other, 1, middle) then low = middle else high = middle - 1 end
    end
    -- A character of several bytes is not cut.
    local function inside()
      local byte = string.byte(one, low + 1) or string.byte(other, low + 1) or 0
      return byte >= 128 and byte < 192
    end
    while inside() do low = low - 1 end
    local origin = string.match(one, '^%a+://[^/]+/')
    if origin and low >= #origin and low > #found then found = string.sub(one, 1, low) end
  end
  return found
end

local function line(strength, prefix)
  return count .. ' ' .. strength .. ' ' .. ARGV[5] .. ' ' .. prefix
end

if what == 'prefix' then
  local function under(prefix, of) return string.sub(prefix, 1, #of) == of end
  local kept = {}
  for text in string.gmatch(rest, '[^\n]+') do
    local strength, when, prefix = string.match(text, '^%d+ (%a) (%d+) (.*)$')
    local replaced = under(prefix, ARGV[6]) and (ARGV[4] == 'h' or strength == 's')
    if not replaced and tonumber(when) >= tonumber(ARGV[7]) then
      kept[#kept + 1] = {strength = strength, prefix = prefix, text = text}
    end
  end
  kept[#kept + 1] = {strength = ARGV[4], prefix = ARGV[6], text = line(ARGV[4], ARGV[6])}
  local common = ''
  if #kept > tonumber(ARGV[8]) then
    common = closest(kept)
    -- No two purges name the same origin: everything is purged.
    if common == '' then
      what = 'all'
      kept[#kept] = nil
    end
  end
  local texts, strength = {}, 's'
  for _, purge in ipairs(kept) do
    if common == '' or not under(purge.prefix, common) then
      texts[#texts + 1] = purge.text
    elseif purge.strength == 'h' then
      strength = 'h'
    end
  end
  if common ~= '' then texts[#texts + 1] = line(strength, common) end
  rest = table.concat(texts, '\n') .. '\n'
end
if what == 'all' and ARGV[4] == 'h' then
  epoch, count, soft, at, rest = ARGV[1], '0', '0', '0', ''
elseif what == 'all' then
  soft, at = count, ARGV[5]
end
value = '1 ' .. epoch .. ' ' .. count .. ' ' .. soft .. ' ' .. at .. '\n' .. rest
redis.call('SET', KEYS[1], value, 'PX', ARGV[2])
return value
