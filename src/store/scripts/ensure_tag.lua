-- Keeps the generation of a tag for longer than an entry that carries the tag, and creates it if
-- there is none. Returns its remaining time.
-- ARGV: the epoch of the purge log; the generation to create; the time for which it is needed; the
-- time to keep it.
if redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[4]) then return tonumber(ARGV[4]) end
local value = redis.pcall('GET', KEYS[1])
if type(value) ~= 'string' or string.match(value, '^%x+') ~= ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
  return tonumber(ARGV[4])
end
local left = redis.call('PTTL', KEYS[1])
if left < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return tonumber(ARGV[4])
end
return left
