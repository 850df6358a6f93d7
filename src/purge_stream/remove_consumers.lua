-- Removes consumers of a group that have no message: one by its name, others that are idle.
-- A consumer with messages stays, because its removal would drop them.
-- KEYS[1] the stream; ARGV: the group, the name or nothing, the idle time in milliseconds
local removed = 0
for _, pairs in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local consumer = {}
    for at = 1, #pairs, 2 do
        consumer[pairs[at]] = pairs[at + 1]
    end
    local leaves = consumer.name == ARGV[2] or consumer.idle >= tonumber(ARGV[3])
    if consumer.pending == 0 and leaves then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
        removed = removed + 1
    end
end
return removed
