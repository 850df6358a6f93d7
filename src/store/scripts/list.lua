-- Appends a stored variant to the list of its resource; see `tiers/listing.rs` for the format.
-- ARGV: the list's header; the variant's digest; the time to keep the list; the maximum number of
-- digests.
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
