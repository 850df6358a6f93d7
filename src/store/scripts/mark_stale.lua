-- Purges a key softly: marks its entry as stale. Without an entry, it stores a tombstone, which
-- keeps older fetches out.
-- ARGV: the new key generation; the time, in its eight bytes; a tombstone; the time to keep a
-- purge.
local head = redis.pcall('GETRANGE', KEYS[1], 0, 11)
if type(head) == 'string' and #head == 12 and string.sub(head, 1, 3) == 'CW\4' and string.byte(head, 4) ~= 3 then
  redis.call('SETRANGE', KEYS[1], 4, ARGV[1] .. ARGV[2])
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
  return 1
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 0
