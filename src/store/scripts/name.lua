-- An entry names a tag: its counter has to be there for longer than the entry. Gives how long it will be.
-- ARGV: the clock's epoch; the counter, if there is none; for how long it is needed; for how long to keep it.
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
