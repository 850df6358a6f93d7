-- Replaces the value of a key by a tombstone. Returns 1 if the value shows that no purge of the key
-- can have come in the time for which purges are kept, or else 0.
-- ARGV: the tombstone; the time to keep a purge.
local head = redis.pcall('GETRANGE', KEYS[1], 0, 11)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if head == '' then return 1 end
local unpurged = type(head) == 'string' and string.sub(head, 1, 3) == 'CW\4' and string.sub(head, 5, 12) == string.rep('\0', 8)
return unpurged and 1 or 0
