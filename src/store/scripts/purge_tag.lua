-- Purges a tag: sets its generation to the count of the purge log.
-- ARGV: the epoch and the count of the log; the strength (h, s); the time; the minimum time to keep
-- the generation.
local epoch, hard, soft, at
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'string' then epoch, hard, soft, at = string.match(value, '^(%x+) (%d+) (%d+) (%d+)$') end
if epoch ~= ARGV[1] then
  -- Earlier purges of the tag are unknown: all its entries count as purged.
  epoch, hard, soft, at = ARGV[1], ARGV[2], '0', '0'
elseif ARGV[3] == 'h' then
  if tonumber(hard) < tonumber(ARGV[2]) then hard = ARGV[2] end
elseif tonumber(soft) < tonumber(ARGV[2]) then
  soft, at = ARGV[2], ARGV[4]
end
local keep = string.format('%.0f', math.max(tonumber(ARGV[5]), redis.call('PTTL', KEYS[1])))
redis.call('SET', KEYS[1], epoch .. ' ' .. hard .. ' ' .. soft .. ' ' .. at, 'PX', keep)
return 1
