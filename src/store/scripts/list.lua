-- A variant of a resource has been stored: the list of them ends with it. See `listing.rs` for what stands there.
-- ARGV: how the list begins; the variant's digest; for how long; how many there may be.
local list = redis.pcall('GET', KEYS[1])
local kept = {}
if type(list) == 'string' and string.sub(list, 1, #ARGV[1]) == ARGV[1] then
  for at = #ARGV[1] + 1, #list, #ARGV[2] do
    local digest = string.sub(list, at, at + #ARGV[2] - 1)
    if digest ~= ARGV[2] then kept[#kept + 1] = digest end
  end
end
while #kept >= tonumber(ARGV[4]) do table.remove(kept, 1) end
kept[#kept + 1] = ARGV[2]
local keep = math.max(tonumber(ARGV[3]), redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], ARGV[1] .. table.concat(kept), 'PX', string.format('%.0f', keep))
return 1
