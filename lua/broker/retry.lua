--[[
broker/retry: give a delivery back, to come again at a given time. Its receipt is stale from here on.

KEYS[1]  mq:{SALE:TOPIC}:group:GROUP:flight     zset   log id by the time it may come again
KEYS[2]  mq:{SALE:TOPIC}:group:GROUP:attempts   hash   log id -> attempt, with an "r" once it was given back
ARGV[1]  log id
ARGV[2]  attempt
ARGV[3]  when it may come again, Unix milliseconds

Returns  1 given back, 0 the receipt is stale
Errors   none
Cost     O(log in flight)
]]
if redis.call("HGET", KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call("ZADD", KEYS[1], ARGV[3], ARGV[1])
redis.call("HSET", KEYS[2], ARGV[1], ARGV[2] .. "r")
return 1
