-- Stores a fetched entry unless its key was purged after the fetch began.
-- ARGV: the key generation that the fetch saw; the entry; the time to keep it; the time to keep a
-- purge.
local head = redis.pcall('GETRANGE', KEYS[1], 0, 11)
local keep = tonumber(ARGV[3])
if type(head) == 'string' and #head == 12 and string.sub(head, 1, 3) == 'CW\4' then
  local lineage = string.sub(head, 5, 12)
  if lineage ~= ARGV[1] then return 0 end
  if lineage ~= string.rep('\0', 8) then
    -- A fetch that began before the purge may still be under way.
    keep = math.max(keep, math.min(redis.call('PTTL', KEYS[1]), tonumber(ARGV[4])))
  end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', keep))
return 1
