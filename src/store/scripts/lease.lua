-- Renews or ends the lease of a fetch: returns 1, or 0 if the token is no longer its value.
-- ARGV: the token; the time to keep the lease, zero to end it.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
