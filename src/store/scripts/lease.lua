-- The lease of a fetch, if it is still ours, goes on or ends: 1, or 0 if it is another's or nobody's.
-- ARGV: our token; for how long it goes on, zero for its end.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
