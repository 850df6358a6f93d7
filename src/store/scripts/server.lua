-- Compares the run of the server with the last known one. Returns 1 if the server has kept its
-- data, or the last known run.
-- ARGV: the server's run; the run before a fail-over; the run after which a new epoch has begun;
-- the time to keep the value.
local known = redis.pcall('GET', KEYS[1])
if known == ARGV[1] then
  redis.pcall('PEXPIRE', KEYS[1], ARGV[4])
  return 1
end
if type(known) == 'string' and known ~= ARGV[2] and known ~= ARGV[3] then return known end
-- A server that refuses writes keeps the value that it has, and stores nothing new.
redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
return 1
